package console_test

import (
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/stelehq/stele/internal/gateway/identity"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
)

// inherit makes acme inherit from the tenant defaults, at revision 1.
func inherit(t *testing.T, f *fixture) *browser {
	t.Helper()
	f.set(t, f.as(t, "defaults"), "platform", "theme/color", `"light"`, "theme/font", `"sans"`)
	f.set(t, f.as(t, "acme"), "ours", "theme/font", `"serif"`, "theme/own", "1")
	operator := f.login(t, identity.Claims{Subject: "olga", Roles: []identity.Role{identity.Operator, identity.Admin, identity.Writer}})
	attach(t, operator)
	return operator
}

// attach makes acme follow the tenant defaults from revision 1 on.
func attach(t *testing.T, operator *browser) {
	t.Helper()
	form := operator.get(t, "/acme/new/").form(t, "/acme/new")
	form.Set("key", "_bases/list")
	form.Set("value", `[{"tenant":"defaults","revision":1,"follow":true}]`)
	if a := operator.post(t, "/acme/new", form); a.code != http.StatusSeeOther {
		t.Fatalf("attach: %d %s", a.code, brief(a.main()))
	}
}

func holds(t *testing.T, a *answer, parts ...string) {
	t.Helper()
	if a.code != http.StatusOK {
		t.Fatalf("%d %s", a.code, brief(a.main()))
	}
	wellMade(t, a)
	for _, part := range parts {
		if !strings.Contains(a.main(), part) {
			t.Errorf("the page has no %q: %s", part, a.main())
		}
	}
}

func lacks(t *testing.T, a *answer, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if strings.Contains(a.main(), part) {
			t.Errorf("the page has %q: %s", part, a.main())
		}
	}
}

// A level shows which values are inherited. Only operators get links to the base.
func TestLevel_Inherited(t *testing.T) {
	f := start(t)
	operator := inherit(t, f)
	a := f.writer(t, "acme").get(t, "/acme/keys/theme/")
	holds(t, a, `color "light" inherited from defaults@1 @2 carol`, `font "serif" @1 carol`)
	if n := strings.Count(a.main(), "inherited"); n != 1 {
		t.Errorf("%d values are inherited: %s", n, a.main())
	}
	const link = `href="/defaults/commits/1"`
	if strings.Contains(a.body, link) || !strings.Contains(operator.get(t, "/acme/keys/theme/").body, link) {
		t.Error("operators, and only they, get links to the base")
	}
}

func TestKey_Inherited(t *testing.T) {
	f := start(t)
	inherit(t, f)
	v := f.writer(t, "acme")
	a := v.get(t, "/acme/keys/theme/color")
	holds(t, a, "Override", "Inherited from defaults@1 Bases set in @2 By carol", "Why platform", "Layers", "acme@2 not set", `defaults@1 in force "light" defaults@1 carol`)
	lacks(t, a, "Delete", "Edit", "Reset")
	holds(t, v.get(t, "/acme@2/keys/theme/color"), "defaults@1 in force")
	lacks(t, v.get(t, "/acme@1/keys/theme/own"), "Layers")
	if a := v.get(t, "/acme/delete/theme/color"); a.code != http.StatusNotFound {
		t.Errorf("the page that deletes an inherited value: %d %s", a.code, brief(a.main()))
	}
	lacks(t, v.get(t, "/acme/keys/_bases/list"), "Layers")

	form := v.get(t, "/acme/keys/theme/color?edit=1")
	holds(t, form, "Override The value is inherited from defaults@1", "for acme only")
	fields := form.form(t, "/acme/keys/theme/color")
	fields.Set("value", `"dark"`)
	fields.Set("message", "at night")
	fields.Set("do", "review")
	review := v.post(t, "/acme/keys/theme/color", fields)
	holds(t, review, "Overrides the value of defaults@1.", `was: "light" is: "dark"`)
	if a := v.post(t, "/acme/keys/theme/color", review.form(t, "/acme/keys/theme/color")); a.code != http.StatusSeeOther {
		t.Fatalf("override: %d %s", a.code, brief(a.main()))
	}
	a = v.get(t, "/acme/keys/theme/color")
	holds(t, a, "Set in @3", `acme@3 in force "dark" @3`, "Why at night")
	lacks(t, a, "Inherited from defaults@1 Bases set in", "Override")
}

// An own value that hides a base's is reset to it.
func TestKey_Reset(t *testing.T) {
	f := start(t)
	inherit(t, f)
	v := f.writer(t, "acme")
	holds(t, v.get(t, "/acme/keys/theme/font"), "Reset to defaults' value", `acme@2 in force "serif"`, `defaults@1 "sans"`)
	lacks(t, v.get(t, "/acme/keys/theme/own"), "Reset")
	holds(t, v.get(t, "/acme/delete/theme/own"), "Delete theme/own ?", "A new commit deletes the key.")
	a := v.get(t, "/acme/delete/theme/font")
	holds(t, a, "Reset theme/font to defaults' value?", `The key then has the value of defaults@1 : "sans"`, "Its history stays")
	plan, err := f.ledger.Plan(f.as(t, "acme"), &stelev1.PlanRequest{Commit: &stelev1.CommitRequest{Changes: []*stelev1.Change{{Key: "theme/font", Delete: true}}}})
	if err != nil || len(plan.Diffs) != 1 || plan.Diffs[0].ToValue != `"sans"` || plan.Diffs[0].ToBase.GetRevision() != 1 || plan.Diffs[0].FromBase != nil {
		t.Errorf("the plan is %v, %v", plan, err)
	}
	form := a.form(t, "/acme/delete/theme/font")
	form.Set("message", "as everywhere")
	if a := v.post(t, "/acme/delete/theme/font", form); a.code != http.StatusSeeOther {
		t.Fatalf("reset: %d %s", a.code, brief(a.main()))
	}
	holds(t, v.get(t, "/acme/keys/theme/font"), "Inherited from defaults@1", `defaults@1 in force "sans"`)
}

// A schema of a base names the base. A tenant's own schema of the same prefix applies in addition.
func TestSchemas_Base(t *testing.T) {
	f := start(t)
	f.set(t, f.as(t, "defaults"), "platform", "theme/color", `"light"`, "_schema/theme/color", `{"enum":["light","dark"]}`)
	f.set(t, f.as(t, "acme"), "ours", "_schema/theme", `{"type":"string"}`)
	attach(t, f.login(t, identity.Claims{Subject: "olga", Roles: []identity.Role{identity.Operator, identity.Admin, identity.Writer}}))
	v := f.writer(t, "acme")
	holds(t, v.get(t, "/acme/schemas"), `theme acme {"type":"string"} @1`, `theme/color defaults base {"enum":["light","dark"]} defaults@1`)
	holds(t, v.get(t, "/acme/keys/theme/color"), "Schema theme Schema theme/color of the base defaults")
	holds(t, v.get(t, "/acme/keys/theme/color?edit=1"), "Schema of theme/color of the base defaults")
	a := v.get(t, "/acme/schemas/theme/color")
	holds(t, a, "Base defaults {", "Set by defaults@1 . It applies", "acme has no schema of its own for this prefix")
	form := a.form(t, "/acme/schemas/theme/color")
	form.Set("value", `{"maxLength":9}`)
	form.Set("message", "short")
	form.Set("do", "set")
	if a := v.post(t, "/acme/schemas/theme/color", form); a.code != http.StatusSeeOther {
		t.Fatalf("set a schema next to the base's: %d %s", a.code, brief(a.main()))
	}
	holds(t, v.get(t, "/acme/schemas/theme/color"), "Base defaults {", `acme { "maxLength": 9 }`)
	a = v.get(t, "/acme/keys/theme/color?edit=1")
	form = a.form(t, "/acme/keys/theme/color")
	form.Set("value", `"dark"`)
	form.Set("do", "review")
	holds(t, v.post(t, "/acme/keys/theme/color", form), "satisfied theme theme/color theme/color of the base defaults")
}

func TestTenants_Bases(t *testing.T) {
	f := start(t)
	operator := inherit(t, f)
	a := operator.get(t, "/")
	holds(t, a)
	const ago = `(just now|\d+ \S+ ago)`
	if rows := regexp.MustCompile("acme 2 " + ago + " defaults@1 defaults 1 " + ago); !rows.MatchString(a.main()) {
		t.Errorf("the page has no %s: %s", rows, a.main())
	}
	f.set(t, f.as(t, "acme"), "pinned", "_bases/list", `[{"tenant":"defaults","revision":1,"follow":false}]`)
	holds(t, operator.get(t, "/"), "defaults@1 pinned")
}

// An operator's review of a change of a base shows how many tenants it reaches.
func TestReview_Reach(t *testing.T) {
	f := start(t)
	operator := inherit(t, f)
	review := func(v *browser, key string) *answer {
		t.Helper()
		form := v.get(t, "/defaults/keys/"+key+"?edit=1").form(t, "/defaults/keys/"+key)
		form.Set("value", `"other"`)
		form.Set("do", "review")
		return v.post(t, "/defaults/keys/"+key, form)
	}
	holds(t, review(operator, "theme/color"), "Tenants 1 tenant, 1 following, 0 overriding")
	holds(t, review(operator, "theme/font"), "Tenants 1 tenant, 1 following, 1 overriding")
	lacks(t, review(f.writer(t, "defaults"), "theme/font"), "following")
	f.set(t, f.as(t, "defaults"), "of one key", "theme/font", `"mono"`)
	holds(t, operator.get(t, "/defaults@1/rollback"), "Tenants 1 tenant, 1 following, 1 overriding")
	holds(t, operator.get(t, "/defaults/commits/2/revert"), "Tenants 1 tenant, 1 following, 1 overriding")
	f.set(t, f.as(t, "acme"), "pinned", "_bases/list", `[{"tenant":"defaults","revision":1,"follow":false}]`)
	holds(t, review(operator, "theme/font"), "Tenants 1 tenant, 0 following, 1 overriding")
	f.set(t, f.as(t, "acme"), "detached", "_bases/list", "")
	lacks(t, review(operator, "theme/font"), "Tenants")
}
