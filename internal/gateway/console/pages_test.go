package console_test

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stelehq/stele/internal/gateway/identity"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"golang.org/x/net/html"
)

// pages are all that a tenant has, with its history of three revisions: setup makes it.
var pages = []struct {
	name, path string
	code       int
	holds      string // in the page's content
	command    string // on the command line
}{
	{"the first page", "/acme/", 200, "tenantconfig/", "stele -t acme list"},
	{"the root of the keys", "/acme/keys/", 200, "2 keys, newest @3", "stele -t acme list"},
	{"a level", "/acme/keys/tenantconfig/checkout/", 200, "timeout_ms", "stele -t acme list tenantconfig/checkout/"},
	{"a level of the past", "/acme@1/keys/tenantconfig/checkout/", 200, "You are looking at acme@1", "stele -t acme list tenantconfig/checkout/ --at 1"},
	{"a level without keys", "/acme/keys/nothing/", 200, "No key is set under", "stele -t acme list nothing/"},
	{"a filter", "/acme/keys/?filter=TIMEOUT", 200, "tenantconfig/checkout/timeout_ms", "stele -t acme list"},
	{"a filter that nothing passes", "/acme/keys/?filter=zzz", 200, "None of the 2 keys", "stele -t acme list"},
	{"a key", "/acme/keys/tenantconfig/checkout/timeout_ms", 200, "because it was too short", "stele -t acme get tenantconfig/checkout/timeout_ms"},
	{"a key of the past", "/acme@1/keys/tenantconfig/checkout/timeout_ms", 200, "number, 3 bytes", "stele -t acme get tenantconfig/checkout/timeout_ms --at 1"},
	{"a key's form", "/acme/keys/tenantconfig/checkout/timeout_ms?edit=1", 200, "since @2", "stele -t acme get tenantconfig/checkout/timeout_ms"},
	{"a key that was never set", "/acme/keys/tenantconfig/none", 404, "This key is not set, and was not before.", "stele -t acme log tenantconfig/none"},
	{"a key before it was set", "/acme@1/keys/tenantconfig/checkout/card", 404, "was not before", "stele -t acme log tenantconfig/checkout/card --until @1"},
	{"a new key's form", "/acme/new/tenantconfig/", 200, "Rejected if another user sets the key first.", "stele -t acme set KEY VALUE -m REASON"},
	{"the question before a key goes", "/acme/delete/tenantconfig/checkout/card", 200, "Its history stays", "stele -t acme delete tenantconfig/checkout/card -m REASON"},
	{"the history", "/acme/history", 200, "because it was too short", "stele -t acme log"},
	{"the history up to a revision", "/acme@1/history", 200, "the beginning", "stele -t acme log --until @1"},
	{"the history of an author", "/acme/history?author=nobody", 200, "No commit matches.", "stele -t acme log --author nobody"},
	{"the history since an invalid time", "/acme/history?since=soon", 400, "since:", "stele -t acme log --since soon"},
	{"the history with words for a shell", "/acme/history?text=it's+%24HOME", 200, "No commit matches", `stele -t acme log --grep 'it'\''s $HOME'`},
	{"a commit", "/acme/commits/2", 200, "9007199254740993", ""},
	{"a commit's command", "/acme/commits/2", 200, "because it was too short", "stele -t acme show @2"},
	{"a revert", "/acme/commits/3/revert", 200, "1 deleted", "stele -t acme revert @3"},
	{"a revert that is refused", "/acme/commits/1/revert", 409, "@2 changed it after @1", "stele -t acme revert @1"},
	{"a revision that is not there", "/acme@99/keys/", 404, "No such revision or time", ""},
	{"a commit that is not there", "/acme/commits/99", 404, "", ""},
	{"no page", "/acme/nowhere", 404, "No such page", ""},
	{"a key that cannot be", "/acme/keys/a//b", 404, "No such page", ""},
	{"a revision that cannot be", "/acme@0/keys/", 404, "No such page", ""},
	{"a page without a past", "/acme@1/commits/1", 404, "No such page", ""},
}

func setup(t testing.TB, f *fixture) {
	t.Helper()
	ctx := f.as(t, "acme")
	f.set(t, ctx, "the beginning", "tenantconfig/checkout/timeout_ms", "100")
	f.set(t, ctx, "because it was too short", "tenantconfig/checkout/timeout_ms", `{"connect":250,"read":9007199254740993}`)
	f.set(t, ctx, "cards", "tenantconfig/checkout/card", `true`)
}

// TestPages: every page, as a browser without scripts gets it, has what it is for,
// its command, its landmarks, and the headers that keep others' scripts away.
func TestPages(t *testing.T) {
	f := start(t)
	setup(t, f)
	v := f.writer(t, "acme")
	for _, c := range pages {
		t.Run(c.name, func(t *testing.T) {
			a := v.get(t, c.path)
			if a.code != c.code {
				t.Fatalf("%s is %d and not %d: %s", c.path, a.code, c.code, brief(a.text()))
			}
			if !strings.Contains(a.main(), c.holds) {
				t.Errorf("%s has no %q: %s", c.path, c.holds, brief(a.main()))
			}
			if c.command != "" && !strings.Contains(a.text(), c.command+" Copy") {
				t.Errorf("%s has no command %q: %s", c.path, c.command, brief(a.text()))
			}
			wellMade(t, a)
		})
	}
}

// wellMade checks what all pages have in common.
func wellMade(t *testing.T, a *answer) {
	t.Helper()
	for name, part := range map[string]string{
		"Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self';", "X-Content-Type-Options": "nosniff",
		"Referrer-Policy": "same-origin", "Cache-Control": "no-store", "Content-Type": "text/html; charset=utf-8",
	} {
		if !strings.Contains(a.header.Get(name), part) {
			t.Errorf("header %s is %q", name, a.header.Get(name))
		}
	}
	for _, name := range []string{"main", "header", "h1", "title"} {
		if len(slices.DeleteFunc(a.all(name), func(n *html.Node) bool { return n.Namespace == "svg" })) != 1 {
			t.Errorf("%d elements %s", len(a.all(name)), name)
		}
	}
	ids := map[string]bool{}
	for n := range a.doc.Descendants() {
		if n.Type != html.ElementNode {
			continue
		}
		if id := attr(n, "id"); id != "" {
			if ids[id] {
				t.Errorf("two elements have the id %s", id)
			}
			ids[id] = true
		}
		for _, at := range n.Attr {
			if strings.HasPrefix(at.Key, "on") || at.Key == "style" {
				t.Errorf("<%s> has %s=%q, which the policy forbids", n.Data, at.Key, at.Val)
			}
		}
		switch n.Data {
		case "script":
			if attr(n, "src") == "" || attr(n, "integrity") == "" {
				t.Error("a script is in the page")
			}
		case "style":
			t.Error("a style is in the page")
		case "table":
			if n.FirstChild == nil || n.FirstChild.Data != "caption" {
				t.Error("a table has no caption")
			}
		case "input", "textarea":
			if attr(n, "type") != "hidden" && !labeled(n) {
				t.Errorf("the field %s has no label", attr(n, "name"))
			}
		}
	}
}

func labeled(n *html.Node) bool {
	for p := n; p != nil; p = p.Parent {
		if p.Data == "label" || attr(p, "aria-label") != "" && p == n {
			return true
		}
	}
	return false
}

// The calls of a page do not grow with the number of keys that the tenant
// has, and no page has a row for each of ten thousand keys.
func TestPages_BoundedCalls(t *testing.T) {
	f := start(t)
	ctx := f.as(t, "acme")
	for i := range 10 {
		req := &stelev1.CommitRequest{}
		for j := range 1000 {
			req.Changes = append(req.Changes, &stelev1.Change{Key: "tenantconfig/flat/key" + string(rune('a'+i)) + strings.Repeat("0", j%7) + "x" + strconv.Itoa(j), Value: "1"})
		}
		if _, err := f.ledger.Commit(ctx, req); err != nil {
			t.Fatal(err)
		}
	}
	v := f.writer(t, "acme")
	previews := []string{"/acme@5/rollback", "/acme/delete/tenantconfig/flat/keyax0", "/acme/search?q=keyax0", "/acme/jump?q=key", "/acme/commits/10/revert"}
	for _, path := range append(previews,
		"/acme/", "/acme@5/", "/acme/keys/tenantconfig/flat/", "/acme@5/keys/tenantconfig/flat/", "/acme/keys/?filter=x",
		"/acme/keys/tenantconfig/flat/keyax0", "/acme@7/keys/tenantconfig/flat/keyax0", "/acme/history", "/acme@5/history", "/acme/commits/3",
	) {
		made := f.calls.since()
		a := v.get(t, path)
		if a.code != http.StatusOK {
			t.Fatalf("%s: %d %s", path, a.code, brief(a.text()))
		}
		most := 8
		switch {
		case slices.Contains(previews, path):
			most = 10
		case strings.HasSuffix(path, "/keys/tenantconfig/flat/keyax0"):
			most = 10
		}
		if calls := made(); len(calls) > most {
			t.Errorf("%s takes %d calls: %v", path, len(calls), calls)
		}
		if rows := len(a.all("tr")) + len(a.all("li")); rows > 130 {
			t.Errorf("%s has %d rows", path, rows)
		}
	}
}

// The pages of a level together have every key once.
func TestLevel_PagesHaveEveryKeyOnce(t *testing.T) {
	f := start(t)
	ctx := f.as(t, "acme")
	req := &stelev1.CommitRequest{}
	for i := range 250 {
		req.Changes = append(req.Changes, &stelev1.Change{Key: "flat/key" + strconv.Itoa(1000+i), Value: strconv.Itoa(i)})
	}
	if _, err := f.ledger.Commit(ctx, req); err != nil {
		t.Fatal(err)
	}
	v := f.writer(t, "acme")
	seen := map[string]int{}
	path, pages := "/acme/keys/flat/", 0
	for path != "" && pages < 10 {
		a := v.get(t, path)
		path = ""
		pages++
		for _, n := range a.all("a") {
			if key, ok := strings.CutPrefix(attr(n, "href"), "/acme/keys/flat/key"); ok {
				seen[key]++
			}
			if attr(n, "rel") == "next" {
				path = attr(n, "href")
			}
		}
	}
	if pages != 3 || len(seen) != 250 {
		t.Fatalf("%d pages have %d keys", pages, len(seen))
	}
	for key, n := range seen {
		if n != 1 {
			t.Errorf("%s is there %d times", key, n)
		}
	}
}

// Without scripts, the slider opens the same page at another revision or time.
func TestSlider_WithoutScripts(t *testing.T) {
	f := start(t)
	setup(t, f)
	v := f.writer(t, "acme")
	for _, c := range []struct{ query, to string }{
		{"page=keys/tenantconfig/&revision=2", "/acme@2/keys/tenantconfig/"},
		{"page=keys/tenantconfig/&revision=3", "/acme/keys/tenantconfig/"},
		{"page=history?author=carol&revision=1", "/acme@1/history?author=carol"},
		{"page=commits&revision=2", "/acme/commits/2"},
		{"page=keys/&revision=2&position=5.5&was=5.5", "/acme@2/keys/"},
		{"page=keys/&revision=2&position=4000000000.5&was=5", "/acme/keys/"},
		{"page=commits&revision=2&position=4000000000&was=5", "/acme/commits/3"},
		{"page=keys/&by=time&time=2999-01-01T00:00", "/acme/keys/"},
		{"page=//evil.example/&revision=2", "/acme@2/evil.example/"},
	} {
		a := v.get(t, "/acme/at?"+strings.ReplaceAll(c.query, "?author=", "%3Fauthor%3D"))
		if a.code != http.StatusSeeOther || a.header.Get("Location") != c.to {
			t.Errorf("%s leads to %d %s and not %s", c.query, a.code, a.header.Get("Location"), c.to)
		}
	}
	for _, query := range []string{"page=keys/&revision=0", "page=keys/&revision=x", "page=keys/&position=x", "page=keys/&position=NaN", "page=keys/&by=time&time=a+fortnight+ago"} {
		if a := v.get(t, "/acme/at?"+query); a.code != http.StatusBadRequest {
			t.Errorf("%s: %d", query, a.code)
		}
	}
	if a := v.get(t, "/acme/at?page=keys/&by=time&time=1999-01-01"); a.code != http.StatusNotFound {
		t.Errorf("a time before all commits: %d", a.code)
	}
	if a := v.get(t, "/acme/keys/"); len(a.all("rect")) == 0 || !strings.Contains(a.body, `aria-label="3 commits from `) {
		t.Errorf("the time axis: %s", brief(a.text()))
	}
}

// A reader's pages have no buttons that the gateway would refuse.
func TestPages_OfferWhatIsAllowed(t *testing.T) {
	f := start(t)
	setup(t, f)
	reader := f.login(t, identity.Claims{Tenant: "acme", Roles: []identity.Role{identity.Reader}})
	for path, button := range map[string]string{"/acme/": "New key", "/acme/keys/tenantconfig/checkout/card": "Delete", "/acme/commits/3": "Revert"} {
		if a := reader.get(t, path); strings.Contains(a.main(), button) {
			t.Errorf("%s offers a reader %q", path, button)
		}
		if a := f.writer(t, "acme").get(t, path); !strings.Contains(a.main(), button) {
			t.Errorf("%s does not offer a writer %q", path, button)
		}
	}
}

// Keys show their authors also if their names begin alike, or if one is the beginning of another.
func TestLevel_Authors(t *testing.T) {
	f := start(t)
	f.set(t, f.as(t, "acme"), "all", "x/max_items", "1", "x/max_price", "2", "y/max", "3", "y/max_items", "4", "z/one", "5")
	v := f.writer(t, "acme")
	for path, keys := range map[string]int{"/acme/keys/x/": 2, "/acme/keys/y/": 2, "/acme/keys/z/": 1, "/acme/keys/?filter=max": 4} {
		if got := strings.Count(v.get(t, path).main(), "carol"); got != keys {
			t.Errorf("%s names %d authors of %d keys", path, got, keys)
		}
	}
}

// A commit can be reverted by users with the permission to write the keys that it changed.
func TestCommit_RevertIsOfferedByKeys(t *testing.T) {
	f := start(t)
	ctx := f.as(t, "acme")
	f.set(t, ctx, "one", "a/x", "1")
	f.set(t, ctx, "two", "a/x", "2", "b/y", "2")
	f.set(t, f.system(t), "grants", "policy/acme/grants", `{"grants":[{"roles":["reader"]},{"subjects":["ann"],"operations":["write"],"prefixes":["a/"]}]}`)
	ann := f.login(t, identity.Claims{Subject: "ann", Tenant: "acme", Roles: []identity.Role{identity.Reader}})
	for path, offered := range map[string]bool{"/acme/commits/1": true, "/acme/commits/2": false} {
		if a := ann.get(t, path); a.code != http.StatusOK || strings.Contains(a.main(), "Revert") != offered {
			t.Errorf("%s: %d %s", path, a.code, brief(a.main()))
		}
	}
}

// A user whose token is limited to prefixes sees where those are.
func TestLevel_PartOfTheKeys(t *testing.T) {
	f := start(t)
	ctx := f.as(t, "acme")
	f.set(t, ctx, "all", "a/mine", "1", "b/others", "2")
	v := f.login(t, identity.Claims{Tenant: "acme", Roles: []identity.Role{identity.Writer}, Prefixes: prefixes("a/")})
	if a := v.get(t, "/acme/"); a.code != http.StatusOK || !strings.Contains(a.main(), "a/") || strings.Contains(a.main(), "b/") {
		t.Errorf("the first page: %d %s", a.code, brief(a.main()))
	}
	if a := v.get(t, "/acme/keys/a/"); a.code != http.StatusOK || !strings.Contains(a.main(), "mine") {
		t.Errorf("the own prefix: %d %s", a.code, brief(a.main()))
	}
	if a := v.get(t, "/acme/keys/b/"); a.code != http.StatusForbidden || strings.Contains(a.main(), "others") {
		t.Errorf("another prefix: %d %s", a.code, brief(a.main()))
	}
	if a := v.get(t, "/acme/commits/1"); a.code != http.StatusOK || strings.Contains(a.main(), "others") || !strings.Contains(a.main(), "that you may not read") {
		t.Errorf("a commit of more keys: %d %s", a.code, brief(a.main()))
	}
}
