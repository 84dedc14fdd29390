package console_test

import (
	"bufio"
	"context"
	"net/http"
	"strings"
	"testing"

	"github.com/stelehq/stele/internal/gateway/identity"
)

// live opens a browser's stream of new commits.
func (v *browser) live(t testing.TB, ctx context.Context, query string) *bufio.Scanner {
	t.Helper()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, v.web.URL+"/-/live"+query, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := v.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { resp.Body.Close() })
	if resp.StatusCode != http.StatusOK || resp.Header.Get("Content-Type") != "application/x-ndjson" {
		t.Fatalf("%s: %s, %s", query, resp.Status, resp.Header.Get("Content-Type"))
	}
	return bufio.NewScanner(resp.Body)
}

// next returns the next update.
func next(t testing.TB, s *bufio.Scanner) string {
	t.Helper()
	for s.Scan() {
		if s.Text() != "" {
			return s.Text()
		}
	}
	t.Fatal("the stream ended:", s.Err())
	return ""
}

// A browser receives the commits after the revisions that its pages show, and its watches
// end when it leaves.
func TestLive(t *testing.T) {
	f := start(t)
	setup(t, f)
	v := f.writer(t, "acme")
	ctx, leave := context.WithCancel(t.Context())
	s := v.live(t, ctx, "?after=acme@3")
	f.set(t, f.as(t, "globex"), "not of acme", "x/y", "1")
	f.set(t, f.as(t, "acme"), "<b>\nfour", "x/y", "1")
	if got := next(t, s); got != `{"tenant":"acme","revision":4,"author":"carol","message":"\u003cb\u003e …","commits":1}` {
		t.Errorf("the update: %s", got)
	}
	f.set(t, f.as(t, "acme"), "five", "x/y", "2")
	if got := next(t, s); !strings.Contains(got, `"revision":5`) {
		t.Errorf("the update: %s", got)
	}
	leave()
	f.calls.mu.Lock()
	stream := f.calls.streams[0]
	f.calls.mu.Unlock()
	<-stream.Done() // or the test never ends
	f.set(t, f.as(t, "acme"), "six", "x/y", "3")
	if got := next(t, v.live(t, t.Context(), "?after=acme@5")); !strings.Contains(got, `"revision":6`) || !strings.Contains(got, `"commits":1`) {
		t.Errorf("the update after a pause: %s", got)
	}
}

// One stream has the commits of several tenants, without those that the user has no
// access to.
func TestLive_SeveralTenants(t *testing.T) {
	f := start(t)
	f.set(t, f.as(t, "acme"), "first", "a/x", "1")
	f.set(t, f.as(t, "globex"), "first", "a/x", "1")
	operator := f.login(t, identity.Claims{Roles: []identity.Role{identity.Operator, identity.Admin}})
	s := operator.live(t, t.Context(), "?after=acme@0&after=globex@0")
	got := next(t, s) + next(t, s)
	if !strings.Contains(got, `"tenant":"acme"`) || !strings.Contains(got, `"tenant":"globex"`) {
		t.Errorf("the updates: %s", got)
	}
	writer := f.writer(t, "acme")
	if got := next(t, writer.live(t, t.Context(), "?after=globex@0&after=acme@0")); !strings.Contains(got, `"tenant":"acme"`) {
		t.Errorf("the update of a writer of acme: %s", got)
	}
	if a := writer.get(t, "/-/live?after=acme"); a.code != http.StatusBadRequest {
		t.Errorf("a tenant without a revision: %d", a.code)
	}
}

// A user who is limited to a prefix receives only commits of its keys.
func TestLive_Prefix(t *testing.T) {
	f := start(t)
	f.set(t, f.as(t, "acme"), "begin", "a/x", "1")
	v := f.login(t, identity.Claims{Tenant: "acme", Roles: []identity.Role{identity.Reader}, Prefixes: prefixes("a/")})
	s := v.live(t, t.Context(), "?after=acme@1")
	f.set(t, f.as(t, "acme"), "of others", "b/x", "1")
	f.set(t, f.as(t, "acme"), "mine", "a/x", "2")
	if got := next(t, s); !strings.Contains(got, `"revision":3`) || strings.Contains(got, "of others") {
		t.Errorf("the update: %s", got)
	}
}

// A stream without a watch would not end with the session, and no place would count it.
func TestLive_WithoutWatches(t *testing.T) {
	f := start(t)
	f.set(t, f.as(t, "globex"), "first", "a/x", "1")
	v := f.writer(t, "acme")
	if a := v.get(t, "/-/live"); a.code != http.StatusBadRequest {
		t.Errorf("no tenant: %d", a.code)
	}
	if a := v.get(t, "/-/live?after=globex@0"); a.code != http.StatusForbidden {
		t.Errorf("a tenant that the user may not read: %d", a.code)
	}
}

// A browser's stream ends with its session, although it is an answer that has begun.
func TestLive_EndsWithRevocation(t *testing.T) {
	f := start(t)
	f.set(t, f.as(t, "acme"), "first", "a/x", "1")
	v := f.login(t, identity.Claims{Subject: "bob", Tenant: "acme", Roles: []identity.Role{identity.Writer}})
	s := v.live(t, t.Context(), "?after=acme@0")
	next(t, s)
	f.set(t, f.system(t), "stolen", "policy/revoked", `{"revoked":[{"subject":"bob"}]}`)
	for s.Scan() { // heartbeats; the test's own time ends it otherwise
	}
	if a := v.get(t, "/-/live?after=acme@0"); a.code == http.StatusOK {
		t.Error("a revoked session gets another stream")
	}
}

// Tenants that the user may not read take no slots.
func TestLive_DeniedTenantsReleaseTheirSlots(t *testing.T) {
	f := start(t)
	f.set(t, f.as(t, "acme"), "first", "a/x", "1")
	f.set(t, f.as(t, "globex"), "first", "a/x", "1")
	v := f.writer(t, "acme")
	query := "?after=acme@0" + strings.Repeat("&after=globex@0", 19)
	for range 10 { // one user gets 167 slots
		next(t, v.live(t, t.Context(), query))
	}
}
