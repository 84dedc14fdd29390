package console_test

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/stelehq/stele/internal/gateway/identity"
)

func TestCompare_TwoStates(t *testing.T) {
	f := start(t)
	ctx := f.as(t, "acme")
	f.set(t, ctx, "first", "a/same", "1", "a/changed", `{"x":1,"y":[1,2]}`, "a/gone", "1")
	f.set(t, ctx, "second", "a/changed", `{"x":1,"y":[1,3]}`, "a/gone", "", "b/new", "1")
	v := f.writer(t, "acme")
	a := v.get(t, "/acme/compare?from=@1")
	main := a.main()
	for _, part := range []string{"acme@1", "acme@2", "a/changed", "/y/1", "a/gone", "b/new", "1 set, 1 changed, 1 deleted"} {
		if !strings.Contains(main, part) {
			t.Errorf("the page lacks %q: %s", part, main)
		}
	}
	if strings.Contains(main, "a/same") {
		t.Errorf("the page shows a key that is the same: %s", main)
	}
	if !strings.Contains(a.text(), "stele -t acme diff @1") {
		t.Error("the page lacks the command")
	}
	if part := v.get(t, "/acme/compare?from=@1&to=@2&prefix=b/").main(); strings.Contains(part, "a/changed") || !strings.Contains(part, "b/new") {
		t.Errorf("a part: %s", part)
	}
	if none := v.get(t, "/acme/compare?from=@1&prefix=a/same").main(); !strings.Contains(none, "no difference") {
		t.Errorf("without a change: %s", none)
	}
	if a := v.get(t, "/acme/compare?from=@1&prefix=c/"); a.code != http.StatusBadRequest || !strings.Contains(a.main(), `no key is set under "c/"`) || strings.Contains(a.main(), "no difference") {
		t.Errorf("an unknown prefix: %d %s", a.code, a.main())
	}
	for _, bad := range []string{"from=@9", "from=x", "from=@1&to=x", "from=@2&to=@1", "from=@1&prefix=a%20b", "with=NO"} {
		if a := v.get(t, "/acme/compare?"+bad); a.code != http.StatusBadRequest {
			t.Errorf("%s: %d", bad, a.code)
		}
	}
}

func TestCompare_Tenants(t *testing.T) {
	f := start(t)
	f.set(t, f.as(t, "acme"), "first", "a/same", "1", "a/equal", `{"x":1,"y":2}`, "a/other", "1", "a/only", "1")
	f.set(t, f.as(t, "globex"), "first", "a/same", "1", "a/equal", `{"y":2,"x":1}`, "a/other", "2", "z/theirs", `"theirs"`)
	operator := f.login(t, identity.Claims{Roles: []identity.Role{identity.Operator}})
	main := operator.get(t, "/acme/compare?with=globex").main()
	if !strings.Contains(main, "acme@1 → globex@1") || !strings.Contains(main, "1 set, 1 changed, 1 deleted") {
		t.Errorf("the comparison: %s", main)
	}
	for _, same := range []string{"a/same", "a/equal"} {
		if strings.Contains(main, same) {
			t.Errorf("%s does not differ: %s", same, main)
		}
	}
	if a := f.writer(t, "acme").get(t, "/acme/compare?with=globex"); a.code != http.StatusForbidden || strings.Contains(a.main(), "theirs") {
		t.Errorf("for a user of one tenant: %d %s", a.code, a.main())
	}
}

// More keys than a page of the listing, and more differences than a page has.
func TestCompare_LargeTenants(t *testing.T) {
	f := start(t)
	var ours, theirs []string
	for i := range 6000 {
		ours = append(ours, fmt.Sprintf("a/%04d", i), "1")
		theirs = append(theirs, fmt.Sprintf("a/%04d", i), fmt.Sprint(1+i/5950))
	}
	f.set(t, f.as(t, "acme"), "first", ours...)
	f.set(t, f.as(t, "globex"), "first", theirs...)
	operator := f.login(t, identity.Claims{Roles: []identity.Role{identity.Operator}})
	if main := operator.get(t, "/acme/compare?with=globex").main(); !strings.Contains(main, "50 changed") || !strings.Contains(main, "a/5999") {
		t.Errorf("50 at the end: %.300s", main)
	}
	f.set(t, f.as(t, "globex"), "second", func() (all []string) {
		for i := range 200 {
			all = append(all, fmt.Sprintf("a/%04d", i), "3")
		}
		return all
	}()...)
	seen := map[string]bool{}
	pages := 0
	for path := "/acme/compare?with=globex"; path != ""; pages++ {
		a := operator.get(t, path)
		path = ""
		for _, n := range a.all("a") {
			if key, ok := strings.CutPrefix(attr(n, "href"), "/globex/keys/"); ok {
				seen[key] = true
			}
			if attr(n, "rel") == "next" {
				path = attr(n, "href")
			}
		}
	}
	if pages != 3 || len(seen) != 250 {
		t.Errorf("%d pages show %d of 250 differences", pages, len(seen))
	}
}

func TestCompare_TenantThatDoesNotExist(t *testing.T) {
	f := start(t)
	setup(t, f)
	operator := f.login(t, identity.Claims{Roles: []identity.Role{identity.Operator}})
	a := operator.get(t, "/acme/compare?with=globbex")
	if a.code != http.StatusBadRequest || !strings.Contains(a.main(), "the tenant globbex does not exist") || strings.Contains(a.main(), "deleted") {
		t.Errorf("%d %s", a.code, brief(a.main()))
	}
}

// Pages take the revisions and times that the command line takes.
func TestAsOf_EqualsTheCommandLine(t *testing.T) {
	f := start(t)
	setup(t, f)
	v := f.writer(t, "acme")
	for _, text := range []string{"@1", "1", "@HEAD~2", "HEAD~2"} {
		for _, path := range []string{"/acme/compare?from=", "/acme/rollback?to=", "/acme/history?until="} {
			if a := v.get(t, path+url.QueryEscape(text)); a.code != http.StatusOK || !strings.Contains(a.main(), "@1") {
				t.Errorf("%s%s: %d %s", path, text, a.code, brief(a.main()))
			}
		}
	}
	for _, text := range []string{"@1d", "2h ago", "yesterday", "@HEAD~9"} { // before the first commit
		a := v.get(t, "/acme/rollback?to="+url.QueryEscape(text))
		if strings.Contains(a.main(), "not a revision or time") {
			t.Errorf("%s: %d %s", text, a.code, brief(a.main()))
		}
	}
}
