package console_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/stelehq/stele/internal/gateway/identity"
	"github.com/stelehq/stele/internal/ledger"
)

// words is the text of a page's content without the spaces before its points and commas.
func words(a *answer) string {
	return strings.NewReplacer(" ,", ",", " .", ".", " :", ":").Replace(strings.Join(strings.Fields(a.main()), " "))
}

func TestAccess(t *testing.T) {
	f := start(t)
	setup(t, f)
	limited := f.login(t, identity.Claims{Subject: "lim", Tenant: "acme", Roles: []identity.Role{identity.Writer}, Prefixes: []ledger.Pattern{"tenantconfig/"}})
	for query, want := range map[string]string{
		"":                                     "You are lim",
		"?operation=write&what=tenantconfig/a": "Yes, you may write tenantconfig/a",
		"?operation=write&what=paramconfig/":   "No, you may not write paramconfig/",
		"?operation=read":                      "No, you may not read everything",
		"?operation=administer&what=tenantconfig/": "No, you may not administer tenantconfig/",
	} {
		a := limited.get(t, "/acme/access"+query)
		if got := words(a); a.code != http.StatusOK || !strings.Contains(got, want) {
			t.Errorf("%s: %d %s", query, a.code, got)
		}
	}
	for _, bad := range []string{"?operation=fly", "?operation=read&what=a%20b", "?operation=read&what=" + strings.Repeat("a", 600)} {
		if a := limited.get(t, "/acme/access"+bad); a.code != http.StatusBadRequest {
			t.Errorf("%.40s: %d", bad, a.code)
		}
	}
	if a := limited.get(t, "/access"); a.header.Get("Location") != "/acme/access" {
		t.Errorf("without a tenant: %d to %q", a.code, a.header.Get("Location"))
	}
	if a := limited.get(t, "/globex/access"); a.code != http.StatusNotFound {
		t.Errorf("in another tenant: %d", a.code)
	}
	nobody := f.login(t, identity.Claims{Subject: "nobody", Tenant: "acme"})
	if a := nobody.get(t, "/acme/access"); a.code != http.StatusOK || !strings.Contains(a.main(), "none") {
		t.Errorf("who may do nothing: %d %s", a.code, a.main())
	}
	operator := f.login(t, identity.Claims{Roles: []identity.Role{identity.Operator}})
	if a := operator.get(t, "/access"); a.code != http.StatusOK || !strings.Contains(a.main(), "Choose a tenant") {
		t.Errorf("an operator: %d %s", a.code, a.main())
	}
}
