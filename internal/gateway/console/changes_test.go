package console_test

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/stelehq/stele/internal/gateway/identity"
)

// rows adds rows to a form: a key, and a value or "delete".
func rows(form url.Values, kv ...string) url.Values {
	for i := 0; i < len(kv); i += 2 {
		action := "set"
		if kv[i+1] == "delete" {
			action = "delete"
		}
		for name, value := range map[string]string{"key": kv[i], "value": kv[i+1], "action": action, "expected": "", "commit": ""} {
			form.Add(name, value)
		}
	}
	return form
}

// again is the form of an answer with all values of its fields.
func again(t *testing.T, a *answer, do string) url.Values {
	t.Helper()
	out := url.Values{"do": {do}}
	for _, n := range a.all("input") {
		if name := attr(n, "name"); slices.Contains([]string{"key", "value", "action", "expected", "commit", "form", "collected", "message"}, name) {
			out.Add(name, attr(n, "value"))
		}
	}
	return out
}

// Several keys are reviewed and committed as one commit.
func TestChanges(t *testing.T) {
	f := start(t)
	f.set(t, f.as(t, "acme"), "first", "a/one", "1", "a/two", "2")
	v := f.writer(t, "acme")
	form := v.get(t, "/acme/changes").form(t, "/acme/changes")
	a := v.post(t, "/acme/changes", rows(url.Values{"form": form["form"], "collected": {"1"}, "do": {"review"}}, "a/one", "10", "a/two", "delete", "a/three", "{\r\n \"n\": 3}"))
	if a.code != http.StatusOK || f.head(t) != 1 {
		t.Fatalf("the review: %d %s", a.code, brief(a.main()))
	}
	wellMade(t, a)
	for _, part := range []string{"Review 3 changes", "1 set, 1 changed, 1 deleted", "no schema applies", "Commit 3 changes"} {
		if !strings.Contains(a.main(), part) {
			t.Errorf("the review lacks %q: %s", part, brief(a.main()))
		}
	}
	send := again(t, a, "commit")
	send.Set("message", "three keys")
	done := v.post(t, "/acme/changes", send)
	if done.code != http.StatusSeeOther || done.header.Get("Location") != "/acme/commits/2?committed="+form.Get("form") {
		t.Fatalf("the commit: %d %s %s", done.code, done.header.Get("Location"), brief(done.main()))
	}
	if twice := v.post(t, "/acme/changes", send); twice.header.Get("Location") != done.header.Get("Location") || f.head(t) != 2 {
		t.Errorf("sent twice: %d %s", twice.code, twice.header.Get("Location"))
	}
	if f.value(t, "a/one") != "10" || f.value(t, "a/three") != `{"n":3}` {
		t.Error("the values are others")
	}
}

// A key that has changed since it was collected is not overwritten without a look at it.
func TestChanges_Conflict(t *testing.T) {
	f := start(t)
	f.set(t, f.as(t, "acme"), "first", "a/one", "1", "a/two", "2")
	v := f.writer(t, "acme")
	a := v.post(t, "/acme/changes", rows(url.Values{"do": {"review"}}, "a/one", "10", "a/two", "20"))
	f.set(t, f.as(t, "acme"), "theirs", "a/one", "5")
	send := again(t, a, "commit")
	send.Set("message", "mine")
	a = v.post(t, "/acme/changes", send)
	if a.code != http.StatusConflict || f.head(t) != 2 || !strings.Contains(a.main(), "have changed since you collected them") || !strings.Contains(a.main(), "was: 5") {
		t.Fatalf("%d %s", a.code, brief(a.main()))
	}
	if a = v.post(t, "/acme/changes", again(t, a, "commit")); a.code != http.StatusSeeOther || f.value(t, "a/one") != "10" {
		t.Errorf("after the look: %d %s", a.code, brief(a.main()))
	}
}

// Errors are shown at their rows, and no row is lost.
func TestChanges_Invalid(t *testing.T) {
	f := start(t)
	f.set(t, f.as(t, "acme"), "first", "a/one", "1")
	v := f.writer(t, "acme")
	a := v.post(t, "/acme/changes", rows(url.Values{"do": {"review"}}, "a/one", "10", "a/two", `{"n": }`, "a b", "1"))
	if a.code != http.StatusUnprocessableEntity || !strings.Contains(a.main(), "not JSON") || len(a.all("fieldset")) < 3 {
		t.Errorf("%d %s", a.code, brief(a.main()))
	}
	if a := v.post(t, "/acme/changes", url.Values{"do": {"commit"}}); a.code != http.StatusUnprocessableEntity {
		t.Errorf("an empty change set: %d", a.code)
	}
	if a := v.post(t, "/acme/changes", rows(url.Values{"do": {"review"}}, "a/one", "1")); !strings.Contains(a.main(), "nothing to commit") {
		t.Errorf("a change set without effect: %s", brief(a.main()))
	}
	for _, do := range []string{"add", "edit"} {
		if a := v.post(t, "/acme/changes", rows(url.Values{"do": {do}}, "a/one", "10")); !strings.Contains(a.body, `value="a/one"`) {
			t.Errorf("%s: %s", do, brief(a.main()))
		}
	}
	if a := v.post(t, "/acme/changes", rows(url.Values{"drop": {"0"}}, "a/one", "10", "a/two", "20")); strings.Contains(a.body, `value="a/one"`) || !strings.Contains(a.body, `value="a/two"`) {
		t.Errorf("a row that was removed: %s", brief(a.main()))
	}
	reader := f.login(t, identity.Claims{Tenant: "acme", Roles: []identity.Role{identity.Reader}})
	if a := reader.post(t, "/acme/changes", rows(url.Values{"do": {"commit"}}, "a/one", "10")); a.code != http.StatusForbidden || f.head(t) != 1 {
		t.Errorf("a reader: %d", a.code)
	}
}

// Chosen keys are copied from another state or tenant, without their secrets.
func TestChanges_Copy(t *testing.T) {
	f := start(t)
	f.set(t, f.as(t, "acme"), "first", "a/one", "1", "a/two", "2")
	f.set(t, f.as(t, "acme"), "second", "a/one", "10", "a/three", "3", "a/two", "20")
	v := f.writer(t, "acme")
	a := v.post(t, "/acme/changes", url.Values{"do": {"copy"}, "from": {"acme@1"}, "key": {"a/one", "a/three"}})
	if a.code != http.StatusOK || !strings.Contains(a.main(), "1 changed, 1 deleted") || !strings.Contains(a.body, `value="set 2 keys back to @1"`) {
		t.Fatalf("%d %s", a.code, brief(a.main()))
	}
	if a := v.post(t, "/acme/changes", again(t, a, "commit")); a.code != http.StatusSeeOther || f.value(t, "a/one") != "1" || f.value(t, "a/two") != "20" {
		t.Errorf("%d %s", a.code, brief(a.main()))
	}
	f.set(t, f.as(t, "globex"), "first", "a/one", `"theirs"`)
	if a := v.post(t, "/acme/changes", url.Values{"do": {"copy"}, "from": {"globex@1"}, "key": {"a/one"}}); a.code != http.StatusForbidden || strings.Contains(a.body, "theirs") {
		t.Errorf("a copy from a tenant without access: %d %s", a.code, brief(a.main()))
	}
	operator := f.login(t, identity.Claims{Roles: []identity.Role{identity.Operator, identity.Admin}})
	a = operator.post(t, "/acme/changes", url.Values{"do": {"copy"}, "from": {"globex@1"}, "key": {"a/one"}})
	if a.code != http.StatusOK || !strings.Contains(a.main(), `is: "theirs"`) {
		t.Errorf("a copy from another tenant: %d %s", a.code, brief(a.main()))
	}
	for _, bad := range []url.Values{{"from": {"acme"}, "key": {"a/one"}}, {"from": {"acme@1"}}, {"from": {"//evil"}, "key": {"a/one"}}} {
		bad.Set("do", "copy")
		if a := v.post(t, "/acme/changes", bad); a.code != http.StatusBadRequest {
			t.Errorf("%v: %d", bad, a.code)
		}
	}
}
