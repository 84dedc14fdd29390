package rest_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stelehq/stele/internal/gateway/identity"
	"github.com/stelehq/stele/internal/gateway/rest"
	"github.com/stelehq/stele/internal/ledger"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/grpc"
)

// stream is a watch as a reader of server-sent events has it.
type stream struct {
	t    testing.TB
	resp *http.Response
	in   *bufio.Scanner
}

func (w *world) watch(query, token string, headers ...string) *stream {
	w.t.Helper()
	return w.stream("/v1/watch"+query, token, headers...)
}

func (w *world) stream(path, token string, headers ...string) *stream {
	w.t.Helper()
	resp := w.open(path, token, headers...)
	if resp.StatusCode != http.StatusOK || resp.Header.Get("Content-Type") != "text/event-stream" {
		body, _ := io.ReadAll(resp.Body)
		w.t.Fatalf("%s: %d %s", path, resp.StatusCode, body)
	}
	return w.read(resp)
}

func (w *world) open(path, token string, headers ...string) *http.Response {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	w.t.Cleanup(cancel)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, w.server.URL+path, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		req.Header.Set(name, value)
	}
	resp, err := w.server.Client().Do(req)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { resp.Body.Close() })
	return resp
}

func (w *world) read(resp *http.Response) *stream {
	in := bufio.NewScanner(resp.Body)
	in.Buffer(nil, 16<<20)
	return &stream{w.t, resp, in}
}

// idOfCommit is what follows the revision or position in the id of an event.
var idOfCommit = regexp.MustCompile(`^([0-9]+|[0-9a-f]{16}-[0-9]+)(-[0-9]+)?-[0-9a-f]{16}(-[a-z]+)?$`)

// event is the next one, with only the revision, or the epoch and position, of its id: "id name data", without the data of an age.
func (s *stream) event() (id, name, data string) {
	s.t.Helper()
	for s.in.Scan() {
		field, value, _ := strings.Cut(s.in.Text(), ": ")
		switch field {
		case "id":
			id = value
		case "event":
			name = value
		case "data":
			data = value
		case "":
			if name != "" && name != "progress" {
				return idOfCommit.ReplaceAllString(id, "$1"), name, data
			}
			id, name, data = "", "", ""
		}
	}
	return "", "end", fmt.Sprint(s.in.Err())
}

// events are the next n, as "id name".
func (s *stream) events(n int) (all []string) {
	s.t.Helper()
	for range n {
		id, name, _ := s.event()
		all = append(all, id+" "+name)
	}
	return all
}

func TestWatch(t *testing.T) {
	w := start(t)
	ann := w.as("acme", identity.Writer)
	tags := map[string]string{}
	for i := 1; i <= 3; i++ {
		tag := w.must("PUT", fmt.Sprintf("/v1/config/k%d", i), ann, fmt.Sprint(i)).header.Get("ETag")
		tags[fmt.Sprint(i)] = strings.Trim(tag, `"`)
	}
	for _, other := range []string{"3-0000000000000000", "9-0000000000000000"} {
		if a := w.do("GET", "/v1/watch", ann, "", "Last-Event-ID: "+other); a.status != 409 || !strings.Contains(a.body, "HISTORY_CHANGED") {
			t.Errorf("resumed after %s of another history: %d %s", other, a.status, a.body)
		}
	}
	cases := []struct {
		name, query, last string
		want              []string
	}{
		{"from now", "", "", []string{"3 created"}},
		{"from a revision", "?from_revision=2", "", []string{" created", "2 commit", "3 commit"}},
		{"of a key", "?key=k3&from_revision=1", "", []string{" created", "3 commit"}},
		{"of prefixes", "?prefix=k1&prefix=k3&from_revision=1", "", []string{" created", "1 commit", "3 commit"}},
		{"with the state", "?initial_state=true", "", []string{" created", "3 state"}},
		{"resumed", "?initial_state=true", "1", []string{"1 created", "2 commit", "3 commit"}},
		{"resumed at the head", "?from_revision=1", "3", []string{"3 created"}},
	}
	streams := make([]*stream, len(cases))
	for i, c := range cases {
		var headers []string
		if c.last != "" {
			headers = []string{"Last-Event-ID: " + tags[c.last]}
		}
		streams[i] = w.watch(c.query, ann, headers...)
		if d := cmp.Diff(c.want, streams[i].events(len(c.want))); d != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, d)
		}
	}
	w.must("POST", "/v1/commits", ann, `{"message":"more","changes":[{"key":"k3","value":"new\nline"},{"key":"k1","delete":true}]}`)
	for i, c := range cases {
		id, name, data := streams[i].event()
		if id != "4" || name != "commit" || !strings.Contains(data, `"key":"k3","value":"new\nline","delete":false,"previous_revision":3`) {
			t.Errorf("%s: %s %s %s", c.name, id, name, data)
		}
	}
}

func TestWatch_InvalidRequests(t *testing.T) {
	w := start(t)
	bob := w.token(identity.Claims{Tenant: "acme", Roles: []identity.Role{identity.Reader}, Prefixes: []ledger.Pattern{"a/"}})
	for query, want := range map[string]int{
		"?prefix=a/": 200, "?prefix=b/": 403, "": 403, "?prefix=a/&from_revision=9": 503, "?prefix=a/&id=7": 400, "?keys=a/b": 400, "?initial_state=1": 400,
		"?prefix=a/&from_revision=1&initial_state=true": 400, "?key=": 400, "?key=a//b": 400,
	} {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		req, _ := http.NewRequestWithContext(ctx, http.MethodGet, w.server.URL+"/v1/watch"+query, nil)
		req.Header.Set("Authorization", "Bearer "+bob)
		resp, err := w.server.Client().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		if resp.StatusCode != want {
			body, _ := io.ReadAll(resp.Body)
			t.Errorf("%s: %d %s, want %d", query, resp.StatusCode, body, want)
		}
		resp.Body.Close()
		cancel()
	}
	if a := w.do("GET", "/v1/watch", "", ""); a.status != 401 {
		t.Errorf("no token: %d", a.status)
	}
	if a := w.do("GET", "/v1/watch", bob, "", "Last-Event-ID: x"); a.status != 400 {
		t.Errorf("an invalid id: %d", a.status)
	}
	if a := w.do("GET", "/v1/watch?prefix=a/", bob, "x"); a.status != 400 || !strings.Contains(a.body, "a watch has no body") {
		t.Errorf("a body: %d %s", a.status, a.body)
	}
	if a := w.do("HEAD", "/v1/watch", bob, ""); a.status != 405 {
		t.Errorf("HEAD: %d", a.status)
	}
}

// expiring opens a watch whose token expires soon after its first event.
func (w *world) expiring() *stream {
	w.t.Helper()
	for ttl := 2 * time.Second; ; ttl *= 2 {
		resp := w.open("/v1/watch", w.token(identity.Claims{Tenant: "acme", Roles: []identity.Role{identity.Reader}, TTL: ttl}))
		s := w.read(resp)
		_, name, data := s.event()
		if name == "created" {
			return s
		}
		// On a busy machine the token expires before the watch is open.
		if expired := resp.StatusCode == http.StatusUnauthorized || name == "error" && strings.Contains(data, "UNAUTHENTICATED"); !expired || ttl > 30*time.Second {
			w.t.Fatalf("a token of %s: %d %s %s", ttl, resp.StatusCode, name, data)
		}
	}
}

func TestWatch_EndsWithTokenAndServer(t *testing.T) {
	w := start(t)
	short := w.expiring()
	long := w.watch("", w.as("acme", identity.Reader))
	long.events(1)
	if _, name, data := short.event(); name != "error" || !strings.Contains(data, "UNAUTHENTICATED") {
		t.Errorf("the token's end: %s %s", name, data)
	}
	if _, name, data := short.event(); name != "end" || data != "<nil>" {
		t.Errorf("behind the token's end: %s %s", name, data)
	}
	w.end()
	if _, name, data := long.event(); name != "end" || data != "<nil>" {
		t.Errorf("the server's end: %s %s", name, data)
	}
}

func TestWatchAllCommits_ResumesAtLastEventID(t *testing.T) {
	w := start(t)
	olga := w.token(identity.Claims{Subject: "olga", Roles: []identity.Role{identity.Operator}})
	for i, tenant := range []string{"acme", "other", "acme"} {
		w.must("PUT", "/v1/config/k", w.as(tenant, identity.Writer), fmt.Sprint(i))
	}
	epoch := w.node.Journal.Epoch().String()
	at := func(position int) string { return fmt.Sprintf("%s-%d commit", epoch, position) }
	for name, c := range map[string]struct {
		query, last string
		want        []string
	}{
		"new commits":           {"", "", nil},
		"from the beginning":    {"?after_position=0", "", []string{at(1), at(2), at(3)}},
		"from a position":       {"?after_position=2&epoch=" + epoch, "", []string{at(3)}},
		"resumed":               {"?after_position=0&omit_values=true", epoch + "-1", []string{at(2), at(3)}},
		"resumed at the newest": {"?after_position=0", epoch + "-3", nil},
	} {
		var headers []string
		if c.last != "" {
			headers = []string{"Last-Event-ID: " + c.last}
		}
		s := w.stream("/v1/all-commits:watch"+c.query, olga, headers...)
		if d := cmp.Diff(c.want, s.events(len(c.want))); d != "" {
			t.Errorf("%s (-want +got):\n%s", name, d)
		}
		defer func() {
			if id, name, data := s.event(); id+" "+name != at(4) || !strings.Contains(data, `{"position":4,"info":{`) || !strings.Contains(data, `"tenant":"other"`) {
				t.Errorf("%s: %s %s %s", name, id, name, data)
			}
		}()
	}
	w.must("PUT", "/v1/config/k", w.as("other", identity.Writer), "9")

	first := w.must("GET", "/v1/all-commits?page_size=1&author=ANN&since=2020-01-01T00:00:00Z", olga, "")
	if !strings.Contains(first.body, `"position":4`) || strings.Contains(first.body, `"position":3`) || strings.Contains(first.body, `"next_page_token":""`) {
		t.Errorf("the first page is %s", first.body)
	}
}

func TestWatchAllCommits_Refusals(t *testing.T) {
	w := start(t)
	olga := w.token(identity.Claims{Roles: []identity.Role{identity.Operator}})
	w.must("PUT", "/v1/config/k", w.as("acme", identity.Writer), "1")
	for _, c := range []struct {
		query, token, last string
		status             int
		text               string
	}{
		{"", "", "", 401, ""},
		{"", w.as("acme", identity.Admin), "", 403, "role operator"},
		{"?prefix=a", olga, "", 400, "no such parameter"},
		{"?after_position=-1", olga, "", 400, "after_position"},
		{"", olga, "7", 400, "last-event-id"},
		{"", olga, "-7", 400, "last-event-id"},
		{"", olga, "xyz-7", 400, "last-event-id"},
		{"", olga, "0102030405060708-1", 409, "HISTORY_CHANGED"},
		{"?after_position=9", olga, "", 409, "HISTORY_CHANGED"},
	} {
		var headers []string
		if c.last != "" {
			headers = []string{"Last-Event-ID: " + c.last}
		}
		if a := w.do("GET", "/v1/all-commits:watch"+c.query, c.token, "", headers...); a.status != c.status || !strings.Contains(a.body, c.text) {
			t.Errorf("%q after %q: %d %s, want %d with %q", c.query, c.last, a.status, a.body, c.status, c.text)
		}
	}
	if a := w.do("HEAD", "/v1/all-commits:watch", olga, ""); a.status != 405 {
		t.Errorf("HEAD: %d", a.status)
	}
}

// A watch ends with its token, although the answer has begun.
func TestWatch_EndsWithRevocation(t *testing.T) {
	w := start(t)
	w.must("PUT", "/v1/config/a", w.as("acme", identity.Writer), "1")
	bob := w.token(identity.Claims{Subject: "bob", Tenant: "acme", Roles: []identity.Role{identity.Reader}})
	s := w.watch("", bob)
	if _, name, _ := s.event(); name != "created" {
		t.Fatalf("the first event is %s", name)
	}
	w.must("PUT", "/v1/config/policy/revoked", w.as("", identity.Operator), `{"revoked":[{"subject":"bob"}]}`, "As-Tenant: _system")
	if _, name, data := s.event(); name != "error" || !strings.Contains(data, "was revoked") {
		t.Errorf("the watch has %s %s", name, data)
	}
	if a := w.do("GET", "/v1/watch", bob, ""); a.status != http.StatusUnauthorized {
		t.Errorf("another watch: %d %s", a.status, a.body)
	}
}

// panicking is a connection whose watches panic when they receive a commit.
type panicking struct{ grpc.ClientConnInterface }

func (p panicking) NewStream(ctx context.Context, desc *grpc.StreamDesc, method string, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	stream, err := p.ClientConnInterface.NewStream(ctx, desc, method, opts...)
	return panickingStream{stream}, err
}

type panickingStream struct{ grpc.ClientStream }

func (s panickingStream) RecvMsg(m any) error {
	err := s.ClientStream.RecvMsg(m)
	if resp, ok := m.(*stelev1.WatchResponse); ok && resp.GetCommit() != nil {
		panic("received")
	}
	return err
}

// A panic while a watch receives ends the watch, and the server serves on.
func TestWatch_PanicEndsOneWatch(t *testing.T) {
	w := startAPI(t, func(c *rest.Config) { c.Conn = panicking{c.Conn} })
	w.server.Config.ErrorLog = log.New(io.Discard, "", 0)
	ann := w.as("acme", identity.Writer)
	s := w.watch("", ann)
	w.must("PUT", "/v1/config/a/key", ann, "1")
	for s.in.Scan() {
		if strings.Contains(s.in.Text(), "panic") {
			t.Errorf("the caller gets %s", s.in.Text())
		}
	}
	w.must("GET", "/v1/config/a/key", ann, "")
}
