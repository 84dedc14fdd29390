package console_test

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/stelehq/stele/internal/gateway/identity"
)

func TestRollback(t *testing.T) {
	f := start(t)
	ctx := f.as(t, "acme")
	first := f.set(t, ctx, "first", "a/one", "1", "b/one", "1")
	f.set(t, ctx, "second", "a/one", "2", "a/two", "2", "b/one", "")
	v := f.writer(t, "acme")
	page := fmt.Sprintf("/acme@%d/rollback", first)
	a := v.get(t, page)
	for _, part := range []string{"would set 2 keys and delete 1 key", "a/one", "a/two", "b/one"} {
		if !strings.Contains(a.main(), part) {
			t.Errorf("the preview lacks %q: %s", part, a.main())
		}
	}
	part := v.get(t, page+"?prefix=a/")
	if !strings.Contains(words(part), "under a/ would set 1 key and delete 1 key") {
		t.Errorf("the preview of a part: %s", part.main())
	}

	form := part.form(t, "/acme/rollback")
	form.Set("message", "it was better then")
	done := v.post(t, "/acme/rollback", form)
	if done.code != http.StatusSeeOther {
		t.Fatalf("rolling back: %d %s", done.code, done.main())
	}
	result := v.get(t, done.header.Get("Location"))
	if !strings.Contains(words(result), "acme@3 is what acme@1 was under a/") || !strings.Contains(result.text(), "stele -t acme revert @3") {
		t.Errorf("the result: %s", result.text())
	}
	if got := f.value(t, "a/one"); got != "1" {
		t.Errorf("a/one is %s", got)
	}
	// Sent twice, it is done once; another form finds nothing to do.
	if again := v.post(t, "/acme/rollback", form); again.header.Get("Location") != done.header.Get("Location") {
		t.Errorf("the same form once more: %d to %q", again.code, again.header.Get("Location"))
	}
	if idle := v.get(t, page+"?prefix=a/"); !strings.Contains(idle.main(), "nothing to roll back") {
		t.Errorf("afterwards: %s", idle.main())
	}
	if other := v.get(t, "/acme/rollback?done=2"); other.code != http.StatusNotFound {
		t.Errorf("a commit that is no rollback: %d", other.code)
	}
}

func TestRollback_Late(t *testing.T) {
	f := start(t)
	ctx := f.as(t, "acme")
	f.set(t, ctx, "first", "a/one", "1")
	f.set(t, ctx, "second", "a/one", "2")
	v := f.writer(t, "acme")
	form := v.get(t, "/acme@1/rollback").form(t, "/acme/rollback")
	form.Set("message", "back")
	f.set(t, ctx, "another user was <faster>", "a/one", "3")
	late := v.post(t, "/acme/rollback", form)
	if late.code != http.StatusConflict || !strings.Contains(late.main(), "another user was <faster>") || f.value(t, "a/one") != "3" {
		t.Fatalf("a late rollback: %d %s", late.code, late.main())
	}
	again := late.form(t, "/acme/rollback")
	if again.Get("message") != "back" {
		t.Errorf("the reason became %q", again.Get("message"))
	}
	if a := v.post(t, "/acme/rollback", again); a.code != http.StatusSeeOther || f.value(t, "a/one") != "1" {
		t.Errorf("the second try: %d %s", a.code, a.main())
	}
}

func TestRollback_HasPages(t *testing.T) {
	f := start(t)
	ctx := f.as(t, "acme")
	f.set(t, ctx, "first", "a/one", "1")
	var pairs []string
	for i := range 250 {
		pairs = append(pairs, fmt.Sprintf("b/%03d", i), "1")
	}
	f.set(t, ctx, "many", pairs...)
	v := f.writer(t, "acme")
	seen := map[string]bool{}
	next := "/acme/rollback?to=@1"
	for pages := 0; next != "" && pages < 5; pages++ {
		a := v.get(t, next)
		for i := range 250 {
			if key := fmt.Sprintf("b/%03d", i); strings.Contains(a.main(), key) {
				seen[key] = true
			}
		}
		next = ""
		for _, n := range a.all("a") {
			if attr(n, "rel") == "next" {
				next = attr(n, "href")
			}
		}
	}
	if len(seen) != 250 {
		t.Errorf("%d of 250 keys are shown", len(seen))
	}
}

func TestRollback_Rejected(t *testing.T) {
	f := start(t)
	f.set(t, f.as(t, "acme"), "first", "a/one", "1")
	f.set(t, f.as(t, "acme"), "second", "a/one", "2")
	v := f.writer(t, "acme")
	for to, code := range map[string]int{"@99": 400, "nonsense": 400, "1999-01-01": 400, "@0": 200} {
		if a := v.get(t, "/acme/rollback?to="+url.QueryEscape(to)); a.code != code {
			t.Errorf("to %s: %d %s", to, a.code, a.main())
		}
	}
	if a := v.get(t, "/acme/rollback?to=@1&prefix=a%20b"); a.code != http.StatusBadRequest {
		t.Errorf("a bad prefix: %d", a.code)
	}
	if a := v.post(t, "/acme/rollback", url.Values{"revision": {"x"}}); a.code != http.StatusBadRequest {
		t.Errorf("a form without a revision: %d", a.code)
	}
	long := v.get(t, "/acme/rollback?to=@1").form(t, "/acme/rollback")
	long.Set("message", strings.Repeat("x", 5000))
	if a := v.post(t, "/acme/rollback", long); a.code != http.StatusUnprocessableEntity || !strings.Contains(a.main(), "message:") || a.form(t, "/acme/rollback").Get("message") != long.Get("message") {
		t.Errorf("a reason that is too long: %d %s", a.code, brief(a.main()))
	}
	reader := f.login(t, identity.Claims{Tenant: "acme", Roles: []identity.Role{identity.Reader}})
	a := reader.get(t, "/acme@1/rollback")
	if len(a.all("form")) == 0 || strings.Contains(a.main(), "Roll back 1 key") {
		t.Errorf("a reader is offered it: %s", a.main())
	}
	denied := reader.post(t, "/acme/rollback", url.Values{"revision": {"1"}, "head": {"2"}, "message": {"x"}, "form": {"f"}, "prefix": {"a/"}})
	if denied.code != http.StatusForbidden || f.value(t, "a/one") != "2" {
		t.Errorf("a reader rolls back: %d", denied.code)
	}
	why := ""
	for _, n := range denied.all("a") {
		if strings.HasPrefix(attr(n, "href"), "/acme/access?") {
			why = attr(n, "href")
		}
	}
	if why != "/acme/access?operation=write&what=a%2F#ask" {
		t.Fatalf("the reason is at %q", why)
	}
	if a := reader.get(t, strings.TrimSuffix(why, "#ask")); !strings.Contains(words(a), "No, you may not write a/") {
		t.Errorf("the reason: %s", a.main())
	}
}

func TestRollback_Prefix(t *testing.T) {
	f := start(t)
	setup(t, f)
	v := f.writer(t, "acme")
	for path, want := range map[string]string{
		"/acme@1/keys/tenantconfig/checkout/":           "/acme@1/rollback?prefix=tenantconfig%2Fcheckout%2F",
		"/acme@1/keys/tenantconfig/checkout/timeout_ms": "/acme@1/rollback?prefix=tenantconfig%2Fcheckout%2Ftimeout_ms",
		"/acme/history?prefix=tenantconfig/":            "/acme/rollback?prefix=tenantconfig%2F",
		"/acme/keys/":                                   "/acme/rollback",
	} {
		links := map[string]bool{}
		for _, n := range v.get(t, path).all("a") {
			links[attr(n, "href")] = true
		}
		if !links[want] {
			t.Errorf("%s has no link to %s", path, want)
		}
	}
	a := v.get(t, "/acme/rollback?to=@1&prefix=tenantcnfig/")
	if a.code != http.StatusBadRequest || strings.Contains(a.main(), "nothing to roll back") || !strings.Contains(a.main(), "no key is set under") {
		t.Errorf("a mistyped prefix: %d %s", a.code, brief(a.main()))
	}
}
