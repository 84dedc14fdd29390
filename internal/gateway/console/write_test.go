package console_test

import (
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/stelehq/stele/internal/gateway"
	"github.com/stelehq/stele/internal/gateway/identity"
	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/routes"
	"github.com/stelehq/stele/internal/ledger/schema"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
)

const timeoutKey = "tenantconfig/checkout/timeout_ms"

func (f *fixture) value(t testing.TB, key string) string {
	t.Helper()
	got, err := f.config.Get(f.as(t, "acme"), &stelev1.GetRequest{Key: key})
	if err != nil {
		t.Fatal(err)
	}
	return got.Entry.Value
}

func (f *fixture) head(t testing.TB) uint64 {
	t.Helper()
	got, err := f.ledger.GetHead(f.as(t, "acme"), &stelev1.GetHeadRequest{})
	if err != nil {
		t.Fatal(err)
	}
	return got.Snapshot.Head
}

func TestEdit(t *testing.T) {
	f := start(t)
	setup(t, f)
	v := f.writer(t, "acme")
	form := v.get(t, "/acme/keys/"+timeoutKey+"?edit=1").form(t, "/acme/keys/"+timeoutKey)
	if want := "{\n  \"connect\": 250,\n  \"read\": 9007199254740993\n}"; form.Get("value") != want {
		t.Fatalf("the form holds %q", form.Get("value"))
	}
	form.Set("value", "{\"connect\": 300,\r\n\"read\": 9007199254740993}")
	form.Set("message", "longer")
	a := v.post(t, "/acme/keys/"+timeoutKey, form)
	if a.code != http.StatusSeeOther || a.header.Get("Location") != "/acme/keys/"+timeoutKey+"?written=4" {
		t.Fatalf("%d %s %s", a.code, a.header.Get("Location"), brief(a.text()))
	}
	if got := f.value(t, timeoutKey); got != `{"connect":300,"read":9007199254740993}` {
		t.Errorf("written as %s", got)
	}
	if a := v.get(t, a.header.Get("Location")); !strings.Contains(a.main(), "Written as @4") || !strings.Contains(a.main(), "longer") {
		t.Errorf("afterwards: %s", brief(a.main()))
	}
	// Sent a second time, as by a second click, it is not written twice.
	if a := v.post(t, "/acme/keys/"+timeoutKey, form); a.code != http.StatusSeeOther || !strings.HasSuffix(a.header.Get("Location"), "written=4") {
		t.Errorf("again: %d %s", a.code, a.header.Get("Location"))
	}
	// Gone back to and changed, it is another request, whose key has changed since.
	form.Set("value", "1")
	if a := v.post(t, "/acme/keys/"+timeoutKey, form); a.code != http.StatusConflict {
		t.Errorf("changed: %d %s", a.code, brief(a.text()))
	}
	if f.head(t) != 4 {
		t.Errorf("the head is @%d", f.head(t))
	}
}

// A review shows the difference and writes nothing, and leads back to the form with all
// input.
func TestEdit_Review(t *testing.T) {
	f := start(t)
	setup(t, f)
	v := f.writer(t, "acme")
	form := v.get(t, "/acme/keys/"+timeoutKey+"?edit=1").form(t, "/acme/keys/"+timeoutKey)
	form.Set("value", `{"connect":300,"read":9007199254740993}`)
	form.Set("message", "longer")
	form.Set("do", "review")
	a := v.post(t, "/acme/keys/"+timeoutKey, form)
	if a.code != http.StatusOK || !strings.Contains(a.main(), "/connect was: 250 is: 300") || f.head(t) != 3 {
		t.Fatalf("%d, the head is @%d: %s", a.code, f.head(t), brief(a.main()))
	}
	wellMade(t, a)
	reviewed := a.form(t, "/acme/keys/"+timeoutKey)
	reviewed.Set("do", "edit")
	if back := v.post(t, "/acme/keys/"+timeoutKey, reviewed).form(t, "/acme/keys/"+timeoutKey); back.Get("value") != form.Get("value") || back.Get("message") != "longer" {
		t.Errorf("the form returned with %v", back)
	}
	reviewed.Del("do")
	if a := v.post(t, "/acme/keys/"+timeoutKey, reviewed); a.code != http.StatusSeeOther || f.head(t) != 4 {
		t.Errorf("after the review: %d %s", a.code, brief(a.main()))
	}
	form.Set("value", `{"connect":`)
	if a := v.post(t, "/acme/keys/"+timeoutKey, form); a.code != http.StatusUnprocessableEntity {
		t.Errorf("a review of text that is not JSON: %d", a.code)
	}
}

// The next version of a key is found however many commits are in between.
func TestKey_LaterVersion(t *testing.T) {
	f := start(t)
	ctx := f.as(t, "acme")
	f.set(t, ctx, "first", "a/x", "1")
	for i := range 600 {
		f.set(t, ctx, "of another key", "b/y", strconv.Itoa(i))
	}
	f.set(t, ctx, "second", "a/x", "2")
	f.set(t, ctx, "third", "a/x", "")
	v := f.writer(t, "acme")
	for path, want := range map[string]string{"/acme@1/": "/acme@602/", "/acme@300/": "/acme@602/", "/acme@602/": "/acme@603/", "/acme@603/": "/acme/"} {
		if a := v.get(t, path+"keys/a/x?step=later"); a.header.Get("Location") != want+"keys/a/x" {
			t.Errorf("after %s: %d %q", path, a.code, a.header.Get("Location"))
		}
	}
}

// The slower of two users sees both versions, and decides.
func TestConflict(t *testing.T) {
	f := start(t)
	setup(t, f)
	v := f.writer(t, "acme")
	form := v.get(t, "/acme/keys/"+timeoutKey+"?edit=1").form(t, "/acme/keys/"+timeoutKey)
	form.Set("value", `{"connect":1,"read":9007199254740993}`)
	form.Set("message", "mine")
	f.set(t, f.as(t, "acme"), "theirs, meanwhile", timeoutKey, `{"connect":2,"read":9007199254740993}`)
	a := v.post(t, "/acme/keys/"+timeoutKey, form)
	if a.code != http.StatusConflict {
		t.Fatalf("%d %s", a.code, brief(a.text()))
	}
	wellMade(t, a)
	for _, part := range []string{"Nothing was written", "carol set it in @4", "theirs, meanwhile", "/connect was: 250 is: 2", "What you changed /connect was: 250 is: 1", "Choose a value for 1 place", "was 250 Mine 1 Theirs 2", "Review mine over theirs"} {
		if !strings.Contains(a.main(), part) {
			t.Errorf("the conflict lacks %q: %s", part, brief(a.main()))
		}
	}
	again := a.form(t, "/acme/keys/"+timeoutKey)
	if again.Get("value") != form.Get("value") || again.Get("message") != "mine" || again.Get("expected") != "4" {
		t.Errorf("the form has lost %v", again)
	}
	if a := v.post(t, "/acme/keys/"+timeoutKey, again); a.code != http.StatusSeeOther {
		t.Errorf("written over: %d %s", a.code, brief(a.text()))
	}
	if got := f.value(t, timeoutKey); got != `{"connect":1,"read":9007199254740993}` {
		t.Errorf("it is %s", got)
	}
}

// Changes of different places are merged, and of the same place the user chooses.
func TestConflict_Merge(t *testing.T) {
	for name, c := range map[string]struct{ mine, theirs, choice, shows, merged string }{
		"no overlap": {`{"connect":1,"read":9007199254740993}`, `{"connect":250,"read":9007199254740993,"new":1.50}`, "", "Your changes do not overlap with theirs. The merge makes these changes of their value: /connect was: 250 is: 1", `{"connect":1,"read":9007199254740993,"new":1.50}`},
		"mine":       {`{"connect":1,"read":2}`, `{"connect":3,"read":9007199254740993}`, "mine", "Choose a value for 1 place", `{"connect":1,"read":2}`},
		"theirs":     {`{"connect":1,"read":2}`, `{"connect":3,"read":9007199254740993}`, "theirs", "Choose a value for 1 place", `{"connect":3,"read":2}`},
	} {
		t.Run(name, func(t *testing.T) {
			f := start(t)
			setup(t, f)
			v := f.writer(t, "acme")
			form := v.get(t, "/acme/keys/"+timeoutKey+"?edit=1").form(t, "/acme/keys/"+timeoutKey)
			form.Set("value", c.mine)
			form.Set("message", "mine")
			f.set(t, f.as(t, "acme"), "theirs", timeoutKey, c.theirs)
			form.Set("do", "review")
			a := v.post(t, "/acme/keys/"+timeoutKey, form)
			if a.code != http.StatusConflict || !strings.Contains(a.main(), c.shows) {
				t.Fatalf("%d %s", a.code, a.main())
			}
			again := a.form(t, "/acme/keys/"+timeoutKey)
			again.Set("do", "merge")
			if c.choice != "" {
				again.Del("choice /connect")
				if a := v.post(t, "/acme/keys/"+timeoutKey, again); a.code != http.StatusConflict || !strings.Contains(a.main(), "Not every place is decided yet") || a.form(t, "/acme/keys/"+timeoutKey).Get("value") != c.mine {
					t.Errorf("without a choice: %d %s", a.code, brief(a.main()))
				}
				again.Set("choice /connect", c.choice)
			}
			review := v.post(t, "/acme/keys/"+timeoutKey, again)
			holds(t, review, "Review Nothing is written yet")
			if a := v.post(t, "/acme/keys/"+timeoutKey, review.form(t, "/acme/keys/"+timeoutKey)); a.code != http.StatusSeeOther {
				t.Fatalf("%d %s", a.code, brief(a.main()))
			}
			if got := f.value(t, timeoutKey); got != c.merged {
				t.Errorf("it is %s", got)
			}
			// Another change in between is a conflict again.
			f.set(t, f.as(t, "acme"), "again", timeoutKey, `{"connect":77}`)
			if a := v.post(t, "/acme/keys/"+timeoutKey, again); a.code != http.StatusConflict || !strings.Contains(a.main(), "77") {
				t.Errorf("merged too late: %d %s", a.code, brief(a.main()))
			}
		})
	}
}

// The form shows what schemas require, and scripts ask for their verdict.
func TestCheck(t *testing.T) {
	f := start(t)
	f.set(t, f.as(t, "acme"), "first", "a/n", "5", "_schema/a", `{"type":"integer","minimum":1,"maximum":60000}`)
	v := f.writer(t, "acme")
	holds(t, v.get(t, "/acme/keys/a/n?edit=1"), "Schema of a integer · 1 to 60000")
	for value, want := range map[string]string{"7": "satisfied by every schema", "0": "violated", `"x"`: "violated", `{"`: "Schema of a"} {
		a := v.post(t, "/acme/check/a/n", url.Values{"value": {value}})
		if got := a.text(); a.code != http.StatusOK || !strings.Contains(got, want) || !strings.Contains(got, "Schema of a") {
			t.Errorf("%s: %d %s", value, a.code, got)
		}
	}
	for _, path := range []string{"/acme/check/b", "/acme/check/a%20b", "/acme/check/"} {
		if a := v.post(t, path, url.Values{"value": {"7"}}); a.code != http.StatusOK || strings.Contains(a.text(), "Schema") {
			t.Errorf("%s: %d %s", path, a.code, a.text())
		}
	}
	reader := f.login(t, identity.Claims{Tenant: "acme", Roles: []identity.Role{identity.Writer}, Prefixes: prefixes("other/")})
	if a := reader.post(t, "/acme/check/a/n", url.Values{"value": {"7"}}); a.code != http.StatusForbidden {
		t.Errorf("a key that the user may not read: %d %s", a.code, brief(a.text()))
	}
}

// The key is gone, and writing it means to set it again.
func TestConflict_WithDeletion(t *testing.T) {
	f := start(t)
	setup(t, f)
	v := f.writer(t, "acme")
	form := v.get(t, "/acme/keys/"+timeoutKey+"?edit=1").form(t, "/acme/keys/"+timeoutKey)
	form.Set("value", "7")
	form.Set("message", "mine")
	f.set(t, f.as(t, "acme"), "not needed", timeoutKey, "")
	a := v.post(t, "/acme/keys/"+timeoutKey, form)
	if a.code != http.StatusConflict || !strings.Contains(a.main(), "carol deleted it in @4") {
		t.Fatalf("%d %s", a.code, brief(a.main()))
	}
	if a := v.post(t, "/acme/keys/"+timeoutKey, a.form(t, "/acme/keys/"+timeoutKey)); a.code != http.StatusSeeOther || f.value(t, timeoutKey) != "7" {
		t.Errorf("%d %s", a.code, brief(a.text()))
	}
}

// TestEdit_InvalidForms: errors are shown at their fields, and no input is lost.
func TestEdit_InvalidForms(t *testing.T) {
	f := start(t)
	setup(t, f)
	v := f.writer(t, "acme")
	for _, c := range []struct {
		name, path, field, says string
		form                    url.Values
	}{
		{"no JSON", "/acme/keys/" + timeoutKey, "value", "not JSON at byte", url.Values{"value": {`{"a": }`}, "message": {"m"}, "expected": {"2"}}},
		{"no value", "/acme/keys/" + timeoutKey, "value", "", url.Values{"value": {""}, "message": {"m"}, "expected": {"2"}}},
		{"a name twice", "/acme/new", "value", "twice", url.Values{"key": {"a/b"}, "value": {`{"a":1,"a":2}`}, "message": {"m"}}},
		{"too large", "/acme/new", "value", "bytes", url.Values{"key": {"a/b"}, "value": {`"` + strings.Repeat("x", ledger.MaxValue) + `"`}, "message": {"m"}}},
		{"a key with a space", "/acme/new", "key", "", url.Values{"key": {"a b"}, "value": {"1"}, "message": {"m"}}},
		{"a key that goes up", "/acme/new", "key", "", url.Values{"key": {"a/../b"}, "value": {"1"}, "message": {"m"}}},
		{"a long reason", "/acme/new", "message", "", url.Values{"key": {"a/b"}, "value": {"1"}, "message": {strings.Repeat("m", 5000)}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := v.post(t, c.path, c.form)
			if a.code != http.StatusUnprocessableEntity {
				t.Fatalf("%d %s", a.code, brief(a.text()))
			}
			wellMade(t, a)
			held := a.form(t, c.path)
			for _, name := range []string{"value", "message"} {
				if held.Get(name) != c.form.Get(name) {
					t.Errorf("the form has lost its %s", name)
				}
			}
			shown := false
			for n := range a.doc.Descendants() {
				if attr(n, "aria-invalid") == "true" {
					shown = attr(n, "name") == c.field
				}
			}
			if !shown || !strings.Contains(a.main(), c.says) {
				t.Errorf("%q is not shown at the field %s: %s", c.says, c.field, brief(a.main()))
			}
		})
	}
	if f.head(t) != 3 {
		t.Errorf("the head is @%d", f.head(t))
	}
}

// TestSchemas: all violations of a value are shown at its field.
func TestSchemas(t *testing.T) {
	f := start(t, func(f *fixture, c *gateway.Config) {
		c.Schemas = schema.NewSource(c.Replica, routes.NewSource(c.Replica, nil, slog.New(slog.DiscardHandler)), nil)
		c.Ledger = sync.OnceValues(func() (*ledger.Ledger, error) {
			l := ledger.New(ledger.Config{Journal: f.node.Journal, Replica: f.node.Replica, Schemas: c.Schemas})
			t.Cleanup(l.Close)
			return l, nil
		})
	})
	setup(t, f)
	f.set(t, f.as(t, "acme"), "what it may be", "_schema/a", `{"type":"object","properties":{"n":{"minimum":1}},"additionalProperties":false}`)
	v := f.writer(t, "acme")
	a := v.post(t, "/acme/new", url.Values{"key": {"a/b"}, "value": {`{"n":0,"x":"yy"}`}, "message": {"m"}})
	if a.code != http.StatusUnprocessableEntity || !strings.Contains(a.main(), "at /n must be at least 1, and is 0") || !strings.Contains(a.main(), "at /x must not be there") {
		t.Errorf("%d %s", a.code, brief(a.main()))
	}
	f.set(t, f.as(t, "acme"), "as it should be", "a/b", `{"n":1}`)
	if a := v.get(t, "/acme/keys/a/b"); !strings.Contains(a.body, `href="/acme/schemas/a"`) {
		t.Errorf("the key's page leads to no schema: %s", brief(a.main()))
	}
}

func TestNewKey(t *testing.T) {
	f := start(t)
	setup(t, f)
	v := f.writer(t, "acme")
	form := v.get(t, "/acme/new/tenantconfig/checkout/").form(t, "/acme/new")
	if form.Get("key") != "tenantconfig/checkout/" {
		t.Errorf("the form begins with %q", form.Get("key"))
	}
	form.Set("key", " tenantconfig/checkout/beta ")
	form.Set("value", "false")
	form.Set("message", "for all")
	if a := v.post(t, "/acme/new", form); a.code != http.StatusSeeOther || f.value(t, "tenantconfig/checkout/beta") != "false" {
		t.Fatalf("%d %s", a.code, brief(a.text()))
	}
	form.Set("key", timeoutKey)
	if a := v.post(t, "/acme/new", form); a.code != http.StatusConflict || !strings.Contains(a.main(), "because it was too short") {
		t.Errorf("a key that is set: %d %s", a.code, brief(a.main()))
	}
}

func TestDelete(t *testing.T) {
	f := start(t)
	setup(t, f)
	v := f.writer(t, "acme")
	form := v.get(t, "/acme/delete/"+timeoutKey).form(t, "/acme/delete/"+timeoutKey)
	form.Set("message", "not needed")
	f.set(t, f.as(t, "acme"), "still needed", timeoutKey, "5")
	a := v.post(t, "/acme/delete/"+timeoutKey, form)
	if a.code != http.StatusConflict || !strings.Contains(a.main(), "Nothing was deleted") {
		t.Fatalf("%d %s", a.code, brief(a.main()))
	}
	form = a.form(t, "/acme/delete/"+timeoutKey)
	if form.Get("message") != "not needed" {
		t.Errorf("the reason is lost")
	}
	if a := v.post(t, "/acme/delete/"+timeoutKey, form); a.code != http.StatusSeeOther || a.header.Get("Location") != "/acme/commits/5" {
		t.Fatalf("%d %s %s", a.code, a.header.Get("Location"), brief(a.text()))
	}
	if a := v.get(t, "/acme/keys/"+timeoutKey); a.code != http.StatusNotFound || !strings.Contains(a.main(), "This key is not set any more.") || !strings.Contains(a.main(), "not needed") {
		t.Errorf("afterwards: %d %s", a.code, brief(a.main()))
	}
	if a := v.get(t, "/acme@3/keys/"+timeoutKey); a.code != http.StatusOK {
		t.Errorf("in the past: %d", a.code)
	}
}

func TestRevert(t *testing.T) {
	f := start(t)
	setup(t, f)
	v := f.writer(t, "acme")
	form := v.get(t, "/acme/commits/2/revert").form(t, "/acme/commits/2/revert")
	f.set(t, f.as(t, "acme"), "meanwhile", "other/key", "1")
	if a := v.post(t, "/acme/commits/2/revert", form); a.code != http.StatusConflict || f.head(t) != 4 {
		t.Fatalf("a preview that is old: %d %s", a.code, brief(a.main()))
	}
	form = v.get(t, "/acme/commits/2/revert").form(t, "/acme/commits/2/revert")
	form.Set("message", strings.Repeat("x", 5000))
	a := v.post(t, "/acme/commits/2/revert", form)
	if a.code != http.StatusUnprocessableEntity || !strings.Contains(a.main(), "message:") || a.form(t, "/acme/commits/2/revert").Get("message") != form.Get("message") {
		t.Errorf("a reason that is too long: %d %s", a.code, brief(a.main()))
	}
	form.Set("message", "")
	a = v.post(t, "/acme/commits/2/revert", form)
	if a.code != http.StatusSeeOther || f.value(t, timeoutKey) != "100" {
		t.Fatalf("%d %s", a.code, brief(a.text()))
	}
	if a := v.get(t, a.header.Get("Location")); !strings.Contains(a.main(), "revert of @2") {
		t.Errorf("the new commit: %s", brief(a.main()))
	}
	a = v.get(t, "/acme/commits/2/revert")
	if a.code != http.StatusConflict || !strings.Contains(a.body, `href="/acme/commits/5"`) {
		t.Errorf("what stands in the way: %d %s", a.code, brief(a.main()))
	}
}

// TestEdit_WithoutPermission: a form that the gateway refuses changes nothing, and the page says so.
func TestEdit_WithoutPermission(t *testing.T) {
	f := start(t)
	setup(t, f)
	v := f.login(t, identity.Claims{Tenant: "acme", Roles: []identity.Role{identity.Reader}})
	form := url.Values{"key": {"a/b"}, "value": {"1"}, "message": {"m"}, "expected": {"3"}}
	for _, path := range []string{"/acme/new", "/acme/keys/tenantconfig/checkout/card", "/acme/delete/tenantconfig/checkout/card", "/acme/commits/3/revert", "/acme/reveal/tenantconfig/checkout/card"} {
		if a := v.post(t, path, form); a.code != http.StatusForbidden {
			t.Errorf("%s: %d %s", path, a.code, brief(a.text()))
		}
	}
	if f.head(t) != 3 {
		t.Errorf("the head is @%d", f.head(t))
	}
}

// TestEdit_ReadOnlyGateway: a gateway that takes no writes says so, and keeps what was typed.
func TestEdit_ReadOnlyGateway(t *testing.T) {
	down := false
	f := start(t, func(_ *fixture, c *gateway.Config) {
		open := c.Ledger
		c.Ledger = func() (*ledger.Ledger, error) {
			if down {
				return nil, ledger.ErrReadOnly
			}
			return open()
		}
	})
	setup(t, f)
	v := f.writer(t, "acme")
	down = true
	a := v.post(t, "/acme/new", url.Values{"key": {"a/b"}, "value": {"12345"}, "message": {"m"}})
	if a.code != http.StatusConflict || a.form(t, "/acme/new").Get("value") != "12345" {
		t.Errorf("%d %s", a.code, brief(a.text()))
	}
	if a := v.get(t, "/acme/"); a.code != http.StatusOK {
		t.Errorf("reads: %d", a.code)
	}
}

// A form that is saved as it was loaded writes nothing, whatever layout the value was
// written in.
func TestEdit_Unchanged(t *testing.T) {
	f := start(t)
	const key = "a/spaced"
	f.set(t, f.as(t, "acme"), "with a layout of its own", key, "{ \"a\":1,\n\"b\": [1, 2] }")
	v := f.writer(t, "acme")
	form := v.get(t, "/acme/keys/"+key+"?edit=1").form(t, "/acme/keys/"+key)
	form.Set("message", "nothing to see")
	a := v.post(t, "/acme/keys/"+key, form)
	if a.code != http.StatusOK || !strings.Contains(a.main(), "nothing was written") || f.head(t) != 1 {
		t.Errorf("%d, the head is @%d: %s", a.code, f.head(t), brief(a.main()))
	}
}

// A large value is pretty-printed in its form, which makes it larger than a value may be.
func TestEdit_LargeValue(t *testing.T) {
	f := start(t)
	value := `{"list":[` + strings.TrimSuffix(strings.Repeat(`"x",`, 110_000), ",") + `],"n":1}`
	f.set(t, f.as(t, "acme"), "large", "a/large", value)
	v := f.writer(t, "acme")
	form := v.get(t, "/acme/keys/a/large?edit=1").form(t, "/acme/keys/a/large")
	if len(form.Get("value")) < ledger.MaxValue {
		t.Fatalf("the form has only %d bytes", len(form.Get("value")))
	}
	form.Set("value", strings.Replace(form.Get("value"), `"n": 1`, `"n": 2`, 1))
	form.Set("message", "one number")
	if a := v.post(t, "/acme/keys/a/large", form); a.code != http.StatusSeeOther {
		t.Fatalf("%d %s", a.code, brief(a.text()))
	}
	if got := f.value(t, "a/large"); got != strings.Replace(value, `"n":1`, `"n":2`, 1) {
		t.Errorf("%d bytes were written", len(got))
	}
}

// A reader gets no form that would be rejected, and a writer who is denied keeps the
// text.
func TestWrite_Denied(t *testing.T) {
	f := start(t)
	setup(t, f)
	reader := f.login(t, identity.Claims{Tenant: "acme", Roles: []identity.Role{identity.Reader}})
	for _, path := range []string{"/acme/new/", "/acme/delete/" + timeoutKey} {
		if a := reader.get(t, path); a.code != http.StatusForbidden || len(a.all("textarea")) > 0 || !strings.Contains(a.main(), "permission write") {
			t.Errorf("%s: %d %s", path, a.code, brief(a.main()))
		}
	}
	limited := f.login(t, identity.Claims{Tenant: "acme", Roles: []identity.Role{identity.Writer}, Prefixes: prefixes("tenantconfig/")})
	form := limited.get(t, "/acme/new/").form(t, "/acme/new")
	form.Set("key", "other/key")
	form.Set("value", "12345")
	form.Set("message", "typed with care")
	a := limited.post(t, "/acme/new", form)
	if kept := a.form(t, "/acme/new"); a.code != http.StatusForbidden || kept.Get("value") != "12345" || kept.Get("message") != "typed with care" || !strings.Contains(a.main(), "Why was that denied?") {
		t.Errorf("%d %s", a.code, brief(a.main()))
	}
}
