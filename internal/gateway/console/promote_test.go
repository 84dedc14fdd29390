package console_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/stelehq/stele/internal/gateway/identity"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
)

// A promotion is planned, its conflicts are decided, and it is reviewed and committed with its origin.
func TestPromote(t *testing.T) {
	f := start(t)
	f.set(t, f.as(t, "staging"), "first", "a/new", "1", "a/both", "1", "a/other", "1")
	f.set(t, f.as(t, "production"), "first", "a/both", "2", "a/other", "2", "a/own", "1")
	v := f.login(t, identity.Claims{Roles: []identity.Role{identity.Operator}})
	plan := v.get(t, "/production/promote?from=staging")
	for _, part := range []string{"staging@1 → production@1", "1 set · 2 conflicts · 1 kept", "a/new", "never promoted"} {
		if !strings.Contains(plan.main(), part) {
			t.Errorf("the plan lacks %q: %s", part, plan.main())
		}
	}
	form := url.Values{"from": {"staging"}, "at": {"@1"}, "head": {"1"}, "form": {"f"}, "message": {"release 7"}, "all": {"leave"},
		"conflict": {"a/both", "a/other"}, "decision": {"theirs", ""}, "do": {"review"}}
	reviewed := v.post(t, "/production/promote", form)
	for _, part := range []string{"1 set, 1 changed", "is: 1", "1 conflict left", "a/other"} {
		if reviewed.code != http.StatusOK || !strings.Contains(reviewed.main(), part) {
			t.Errorf("the review lacks %q: %d %s", part, reviewed.code, reviewed.main())
		}
	}
	form.Set("do", "commit")
	if a := v.post(t, "/production/promote", form); a.code != http.StatusSeeOther || a.header.Get("Location") != "/production/commits/2" {
		t.Fatalf("the commit: %d %s", a.code, a.main())
	}
	got, err := f.ledger.GetCommit(f.as(t, "production"), &stelev1.GetCommitRequest{Commit: &stelev1.GetCommitRequest_Revision{Revision: 2}})
	if err != nil {
		t.Fatal(err)
	}
	c := got.Info.Commit
	if o := c.Origin.GetPromotion(); o.GetTenant() != "staging" || o.GetRevision() != 1 || len(c.Changes) != 2 || c.Message != "release 7" {
		t.Errorf("the commit is %v", c)
	}
	if again := v.post(t, "/production/promote", form); again.code != http.StatusConflict || !strings.Contains(again.main(), "production has changed since the plan") {
		t.Errorf("the plan is old: %d %s", again.code, again.main())
	}
	rest := v.get(t, "/production/promote?from=staging").main()
	if !strings.Contains(rest, "no changes · 1 conflict") {
		t.Errorf("the next plan: %s", rest)
	}
	for query, want := range map[string]int{"from=staging&at=@9": 404, "from=NO": 400, "from=production": 400, "from=nothing": 404, "from=staging&prefix=_schema/": 400} {
		if a := v.get(t, "/production/promote?"+query); a.code != want || len(a.all("form")) < 2 {
			t.Errorf("%s: %d, want %d: %s", query, a.code, want, a.main())
		}
	}
	if a := f.writer(t, "production").get(t, "/production/promote?from=staging"); a.code != http.StatusForbidden || strings.Contains(a.main(), "a/new") {
		t.Errorf("for a user of one tenant: %d %s", a.code, a.main())
	}
}
