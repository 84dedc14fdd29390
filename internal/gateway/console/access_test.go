package console_test

import (
	"maps"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/stelehq/stele/internal/gateway/console"
	"github.com/stelehq/stele/internal/gateway/identity"
	"github.com/stelehq/stele/internal/ledger"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/grpc/metadata"
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
	roleless := f.login(t, identity.Claims{Subject: "nobody", Tenant: "acme"})
	if a := roleless.get(t, "/acme/access"); a.code != http.StatusOK || !strings.Contains(a.main(), "none") {
		t.Errorf("who may do nothing: %d %s", a.code, a.main())
	}
	operator := f.login(t, identity.Claims{Roles: []identity.Role{identity.Operator}})
	if a := operator.get(t, "/access"); a.code != http.StatusOK || !strings.Contains(a.main(), "Choose a tenant") {
		t.Errorf("an operator: %d %s", a.code, a.main())
	}
}

// An operator sees what a grant changes before it is set.
func TestAccess_Grants(t *testing.T) {
	f := start(t)
	setup(t, f)
	operator := f.login(t, identity.Claims{Subject: "olga", Roles: []identity.Role{identity.Operator}})
	const path = "/acme/access/grants"
	holds(t, operator.get(t, path), "acme has no grants")
	post := func(form url.Values) *answer { t.Helper(); return operator.post(t, path, form) }
	review := post(url.Values{"subjects": {"ann, ci-*"}, "operation": {"read", "write"}, "prefixes": {"tenantconfig/"}})
	holds(t, review, "These are the first grants of the tenant", "ann read 2 keys under tenantconfig/ no keys", "ci-* write 2 keys under tenantconfig/ no keys", "others with the role writer write no keys 2 keys")
	if a := post(formOf(t, review, path)); a.code != http.StatusSeeOther {
		t.Fatalf("%d %s", a.code, brief(a.main()))
	}
	ann := f.login(t, identity.Claims{Subject: "ann", Tenant: "acme", Roles: []identity.Role{identity.Reader}})
	if a := ann.get(t, "/acme/access?operation=write&what=tenantconfig/a"); !strings.Contains(words(a), "Yes, you may write") {
		t.Errorf("ann: %s", words(a))
	}
	holds(t, operator.get(t, path), "ann, ci-* read, write tenantconfig/")
	holds(t, operator.get(t, path+"?subject=ci-7"), "write: 2 keys under tenantconfig/", "reveal: no keys")
	holds(t, operator.get(t, path+"?subject=eve&role=admin"), "write: no keys")

	second := post(url.Values{"role": {"admin"}})
	holds(t, second, "others with the role admin administer 2 keys no keys")
	lacks(t, second, "first grants", "ann")
	if a := post(formOf(t, second, path)); a.code != http.StatusSeeOther {
		t.Fatalf("%d %s", a.code, brief(a.main()))
	}
	form := operator.get(t, path).form(t, path)
	form.Set("remove", "0")
	removal := post(form)
	holds(t, removal, "ann write no keys 2 keys under tenantconfig/")
	form.Set("remove", "1")
	form.Set("text-1", "{}")
	if a := post(form); a.code != http.StatusConflict || !strings.Contains(a.main(), "changed meanwhile") {
		t.Errorf("a grant that is another: %d %s", a.code, brief(a.main()))
	}
	if a := post(formOf(t, removal, path)); a.code != http.StatusSeeOther {
		t.Fatalf("%d %s", a.code, brief(a.main()))
	}
	if a := post(formOf(t, removal, path)); a.code != http.StatusSeeOther {
		t.Errorf("sent twice: %d %s", a.code, brief(a.main()))
	}
	lacks(t, operator.get(t, path), "ann")
	for what, bad := range map[string]url.Values{"no grantee": {"operation": {"read"}}, "a subject": {"subjects": {"a*b"}}, "a role": {"role": {"operator"}}, "a prefix": {"role": {"admin"}, "prefixes": {"a*b"}}} {
		if a := post(bad); a.code != http.StatusUnprocessableEntity || len(a.all("table")) == 0 {
			t.Errorf("%s: %d %s", what, a.code, brief(a.main()))
		}
	}
	for _, path := range []string{path, "/acme/access/tokens"} {
		if a := f.writer(t, "acme").get(t, path); a.code == http.StatusOK {
			t.Errorf("a writer sees %s", path)
		}
	}
}

// formOf is the form of a page with the button that commits it.
func formOf(t *testing.T, a *answer, path string) url.Values {
	t.Helper()
	form := a.form(t, path)
	form.Set("do", "commit")
	return form
}

// Tokens are minted with the local identity, with nothing that their user may not do, and revoked.
func TestAccess_Tokens(t *testing.T) {
	f := start(t)
	setup(t, f)
	const path = "/acme/access/tokens"
	operator := f.login(t, identity.Claims{Subject: "olga", Roles: []identity.Role{identity.Operator}})
	holds(t, operator.get(t, path), "Tokens come from the identity provider", "No token is revoked")
	mint := url.Values{"do": {"mint"}, "subject": {"kim"}, "role": {"writer"}, "prefixes": {"tenantconfig/"}, "ttl": {"8 hours"}}
	if a := operator.post(t, path, mint); a.code != http.StatusMethodNotAllowed {
		t.Errorf("without a local identity: %d", a.code)
	}
	pages, err := console.New(console.Config{Conn: f.calls, Bodies: f.bodies, Mint: func(c identity.Claims) (string, error) { return f.token(t, c), nil }})
	if err != nil {
		t.Fatal(err)
	}
	f.web.Config.Handler = pages
	a := operator.post(t, path, mint)
	holds(t, a, "Token of olga/kim , until")
	token := a.all("textarea")[0].FirstChild.Data
	// The history shows who has minted the token.
	kims := metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer "+token)
	revision := f.set(t, kims, "as kim", "tenantconfig/minted", "1")
	made, err := f.ledger.GetCommit(kims, &stelev1.GetCommitRequest{Commit: &stelev1.GetCommitRequest_Revision{Revision: revision}})
	if err != nil || made.Info.Commit.Author != "olga/kim" {
		t.Errorf("the author of kim's commit: %v, %v", made.GetInfo().GetCommit().GetAuthor(), err)
	}
	for _, bad := range []string{"", "x/kim", "/"} {
		wrong := maps.Clone(mint)
		wrong.Set("subject", bad)
		if a := operator.post(t, path, wrong); a.code != http.StatusUnprocessableEntity {
			t.Errorf("the name %q: %d", bad, a.code)
		}
	}
	kim := f.anonymous()
	if a := kim.post(t, "/login", url.Values{"token": {token}}); a.code != http.StatusSeeOther {
		t.Fatalf("kim: %d", a.code)
	}
	if a := kim.get(t, "/acme/access?operation=write&what=tenantconfig/a"); !strings.Contains(words(a), "Yes, you may write") {
		t.Errorf("kim: %s", words(a))
	}
	mint.Set("role", "revealer")
	if a := operator.post(t, path, mint); a.code != http.StatusUnprocessableEntity || !strings.Contains(a.main(), "you do not have the permission reveal yourself") {
		t.Errorf("more than the user may do: %d %s", a.code, brief(a.main()))
	}
	mint.Set("role", "operator")
	if a := operator.post(t, path, mint); a.code != http.StatusUnprocessableEntity {
		t.Errorf("an operator: %d %s", a.code, brief(a.main()))
	}
	f.set(t, f.system(t), "grants", "policy/acme/grants", `{"grants":[{"roles":["writer"]},{"subjects":["olga/service"],"operations":["read","reveal"]}]}`)
	service := url.Values{"do": {"mint"}, "subject": {"service"}, "ttl": {"8 hours"}}
	if a := operator.post(t, path, service); a.code != http.StatusUnprocessableEntity || !strings.Contains(a.main(), "a grant gives it the permission reveal") {
		t.Errorf("a subject that a grant names: %d %s", a.code, brief(a.main()))
	}
	if a := kim.post(t, path, service); a.code != http.StatusNotFound {
		t.Errorf("kim, without the operator role: %d", a.code)
	}
	review := operator.post(t, path, url.Values{"do": {"revoke"}, "revoked-subject": {"olga/kim"}})
	holds(t, review, "All tokens of olga/kim that were issued until now are rejected, in every tenant.")
	if a := operator.post(t, path, formOf(t, review, path)); a.code != http.StatusSeeOther {
		t.Fatalf("revoke: %d %s", a.code, brief(a.main()))
	}
	if a := kim.get(t, "/acme/keys/"); a.code != http.StatusSeeOther {
		t.Errorf("kim is still logged in: %d", a.code)
	}
	holds(t, operator.get(t, path), "kim")
	back := operator.post(t, path, url.Values{"do": {"restore"}, "revoked-subject": {"olga/kim"}})
	holds(t, back, "Tokens of olga/kim that have not expired are accepted again")
	if a := operator.post(t, path, formOf(t, back, path)); a.code != http.StatusSeeOther {
		t.Fatalf("restore: %d %s", a.code, brief(a.main()))
	}
	if a := kim.get(t, "/acme/keys/"); a.code != http.StatusOK {
		t.Errorf("kim is still revoked: %d", a.code)
	}
	if a := operator.post(t, path, url.Values{"do": {"revoke"}}); a.code != http.StatusUnprocessableEntity {
		t.Errorf("an empty revocation is answered with %d", a.code)
	}
	if a := f.writer(t, "acme").post(t, path, mint); a.code == http.StatusOK {
		t.Error("a writer mints a token")
	}
}

// Recorded reads are selected and exported.
func TestAccess_Reads(t *testing.T) {
	f := start(t)
	setup(t, f)
	operator := f.login(t, identity.Claims{Subject: "olga", Roles: []identity.Role{identity.Operator}})
	operator.get(t, "/acme/keys/"+timeoutKey)
	auditor := f.login(t, identity.Claims{Subject: "audra", Tenant: "acme", Roles: []identity.Role{identity.Auditor}})
	const path = "/acme/access/reads"
	holds(t, auditor.get(t, path), "olga operator Config/Get "+timeoutKey)
	operator.get(t, "/acme/schemas/a")
	a := auditor.get(t, path+"?subject=olga")
	if newer, older := strings.Index(a.main(), "Schemas/ListSchemas"), strings.Index(a.main(), "Config/Get "+timeoutKey); newer < 0 || older < newer {
		t.Errorf("the newest read is not the first: %s", brief(a.main()))
	}
	for query, found := range map[string]bool{
		"?subject=olga&method=config/get": true, "?subject=eve": false, "?method=Ledger/Fly": false, "?since=&what=" + timeoutKey: true,
		"?since=&what=other/": false, "?since=1h&revealed=1": false, "?since=&until=2h+ago": false,
	} {
		a := auditor.get(t, path+query)
		if got := strings.Contains(a.main(), "olga"); a.code != http.StatusOK || got != found {
			t.Errorf("%s: %d %s", query, a.code, brief(a.main()))
		}
	}
	if a := auditor.get(t, path+"?since=never"); a.code != http.StatusBadRequest {
		t.Errorf("a wrong time: %d", a.code)
	}
	a = auditor.get(t, path+"?since=&subject=olga&export=csv")
	if a.header.Get("Content-Type") != "text/csv; charset=utf-8" || !strings.HasPrefix(a.body, "time,subject,roles,method,keys,") || !strings.Contains(a.body, ",olga,operator,/stele.v1.Config/Get,"+timeoutKey) {
		t.Errorf("the export: %v %s", a.header, brief(a.body))
	}
	reader := f.login(t, identity.Claims{Tenant: "acme", Roles: []identity.Role{identity.Reader}})
	if a := reader.get(t, path); a.code != http.StatusForbidden {
		t.Errorf("a reader: %d", a.code)
	}
	if a := reader.get(t, "/acme/access"); strings.Contains(a.main(), "Recorded reads") {
		t.Error("a reader is offered the recorded reads")
	}
}
