package console_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/stelehq/stele/internal/gateway/identity"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
)

// TestTenancy_OtherTenants: for the users of one tenant, every page of another is like one that
// does not exist.
func TestTenancy_OtherTenants(t *testing.T) {
	f := start(t)
	setup(t, f)
	f.set(t, f.as(t, "globex"), "their own", "secretproject/code", `"xyzzy"`)
	v := f.writer(t, "globex")
	for _, c := range pages {
		theirs := v.get(t, c.path)
		missing := v.get(t, strings.Replace(c.path, "/acme", "/umbrella", 1))
		if theirs.code != http.StatusNotFound || missing.code != http.StatusNotFound {
			t.Errorf("%s: %d, and for a tenant that does not exist %d", c.path, theirs.code, missing.code)
		}
		if a, b := theirs.text(), missing.text(); a != b {
			t.Errorf("%s shows\n%s\nand for a tenant that does not exist\n%s", c.path, a, b)
		}
	}
	for _, path := range []string{"/acme/keys/tenantconfig/checkout/card", "/acme/delete/tenantconfig/checkout/card", "/acme/commits/3/revert", "/acme/reveal/tenantconfig/checkout/card", "/acme/new"} {
		form := url.Values{"key": {"a/b"}, "value": {"1"}, "message": {"mine"}, "expected": {"3"}}
		theirs, missing := v.post(t, path, form), v.post(t, strings.Replace(path, "/acme", "/umbrella", 1), form)
		if theirs.code != http.StatusNotFound || theirs.text() != missing.text() {
			t.Errorf("a form to %s: %d %s", path, theirs.code, theirs.text())
		}
	}
	for _, path := range []string{"/acme/raw/tenantconfig/checkout/card", "/acme/commits/3/receipt"} {
		if a := v.get(t, path); a.code != http.StatusNotFound || a.main() != v.get(t, "/umbrella/").main() {
			t.Errorf("%s: %d %s", path, a.code, brief(a.text()))
		}
	}
	head, err := f.ledger.GetHead(f.as(t, "acme"), &stelev1.GetHeadRequest{})
	if err != nil || head.Snapshot.Head != 3 {
		t.Errorf("acme is at %v, %v", head, err)
	}
}

// TestTenancy_HostilePaths: hostile paths find nothing, whatever the client.
func TestTenancy_HostilePaths(t *testing.T) {
	f := start(t)
	setup(t, f)
	f.set(t, f.as(t, "globex"), "their own", "tenantconfig/checkout/card", `"xyzzy"`)
	v := f.writer(t, "acme")
	for _, path := range []string{
		"/acme/keys/../../globex/keys/tenantconfig/", "/acme/keys/..%2f..%2fglobex/", "/acme%2f..%2fglobex/keys/", "/acme@1%2f..%2fglobex/", "/globex%00/keys/",
		"/acme/keys/%3Cscript%3Ealert(1)%3C/script%3E/", "/acme/keys/a%20b", "/acme/keys/" + strings.Repeat("a", 600), "/acme/keys/" + strings.Repeat("a/", 300),
		"/acme/keys/tenantconfig%2f%2e%2e%2f", "/%2e%2e/%2e%2e/etc/passwd", "/-/assets/../console.go", "/-/assets/", "/-/assets/%2e%2e%2fconsole.go", "/acme@99999999999999999999/keys/", "/acme@1e3/",
	} {
		a := v.get(t, path)
		if a.code != http.StatusNotFound && a.code != http.StatusForbidden || strings.Contains(a.body, "xyzzy") || strings.Contains(a.body, "<script>alert") {
			t.Errorf("%s: %d %s", path, a.code, brief(a.text()))
		}
	}
}

// TestTenancy_Operators choose a tenant, and act in each.
func TestTenancy_Operators(t *testing.T) {
	f := start(t)
	setup(t, f)
	f.set(t, f.as(t, "globex"), "their own", "a/b", "1")
	v := f.login(t, identity.Claims{Roles: []identity.Role{identity.Operator, identity.Admin}})
	a := v.get(t, "/")
	if a.code != http.StatusOK || !strings.Contains(a.main(), "acme 3 ") || !strings.Contains(a.main(), "globex 1 ") {
		t.Errorf("the tenants: %d %s", a.code, brief(a.main()))
	}
	wellMade(t, a)
	for _, path := range []string{"/acme/", "/globex/keys/a/b", "/globex/commits/1"} {
		if a := v.get(t, path); a.code != http.StatusOK {
			t.Errorf("%s: %d %s", path, a.code, brief(a.text()))
		}
	}
	for _, path := range []string{"/umbrella/", "/umbrella/new/"} {
		if a := v.get(t, path); a.code != http.StatusNotFound || strings.Contains(a.main(), "New key") || !strings.Contains(words(a), "umbrella does not exist") {
			t.Errorf("%s, a tenant that does not exist: %d %s", path, a.code, brief(a.main()))
		}
	}
	if a := f.writer(t, "acme").get(t, "/"); a.code != http.StatusSeeOther || a.header.Get("Location") != "/acme/" {
		t.Errorf("a tenant's own users are redirected to %d %s", a.code, a.header.Get("Location"))
	}
}

// TestTenancy_WithoutALogin get the login page, and then return to the requested page.
func TestTenancy_WithoutALogin(t *testing.T) {
	f := start(t)
	setup(t, f)
	for _, c := range pages {
		a := f.anonymous().get(t, c.path)
		if a.code != http.StatusSeeOther && a.code != http.StatusNotFound || strings.Contains(a.body, "timeout_ms") && a.code != http.StatusSeeOther {
			t.Errorf("%s: %d %s", c.path, a.code, a.body)
		}
	}
	a := f.anonymous().get(t, "/acme/keys/?filter=x")
	if want := "/login?to=" + url.QueryEscape("/acme/keys/?filter=x"); a.header.Get("Location") != want {
		t.Errorf("led to %s", a.header.Get("Location"))
	}
}

// TestTenancy_OtherSites: a form of another site is rejected, with any user's cookie.
func TestTenancy_OtherSites(t *testing.T) {
	f := start(t)
	setup(t, f)
	v := f.writer(t, "acme")
	for name, header := range map[string][2]string{
		"by what the browser says": {"Sec-Fetch-Site", "cross-site"}, "by its origin": {"Origin", "https://evil.example"}, "from a sibling": {"Sec-Fetch-Site", "same-site"},
	} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, v.web.URL+"/acme/delete/tenantconfig/checkout/card", strings.NewReader("expected=3&message=x"))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		req.Header.Set(header[0], header[1])
		if a := v.do(t, req); a.code != http.StatusForbidden {
			t.Errorf("%s: %d", name, a.code)
		}
	}
	if a := v.get(t, "/acme/keys/tenantconfig/checkout/card"); a.code != http.StatusOK {
		t.Errorf("the key is gone: %d", a.code)
	}
}
