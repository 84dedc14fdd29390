package console_test

import (
	"bufio"
	"context"
	"net/http"
	"strings"
	"testing"

	"github.com/stelehq/stele/internal/gateway/identity"
)

// events listens to a page's news.
func (v *browser) events(t testing.TB, ctx context.Context, path, last string) (*bufio.Scanner, *http.Response) {
	t.Helper()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, v.web.URL+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	if last != "" {
		req.Header.Set("Last-Event-ID", last)
	}
	resp, err := v.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { resp.Body.Close() })
	if resp.StatusCode != http.StatusOK || resp.Header.Get("Content-Type") != "text/event-stream" {
		t.Fatalf("%s: %s, %s", path, resp.Status, resp.Header.Get("Content-Type"))
	}
	return bufio.NewScanner(resp.Body), resp
}

// next is the data of the next news.
func next(t testing.TB, s *bufio.Scanner) string {
	t.Helper()
	for s.Scan() {
		if data, ok := strings.CutPrefix(s.Text(), "data: "); ok {
			return data
		}
	}
	t.Fatal("the news ended:", s.Err())
	return ""
}

// TestLive: a page is notified of commits after the one it shows, and of those made
// while it did not listen, and its stream ends with it.
func TestLive(t *testing.T) {
	f := start(t)
	setup(t, f)
	v := f.writer(t, "acme")
	ctx, leave := context.WithCancel(t.Context())
	s, _ := v.events(t, ctx, "/acme/live?after=3", "")
	f.set(t, f.as(t, "globex"), "not of acme", "x/y", "1")
	f.set(t, f.as(t, "acme"), "<b>\nfour", "x/y", "1")
	if got := next(t, s); got != `{"revision":4,"author":"carol","message":"\u003cb\u003e …","commits":1}` {
		t.Errorf("news: %s", got)
	}
	f.set(t, f.as(t, "acme"), "five", "x/y", "2")
	if got := next(t, s); !strings.Contains(got, `"revision":5`) {
		t.Errorf("news: %s", got)
	}
	leave()
	f.calls.mu.Lock()
	stream := f.calls.streams[0]
	f.calls.mu.Unlock()
	<-stream.Done() // or the test never ends
	f.set(t, f.as(t, "acme"), "six", "x/y", "3")
	s, _ = v.events(t, t.Context(), "/acme/live?after=3", "5")
	if got := next(t, s); !strings.Contains(got, `"revision":6`) || !strings.Contains(got, `"commits":1`) {
		t.Errorf("news after a pause: %s", got)
	}
}

// TestLiveOfAPart: whose token is limited hears of their keys alone.
func TestLiveOfAPart(t *testing.T) {
	f := start(t)
	f.set(t, f.as(t, "acme"), "begin", "a/x", "1")
	v := f.login(t, identity.Claims{Tenant: "acme", Roles: []identity.Role{identity.Reader}, Prefixes: prefixes("a/")})
	s, _ := v.events(t, t.Context(), "/acme/live?after=1", "")
	f.set(t, f.as(t, "acme"), "of others", "b/x", "1")
	f.set(t, f.as(t, "acme"), "mine", "a/x", "2")
	if got := next(t, s); !strings.Contains(got, `"revision":3`) || strings.Contains(got, "of others") {
		t.Errorf("news: %s", got)
	}
}
