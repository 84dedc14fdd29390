package webhook_test

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/routes"
	"github.com/stelehq/stele/internal/projector"
	"github.com/stelehq/stele/internal/projector/webhook"
	"github.com/stelehq/stele/schemas/events"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// key is the key of the specification's example.
const key = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

// receiver is what is posted to. It answers with a status and headers.
type receiver struct {
	*httptest.Server
	mu       sync.Mutex // guards the fields below
	answer   func(*http.Request, []byte) int
	header   http.Header
	requests []request
}

type request struct {
	http.Header
	body []byte
}

func listen(t *testing.T) *receiver {
	t.Helper()
	r := &receiver{header: make(http.Header)}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		body, _ := io.ReadAll(req.Body)
		r.mu.Lock()
		defer r.mu.Unlock()
		r.requests = append(r.requests, request{req.Header, body})
		for name, values := range r.header {
			w.Header()[name] = values
		}
		if r.answer != nil {
			status := r.answer(req, body)
			w.WriteHeader(status)
			fmt.Fprintf(w, "because %d", status)
		}
	}))
	t.Cleanup(r.Close)
	return r
}

func (r *receiver) answers(f func(*http.Request, []byte) int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.answer = f
}

func (r *receiver) got() []request {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]request(nil), r.requests...)
}

func settings(t *testing.T, url string) projector.Settings {
	t.Helper()
	s := projector.Settings{Name: "hook", Local: true, JSON: fmt.Appendf(nil, `{"url": %q}`, url), Keys: t.TempDir(), PrivateAddresses: true}
	write(t, s, key+"\n")
	return s
}

func write(t *testing.T, s projector.Settings, keys string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(s.Keys, s.Name), []byte(keys), 0o600); err != nil {
		t.Fatal(err)
	}
}

func open(t *testing.T, s projector.Settings) projector.Sink {
	t.Helper()
	sink, err := webhook.Open(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { sink.Close() })
	return sink
}

func change(i int, v ledger.Value, values bool) projector.Write {
	k := ledger.Key(fmt.Sprintf("tenantconfig/k%d", i))
	return projector.Write{
		Tenant: "acme", Key: k, Value: v, Route: &routes.Route{Values: values},
		Revision: ledger.Revision(i + 1), Previous: ledger.Revision(i), Position: 2, Commit: ledger.IDOf([]byte(k)),
		Author: "ann", Message: "why", Time: time.Date(2026, 3, 1, 12, 0, 0, 123456789, time.UTC),
	}
}

// send writes one change; a failed call is also an error.
func send(ctx context.Context, sink projector.Sink, w projector.Write) error {
	errs, err := sink.Write(ctx, []projector.Write{w})
	return errors.Join(append(errs, err)...)
}

func refused(err error) bool {
	_, ok := errors.AsType[*projector.RefusedError](err)
	return ok
}

type event struct {
	SpecVersion     string                      `json:"specversion"`
	ID              string                      `json:"id"`
	Source          string                      `json:"source"`
	Type            string                      `json:"type"`
	Subject         string                      `json:"subject"`
	Time            time.Time                   `json:"time"`
	DataContentType string                      `json:"datacontenttype"`
	Data            events.ConfigurationChanged `json:"data"`
}

func TestWrite_RequestIsACloudEventWithAStandardWebhooksSignature(t *testing.T) {
	r := listen(t)
	s := settings(t, r.URL+"/in?x=1")
	second := base64.StdEncoding.EncodeToString(make([]byte, 32))
	write(t, s, key+"\nwhsec_"+second+"\n")
	sink := open(t, s)
	for _, w := range []projector.Write{change(0, `{"a":9007199254740993}`, true), change(1, "", true), change(2, `1`, false)} {
		if err := send(t.Context(), sink, w); err != nil {
			t.Fatal(err)
		}
	}
	got := r.got()
	var all []event
	for _, req := range got {
		var e event
		if err := json.Unmarshal(req.body, &e, json.RejectUnknownMembers(true)); err != nil {
			t.Fatal(err)
		}
		all = append(all, e)
	}
	first, id := all[0], ledger.IDOf([]byte("tenantconfig/k0")).String()+"-2"
	if first.SpecVersion != "1.0" || first.ID != id || first.Source != "stele" || first.Type != "dev.stele.configuration.changed" ||
		first.Subject != "acme/tenantconfig/k0" || first.DataContentType != "application/json" || !first.Time.Equal(change(0, "", false).Time) {
		t.Errorf("the event is %+v", first)
	}
	if string(first.Data.Value) != `{"a":9007199254740993}` || first.Data.Operation != events.Set || first.Data.Tag != "tenantconfig" {
		t.Errorf("its data is %+v", first.Data)
	}
	if all[1].Data.Operation != events.Delete || len(all[1].Data.Value) > 0 || len(all[2].Data.Value) > 0 {
		t.Errorf("a deletion, or a route without values, carries a value: %+v", all[1:])
	}
	h := got[0].Header
	if h.Get("Content-Type") != "application/cloudevents+json" || h.Get("webhook-id") != id {
		t.Errorf("the headers are %v", h)
	}
	seconds, err := strconv.ParseInt(h.Get("webhook-timestamp"), 10, 64)
	if age := time.Since(time.Unix(seconds, 0)); err != nil || age < -time.Minute || age > 5*time.Minute {
		t.Errorf("the time is %s", h.Get("webhook-timestamp"))
	}
	var want []string
	for _, k := range []string{strings.TrimPrefix(key, "whsec_"), second} {
		raw, _ := base64.StdEncoding.DecodeString(k)
		m := hmac.New(sha256.New, raw)
		fmt.Fprintf(m, "%s.%d.%s", id, seconds, got[0].body)
		want = append(want, "v1,"+base64.StdEncoding.EncodeToString(m.Sum(nil)))
	}
	if sig := h.Get("webhook-signature"); sig != strings.Join(want, " ") {
		t.Errorf("the signature is %s, want %s", sig, want)
	}
}

func TestWrite_Answers(t *testing.T) {
	for status, parks := range map[int]bool{
		301: false, 307: false, 400: true, 401: false, 403: false, 404: false, 405: false, 408: false, 409: false, 410: false,
		413: true, 415: true, 422: true, 429: false, 500: false, 502: false, 503: false, 504: false,
	} {
		t.Run(strconv.Itoa(status), func(t *testing.T) {
			r := listen(t)
			elsewhere := listen(t)
			r.header.Set("Location", elsewhere.URL)
			r.answers(func(*http.Request, []byte) int { return status })
			sink := open(t, settings(t, r.URL))
			errs, err := sink.Write(t.Context(), []projector.Write{change(0, `1`, false)})
			if parks && (err != nil || !refused(errs[0])) || !parks && (err == nil || refused(err)) {
				t.Errorf("it ends with %v, %v", errs, err)
			}
			if all := errors.Join(append(errs, err)...); !strings.Contains(all.Error(), strconv.Itoa(status)) || !strings.Contains(all.Error(), "because") {
				t.Errorf("it says %v", all)
			}
			if n := len(elsewhere.got()); n > 0 {
				t.Errorf("%d requests went where the answer leads", n)
			}
			r.answers(nil)
			if err := send(t.Context(), sink, change(0, `1`, false)); err != nil {
				t.Errorf("it does not heal: %v", err)
			}
			got := r.got()
			if a, b := got[0].Header.Get("webhook-id"), got[len(got)-1].Header.Get("webhook-id"); a != b {
				t.Errorf("the event is sent again as %s, and was %s", b, a)
			}
		})
	}
}

// A receiver that names a time is left alone until then.
func TestWrite_RetryAfter(t *testing.T) {
	for name, after := range map[string]string{"Seconds": "3600", "Date": time.Now().Add(time.Hour).UTC().Format(http.TimeFormat), "Huge": "9999999999999"} {
		t.Run(name, func(t *testing.T) {
			r := listen(t)
			r.header.Set("Retry-After", after)
			r.answers(func(*http.Request, []byte) int { return 429 })
			sink := open(t, settings(t, r.URL))
			for range 3 {
				if err := send(t.Context(), sink, change(0, `1`, false)); err == nil || refused(err) {
					t.Errorf("it ends with %v", err)
				}
			}
			if n := len(r.got()); n != 1 {
				t.Errorf("%d requests were made", n)
			}
		})
	}
}

func TestWrite_LargeValues(t *testing.T) {
	r := listen(t)
	sink := open(t, settings(t, r.URL))
	if err := send(t.Context(), sink, change(0, ledger.Value(`"`+strings.Repeat("x", 300_000)+`"`), true)); err != nil {
		t.Fatal(err)
	}
	// The receiver takes less than others.
	r.answers(func(_ *http.Request, body []byte) int {
		if len(body) > 10_000 {
			return 413
		}
		return 204
	})
	if err := send(t.Context(), sink, change(1, ledger.Value(`"`+strings.Repeat("x", 20_000)+`"`), true)); err != nil {
		t.Fatal(err)
	}
	got := r.got()
	if len(got) != 3 {
		t.Fatalf("%d requests", len(got))
	}
	for _, i := range []int{0, 2} {
		var e event
		if err := json.Unmarshal(got[i].body, &e); err != nil || e.Data.ValueOmitted != events.TooLarge || len(e.Data.Value) > 0 {
			t.Errorf("request %d says %s, %v", i, got[i].body, err)
		}
	}
}

func TestWrite_PrivateAddresses(t *testing.T) {
	r := listen(t)
	s := settings(t, r.URL)
	s.PrivateAddresses = false
	for _, url := range []string{r.URL, strings.Replace(r.URL, "127.0.0.1", "localhost", 1)} {
		s.JSON = fmt.Appendf(nil, `{"url": %q}`, url)
		err := send(t.Context(), open(t, s), change(0, `1`, false))
		if err == nil || refused(err) || !strings.Contains(err.Error(), "private address") && !strings.Contains(err.Error(), "::1") {
			t.Errorf("%s: %v", url, err)
		}
	}
	if n := len(r.got()); n > 0 {
		t.Errorf("%d requests arrived", n)
	}
}

// Keys are replaced while the sink is open; a file that cannot be read stops it, and
// nothing goes out unsigned.
func TestWrite_KeysAreReadAgain(t *testing.T) {
	r := listen(t)
	s := settings(t, r.URL)
	sink := open(t, s)
	if err := send(t.Context(), sink, change(0, `1`, false)); err != nil {
		t.Fatal(err)
	}
	write(t, s, "whsec_"+base64.StdEncoding.EncodeToString(make([]byte, 24)))
	if err := send(t.Context(), sink, change(0, `1`, false)); err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{"", "whsec_short", "not base64!"} {
		write(t, s, bad)
		if err := send(t.Context(), sink, change(0, `1`, false)); err == nil || refused(err) {
			t.Errorf("keys %q: %v", bad, err)
		}
	}
	got := r.got()
	if len(got) != 2 || got[0].Header.Get("webhook-signature") == got[1].Header.Get("webhook-signature") {
		t.Errorf("%d requests, with the signatures %v", len(got), got)
	}
}

func TestSettings(t *testing.T) {
	keys := t.TempDir()
	if err := os.WriteFile(filepath.Join(keys, "hook"), []byte(key), 0o600); err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]string{
		`{"url":"https://example.com/a"}`:              "",
		`{"url":"http://127.0.0.1:8080/a"}`:            "",
		`{"url":"https://example.com","timeout":"5s"}`: "",
		`{}`:                                               "url",
		`{"url":"example.com"}`:                            "url",
		`{"url":"http://example.com"}`:                     "use https",
		`{"url":"http://10.0.0.1"}`:                        "use https",
		`{"url":"https://me:secret@example.com"}`:          "password",
		`{"url":"https://example.com","source":""}`:        "source",
		`{"url":"https://example.com","timeout":"1h"}`:     "timeout",
		`{"url":"https://example.com","timeout":"soon"}`:   "timeout",
		`{"url":"https://example.com","secret":"whsec_x"}`: "secret",
	} {
		sink, err := webhook.Open(t.Context(), projector.Settings{Name: "hook", Local: true, JSON: []byte(text), Keys: keys})
		if err == nil {
			sink.Close()
		}
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
	_, err := webhook.Open(t.Context(), projector.Settings{Name: "other", Local: true, JSON: []byte(`{"url":"https://example.com"}`), Keys: keys})
	if err == nil || !strings.Contains(err.Error(), filepath.Join(keys, "other")) {
		t.Errorf("without a key: %v", err)
	}
}

func TestWrite_CancelledAndUnreachable(t *testing.T) {
	r := listen(t)
	sink := open(t, settings(t, r.URL))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := send(ctx, sink, change(0, `1`, false)); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	if n := len(r.got()); n > 0 {
		t.Errorf("%d requests were made", n)
	}
	r.Close()
	if err := send(t.Context(), sink, change(0, `1`, false)); err == nil || refused(err) {
		t.Errorf("unreachable: %v", err)
	}
}
