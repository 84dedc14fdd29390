package console_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/stelehq/stele/internal/gateway/identity"
	"github.com/stelehq/stele/internal/ledger"
)

func TestSchemaPages(t *testing.T) {
	f := start(t)
	ctx := f.as(t, "acme")
	f.set(t, ctx, "first", "app/timeout", "250", "app/name", `"x"`)
	v := f.writer(t, "acme")
	if a := v.get(t, "/acme/schemas"); a.code != http.StatusOK || !strings.Contains(a.main(), "No schemas") {
		t.Errorf("without one: %d %s", a.code, a.main())
	}
	if a := v.get(t, "/acme/schemas?prefix=app/"); a.header.Get("Location") != "/acme/schemas/app" {
		t.Errorf("to a prefix: %d to %q", a.code, a.header.Get("Location"))
	}
	form := v.get(t, "/acme/schemas/app").form(t, "/acme/schemas/app")
	form.Set("value", `{"type":"integer"}`)
	form.Set("message", "numbers only")

	form.Set("do", "check")
	checked := v.post(t, "/acme/schemas/app", form)
	if checked.code != http.StatusOK || !strings.Contains(words(checked), "It would be violated by 1 existing value of 2") || !strings.Contains(checked.main(), "app/name") {
		t.Errorf("the candidate: %d %s", checked.code, words(checked))
	}
	if got := checked.form(t, "/acme/schemas/app"); got.Get("value") != form.Get("value") || got.Get("message") != "numbers only" {
		t.Errorf("the form forgets: %v", got)
	}
	form.Set("do", "review")
	form.Set("allow", "1")
	review := v.post(t, "/acme/schemas/app", form)
	holds(t, review, "Review Nothing is written yet: 1 set.", `is: {"type":"integer"}`, "Existing values that violate the schema stay as they are.")
	form = review.form(t, "/acme/schemas/app")
	if form.Get("message") != "numbers only" || form.Get("allow") != "1" {
		t.Errorf("the review forgets: %v", form)
	}
	form.Set("do", "edit")
	if got := v.post(t, "/acme/schemas/app", form).form(t, "/acme/schemas/app"); got.Get("value") != `{"type":"integer"}` {
		t.Errorf("back from the review: %v", got)
	}
	form.Set("do", "set")
	set := v.post(t, "/acme/schemas/app", form)
	if set.code != http.StatusSeeOther {
		t.Fatalf("setting it: %d %s", set.code, set.main())
	}
	after := v.get(t, set.header.Get("Location"))
	if !strings.Contains(words(after), "and in force") || !strings.Contains(words(after), "The schemas are violated there by 1 existing value of 2") {
		t.Errorf("afterwards: %s", words(after))
	}
	if got := f.value(t, "_schema/app"); got != `{"type":"integer"}` {
		t.Errorf("the schema is %s", got)
	}
	form.Set("value", `{"type":"int"}`)
	if a := v.post(t, "/acme/schemas/app", form); a.code != http.StatusConflict && a.code != http.StatusUnprocessableEntity || !strings.Contains(a.main(), "app") {
		t.Errorf("none that is a schema, of an old form: %d %s", a.code, a.main())
	}

	reader := f.login(t, identity.Claims{Tenant: "acme", Roles: []identity.Role{identity.Reader}})
	if a := reader.get(t, "/acme/schemas/app"); a.code != http.StatusOK || strings.Contains(a.main(), "Set the schema") {
		t.Errorf("a reader: %d %s", a.code, a.main())
	}
	if a := reader.post(t, "/acme/schemas/app", form); a.code != http.StatusForbidden {
		t.Errorf("a reader sets one: %d", a.code)
	}
	limited := f.login(t, identity.Claims{Tenant: "acme", Roles: []identity.Role{identity.Reader}, Prefixes: []ledger.Pattern{"other/"}})
	if a := limited.get(t, "/acme/schemas"); strings.Contains(a.main(), "app/name") {
		t.Errorf("who may see a part: %d %s", a.code, a.main())
	}
}
