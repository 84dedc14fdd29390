package console_test

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stelehq/stele/internal/gateway/identity"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

func TestSearch(t *testing.T) {
	f := start(t)
	f.set(t, f.as(t, "acme"), "the first host", "a/api", `{"host":"db-1.internal","timeout":7000}`, "a/web", `{"host":"db-2.internal","timeout":300}`, "b/dbx", "1")
	f.set(t, f.as(t, "globex"), "another db-1.internal", "a/api", `{"host":"db-1.internal"}`)
	v := f.writer(t, "acme")
	for _, c := range []struct{ query, with, without string }{
		{"q=DB-1.INTERNAL", "a/api", "a/web"},
		{"q=db-.%2Binternal", "No name and no value matches", "a/api"},
		{"q=db-.%2Binternal&regex=1", "a/web", "No name"},
		{"q=dbx", "b/dbx", "a/web"},
		{"q=db&prefix=b/", "b/dbx", "a/web"},
		{"where=value+>+5000&path=/timeout", "a/api", "a/web"},
		{"q=first+host", "carol", "a/web"},
	} {
		a := v.get(t, "/acme/search?"+c.query)
		if a.code != http.StatusOK || !strings.Contains(a.main(), c.with) || strings.Contains(a.main(), c.without) {
			t.Errorf("%s: %d %s", c.query, a.code, brief(a.main()))
		}
		wellMade(t, a)
	}
	f.set(t, f.as(t, "acme"), "gone", "a/api", "")
	if a := v.get(t, "/acme@1/search?q=db-1"); !strings.Contains(a.main(), "a/api") || !strings.Contains(a.body, `href="/acme@1/keys/a/api"`) {
		t.Errorf("a past state: %s", brief(a.main()))
	}
	if a := v.get(t, "/acme/search?q=(&regex=1"); a.code != http.StatusBadRequest || !strings.Contains(a.body, `value="("`) {
		t.Errorf("a bad expression: %d %s", a.code, brief(a.main()))
	}
	if a := v.get(t, "/search?q=db"); a.code == http.StatusOK || strings.Contains(a.body, "globex") {
		t.Errorf("a writer searches all tenants: %d", a.code)
	}
	operator := f.login(t, identity.Claims{Roles: []identity.Role{identity.Operator, identity.Admin}})
	a := operator.get(t, "/search?q=db-1.internal")
	if a.code != http.StatusOK || !strings.Contains(a.main(), "in 2 tenants") || !strings.Contains(a.body, `href="/globex/keys/a/api"`) || !strings.Contains(a.main(), "another db-1.internal") {
		t.Errorf("all tenants: %d %s", a.code, brief(a.main()))
	}
	// A tenant with more matches than the page shows of each is linked.
	if strings.Contains(a.main(), "Not all keys were searched") {
		t.Errorf("all keys were searched: %s", brief(a.main()))
	}
	for i := range 12 {
		f.set(t, f.as(t, "globex"), "more", fmt.Sprintf("many/%02d", i), `"db-1.internal"`)
	}
	a = operator.get(t, "/search?q=db-1.internal")
	if !strings.Contains(a.main(), "Not all keys were searched of globex") || !strings.Contains(a.body, `href="/globex/search?q=db-1.internal"`) {
		t.Errorf("a tenant with many matches: %s", brief(a.main()))
	}
}

// failingReasons is a connection on which the search of reasons fails, and the list of tenants
// arrives only when that has canceled the other calls of the page.
type failingReasons struct{ grpc.ClientConnInterface }

func (c failingReasons) Invoke(ctx context.Context, method string, args, reply any, opts ...grpc.CallOption) error {
	switch method {
	case stelev1.Ledger_ListAllCommits_FullMethodName:
		return status.Error(codes.Unavailable, "the reasons cannot be searched")
	case stelev1.Ledger_ListTenants_FullMethodName:
		err := c.ClientConnInterface.Invoke(context.WithoutCancel(ctx), method, args, reply, opts...)
		select {
		case <-ctx.Done():
		case <-time.After(time.Minute):
		}
		return err
	}
	return c.ClientConnInterface.Invoke(ctx, method, args, reply, opts...)
}

// A search of all tenants that fails before any tenant was searched shows the error.
func TestSearch_AllTenantsEndsEarly(t *testing.T) {
	f := start(t)
	f.set(t, f.as(t, "acme"), "first", "a/api", `"db-1"`)
	operator := f.login(t, identity.Claims{Roles: []identity.Role{identity.Operator, identity.Admin}})
	working := f.calls.ClientConnInterface
	f.calls.ClientConnInterface = failingReasons{working}
	if a := operator.get(t, "/search?q=db-1"); a.code != http.StatusServiceUnavailable || !strings.Contains(a.main(), "the reasons cannot be searched") {
		t.Errorf("%d %s", a.code, brief(a.main()))
	}
	f.calls.ClientConnInterface = working
	if a := operator.get(t, "/search?q=db-1"); a.code != http.StatusOK || !strings.Contains(a.main(), "a/api") {
		t.Errorf("the next search: %d %s", a.code, brief(a.main()))
	}
}

// The palette lists tenants, keys and commits, and keeps the page and its time.
func TestJump(t *testing.T) {
	f := start(t)
	setup(t, f)
	f.set(t, f.as(t, "globex"), "first", "x/y", "1")
	v := f.writer(t, "acme")
	for query, want := range map[string]string{
		"timeout": `href="/acme/keys/` + timeoutKey + `"`, "@2": `href="/acme/commits/2"`, "3": `href="/acme@3/keys/"`, "zzz": `href="/acme/search?q=zzz"`,
	} {
		if a := v.get(t, "/acme/jump?q="+url.QueryEscape(query)); a.code != http.StatusOK || !strings.Contains(a.body, want) {
			t.Errorf("%s: %d %s", query, a.code, a.body)
		}
	}
	if a := v.get(t, "/acme/jump?q=globex"); strings.Contains(a.body, "/globex/") {
		t.Errorf("a writer's palette has another tenant: %s", a.body)
	}
	operator := f.login(t, identity.Claims{Roles: []identity.Role{identity.Operator, identity.Admin}})
	if a := operator.get(t, "/acme/jump?q=glo&keep=keys/x/"); !strings.Contains(a.body, `href="/globex/keys/x/"`) {
		t.Errorf("an operator's palette: %s", a.body)
	}
	past := operator.get(t, "/acme@2/keys/x/")
	at := past.body[strings.Index(past.body, `id="switch"`):]
	at = at[strings.Index(at, `href="`)+6:]
	at = strings.ReplaceAll(at[:strings.Index(at, `"`)], "&amp;", "&")
	list := operator.get(t, at)
	link := list.body[strings.Index(list.body, `href="/globex/at?`)+6:]
	link = strings.ReplaceAll(link[:strings.Index(link, `"`)], "&amp;", "&")
	if a := operator.get(t, link); a.code != http.StatusNotFound && a.header.Get("Location") != "/globex@1/keys/x/" {
		t.Errorf("%s leads to %d %s", link, a.code, a.header.Get("Location"))
	}
}
