package migrate

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stelehq/stele/cmd/stele/internal/changelog"
	"github.com/stelehq/stele/internal/ledger"
	"pgregory.net/rapid"
)

// steps is a source.
type steps []Step

func (steps) Name() string { return "steps" }
func (s steps) Steps(context.Context) iter.Seq2[Step, error] {
	return func(yield func(Step, error) bool) {
		for _, step := range s {
			if !yield(step, nil) {
				return
			}
		}
	}
}

// world is a ledger of one tenant.
type world struct {
	head     ledger.Revision
	at       time.Time
	entries  map[ledger.Key]ledger.Value
	messages []string
}

func (w *world) Head(context.Context, ledger.Tenant) (ledger.Revision, time.Time, error) {
	return w.head, w.at, nil
}

func (w *world) Entries(_ context.Context, _ ledger.Tenant, p ledger.Prefix) (map[ledger.Key]ledger.Value, error) {
	has := make(map[ledger.Key]ledger.Value)
	for k, v := range w.entries {
		if p.Match(k) {
			has[k] = v
		}
	}
	return has, nil
}

func (w *world) Message(_ context.Context, _ ledger.Tenant, begins string) (string, error) {
	for _, m := range slices.Backward(w.messages) {
		if strings.HasPrefix(m, begins) {
			return m, nil
		}
	}
	return "", nil
}

// apply writes a line.
func (w *world) apply(l *changelog.Line) {
	if w.entries == nil {
		w.entries = make(map[ledger.Key]ledger.Value)
	}
	for _, c := range l.ChangeSet.Changes {
		if c.Delete {
			delete(w.entries, c.Key)
		} else {
			w.entries[c.Key] = c.Value
		}
	}
	w.head++
	w.messages = append(w.messages, l.ChangeSet.Message)
}

func mapping(t *testing.T, prefix, into string) Mapping {
	t.Helper()
	m, err := NewMapping(prefix, into, "acme")
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// read returns all lines, and the names that do not fit.
func read(t *testing.T, cfg Config) (lines []*changelog.Line, unfit []string, kept []ledger.Key) {
	t.Helper()
	cfg.Unfit = func(u Unfit) { unfit = append(unfit, u.Name+": "+u.Err.Error()) }
	cfg.Kept = func(_ ledger.Tenant, k ledger.Key) { kept = append(kept, k) }
	if cfg.Secret == nil {
		cfg.Secret = func(ledger.Key) bool { return false }
	}
	r := NewReader(t.Context(), cfg)
	defer r.Close()
	for {
		l, err := r.Next()
		if errors.Is(err, io.EOF) {
			return lines, unfit, kept
		}
		if err != nil {
			t.Fatal(err)
		}
		lines = append(lines, l)
	}
}

func TestNaming_PrefixAndInto(t *testing.T) {
	for _, test := range []struct{ prefix, into, name, want string }{
		{"/config/", "tenantconfig/", "/config/a/b", "acme tenantconfig/a/b"},
		{"", "", "a/b", "acme a/b"},
		{"/config/", "tenantconfig/", "/other/a", "left alone"},
		{"/config/", "tenantconfig/", "/config/", "error: nothing follows the prefix"},
		{"/config/", "", "/config//a", "error: key"},
		{"/config/{tenant}/", "tenantconfig/", "/config/globex/a", "globex tenantconfig/a"},
		{"{tenant}/prod/", "", "globex/prod/a/b", "globex a/b"},
		{"{tenant}/prod/", "", "globex/test/a", "left alone"},
		{"/config/{tenant}/", "", "/config/globex", "left alone"},
		{"/config/{tenant}/", "", "/config/Globex/a", "error: tenant"},
		{"/config/{tenant}/", "", "/config/_system/a", "error: tenant _system is the ledger's own"},
		{"/config/{tenant}/", "", "/config//a", "error: tenant is empty"},
	} {
		tenant, key, ok, err := mapping(t, test.prefix, test.into).Place(test.name)
		got := fmt.Sprintf("%s %s", tenant, key)
		switch {
		case !ok:
			got = "left alone"
		case err != nil:
			got = "error: " + err.Error()
		}
		if !strings.HasPrefix(got, test.want) || !strings.HasPrefix(test.want, "error") && got != test.want {
			t.Errorf("%q to %q: %q is %s, not %s", test.prefix, test.into, test.name, got, test.want)
		}
	}
	for _, bad := range []string{"/a{tenant}/", "/{tenant}b/", "/{tenant}", "/{tenant}/{tenant}/"} {
		if _, err := NewMapping(bad, "", ""); err == nil {
			t.Errorf("the prefix %q is taken", bad)
		}
	}
}

func TestValue_TextJSONAndBinary(t *testing.T) {
	for text, want := range map[string]string{
		"250": "250", `{"a": 1.0}`: `{"a":1.0}`, "true": "true", "hello": `"hello"`, "": `""`, `{"a":1,"a":2}`: `"{\"a\":1,\"a\":2}"`,
		"a\nb": `"a\nb"`, "\x00\xff": "error", "a\x00": "error", strings.Repeat("x", ledger.MaxValue): "error",
	} {
		r := &Reader{Config: Config{Noted: func(Note) {}}}
		got, err := r.value(Step{}, Item{Value: text})
		if err != nil {
			got = "error"
		}
		if string(got) != want {
			t.Errorf("%.20q becomes %.40s (%v), not %s", text, got, err, want)
		}
	}
}

// The values are those of Consul's own export in the cases that users reported.
func TestValue_NotesWhatTheLedgerWritesInAnotherWay(t *testing.T) {
	for text, want := range map[string]string{
		`"somevalue"`:              `"somevalue"` + ": it loses its quotes and escapes",
		"5\n":                      "5: it loses the white space of its layout",
		"{ \"a\": 1 }\n":           `{"a":1}` + ": it loses the white space of its layout",
		"[1,2] ":                   "[1,2]: it loses the white space of its layout",
		`"a\u0041\n"`:              `"a\u0041\n"` + ": it loses its quotes and escapes",
		"null":                     "null: it becomes JSON's null",
		"007":                      `"007": `,
		"1.0":                      "1.0: ",
		"":                         `"": `,
		`{"a":1,"a":2}`:            `"{\"a\":1,\"a\":2}": `,
		"123456789012345678901234": "123456789012345678901234: ",
		"hello":                    `"hello": `,
	} {
		noted := ""
		r := &Reader{Config: Config{Noted: func(n Note) { noted = n.What }}}
		if got, err := r.value(Step{}, Item{Name: "c/k", Value: text}); err != nil || string(got)+": "+noted != want {
			t.Errorf("%q becomes %s: %s (%v), want %s", text, got, noted, err, want)
		}
		noted, r.AsStrings = "", []string{"c/"}
		got, err := r.value(Step{}, Item{Name: "c/k", Value: text})
		if asString, _ := ledger.StringValue(text); err != nil || got != asString || noted != "" {
			t.Errorf("%q becomes %s as a string: %s (%v)", text, got, noted, err)
		}
	}
}

func TestParseRename(t *testing.T) {
	for rule, want := range map[string]string{
		"s/,/-/":                     "config/application-docker,x/data",
		"s/,/-/g":                    "config/application-docker-x/data",
		"s|config/|app/|":            "app/application,docker,x/data",
		`s/([a-z]+),([a-z]+)/\2.$1/`: "config/docker.application,x/data",
		"s/none/x/":                  "config/application,docker,x/data",
	} {
		r, err := ParseRename(rule)
		if err != nil {
			t.Errorf("%s: %v", rule, err)
			continue
		}
		if got := r.apply("config/application,docker,x/data"); got != want {
			t.Errorf("%s makes %s, want %s", rule, got, want)
		}
	}
	for _, rule := range []string{"", "s", "s/", "s/a/", "s/a/b", "s//b/", "s/a/b/x", "s/(/b/", "y/a/b/"} {
		if _, err := ParseRename(rule); err == nil {
			t.Errorf("the rule %q is taken", rule)
		}
	}
}

func TestLines_TimesNeverGoBack(t *testing.T) {
	at := func(s int) time.Time { return time.Date(2024, 1, 1, 0, 0, s, 0, time.UTC) }
	set := func(name, value string) Item { return Item{Name: name, Value: value} }
	w := &world{head: 1, at: at(10)}
	lines, unfit, _ := read(t, Config{Ledger: w, Mapping: mapping(t, "{tenant}/", "c/"), Source: steps{
		{ID: "one", Time: at(5), Author: "ann", Message: "m", Items: []Item{set("acme/a", "1"), set("globex/a", "2"), {Name: "acme/b", Delete: true}}},
		{ID: "two", Time: at(20), Items: []Item{set("acme/a", "3"), set("acme/x y", "1")}},
		{ID: "three", Time: at(15), Author: "ann", Items: []Item{set("acme/a", "4")}},
		{ID: "four", Time: time.Now().Add(time.Hour), Author: "ann", Items: []Item{set("acme/a", "5")}},
		{ID: "five", Items: []Item{set("elsewhere", "5")}},
	}})
	var got []string
	for i, l := range lines {
		cs := l.ChangeSet
		when := cs.Import.Time
		if l.Step == "four" && when.Before(time.Now()) {
			when = at(59)
		}
		got = append(got, fmt.Sprint(i+1 == l.Number, " ", l.Tenant, " ", l.Step, " ", cs.Author, " ", when.Second(), " ", !l.Claimed.IsZero(), " ", cs.Message, " ", len(cs.Changes)))
	}
	want := []string{
		"true acme one ann 10 true m 2", "true globex one ann 10 true m 1",
		`true acme two unknown 20 false steps, "acme/" to "c/": two 1`,
		`true acme three ann 20 true steps, "acme/" to "c/": three 1`,
		`true acme four ann 59 true steps, "acme/" to "c/": four 1`,
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	if len(unfit) != 1 || !strings.HasPrefix(unfit[0], "acme/x y: key") {
		t.Errorf("what does not fit is %q", unfit)
	}
}

func TestLines_RequestIDs(t *testing.T) {
	source := steps{
		{ID: "one", Items: []Item{{Name: "acme/a", Value: "1"}, {Name: "globex/a", Value: "1"}}},
		{ID: "two", Items: []Item{{Name: "acme/a", Value: "1"}}},
	}
	ids := func(prefix, into string) (ids []string) {
		lines, _, _ := read(t, Config{Ledger: new(world), Mapping: mapping(t, prefix, into), Source: source})
		for _, l := range lines {
			ids = append(ids, l.ChangeSet.RequestID)
		}
		return ids
	}
	first := ids("{tenant}/", "c/")
	if d := cmp.Diff(first, ids("{tenant}/", "c/")); d != "" {
		t.Errorf("read again they are others:\n%s", d)
	}
	all := slices.Concat(first, ids("{tenant}/", "d/"), ids("acme/", "c/x"))
	if n := len(all); n != len(slices.Compact(slices.Sorted(slices.Values(all)))) {
		t.Errorf("some are shared: %q", all)
	}
}

func TestState_WritesTheDifference(t *testing.T) {
	w := &world{head: 3, entries: map[ledger.Key]ledger.Value{"c/same": `{"a":1,"b":2}`, "c/other": "1", "c/gone": "1", "d/x": "1"}}
	state := steps{{ID: "state", State: true, Items: []Item{{Name: "same", Value: `{"b": 2, "a": 1}`}, {Name: "other", Value: "2"}, {Name: "new", Value: "3"}}}}
	cfg := Config{Ledger: w, Mapping: mapping(t, "", "c/"), Source: state}
	lines, _, kept := read(t, cfg)
	if d := cmp.Diff([]ledger.Change{{Key: "c/other", Value: "2"}, {Key: "c/new", Value: "3"}}, lines[0].ChangeSet.Changes); d != "" || len(lines) != 1 {
		t.Errorf("(-want +got):\n%s", d)
	}
	if !slices.Equal(kept, []ledger.Key{"c/gone"}) {
		t.Errorf("%v are listed as kept", kept)
	}
	cfg.Prune = true
	first := lines[0].ChangeSet.RequestID
	lines, _, _ = read(t, cfg)
	if got := lines[0].ChangeSet.Changes; len(got) != 3 || got[2] != (ledger.Change{Key: "c/gone", Delete: true}) {
		t.Errorf("with prune it is %v", got)
	}
	w.apply(lines[0])
	if lines, _, _ := read(t, cfg); len(lines) != 0 {
		t.Errorf("again, it is %d lines", len(lines))
	}
	// A value that is set again is not a repetition.
	w.entries["c/other"] = "1"
	w.entries["c/gone"] = "1"
	delete(w.entries, "c/new")
	w.head++
	if lines, _, _ := read(t, cfg); len(lines) != 1 || lines[0].ChangeSet.RequestID == first {
		t.Error("the same difference from another head has the same request id")
	}
}

func TestResume_ReadsOnlyLaterSteps(t *testing.T) {
	set := func(n uint64, value string) Step {
		return Step{ID: fmt.Sprint("revision ", n), Number: n, Items: []Item{{Name: "a", Value: value}}}
	}
	w := new(world)
	cfg := Config{Ledger: w, Mapping: mapping(t, "", "c/"), Source: steps{set(7, "1"), set(9, "2")}}
	lines, _, _ := read(t, cfg)
	for _, l := range lines {
		w.apply(l)
	}
	// The source has forgotten what was before 9, and then before 20.
	nine, twenty := set(9, "2"), set(20, "4")
	nine.State, twenty.State = true, true
	for _, test := range []struct {
		source steps
		want   int
	}{
		{steps{set(7, "1"), set(9, "2")}, 0},
		{steps{nine, set(11, "3")}, 1},
		{steps{nine, set(11, "3")}, 0},
		{steps{twenty, set(21, "5")}, 2},
		{steps{twenty, set(21, "5")}, 0},
	} {
		cfg.Source = test.source
		lines, _, _ := read(t, cfg)
		if len(lines) != test.want {
			t.Errorf("%v: %d lines, not %d", test.source, len(lines), test.want)
		}
		for _, l := range lines {
			w.apply(l)
		}
	}
	if w.entries["c/a"] != "5" {
		t.Errorf("in the end it is %s", w.entries["c/a"])
	}
}

func TestSecrets_RequireASecretRoute(t *testing.T) {
	cfg := Config{Ledger: new(world), Mapping: mapping(t, "", ""), Source: steps{{ID: "one", Items: []Item{
		{Name: "s/a", Value: "1", Secret: true}, {Name: "p/a", Value: "1", Secret: true}, {Name: "p/b", Value: "1"},
	}}}, Secret: func(k ledger.Key) bool { return strings.HasPrefix(string(k), "s/") }}
	lines, unfit, _ := read(t, cfg)
	if len(lines) != 1 || len(lines[0].ChangeSet.Changes) != 2 || len(unfit) != 1 || !strings.HasPrefix(unfit[0], "p/a: it is encrypted there") {
		t.Errorf("%d lines, unfit %q", len(lines), unfit)
	}
}

func TestState_PartsFitACommit(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var changes []ledger.Change
		for i := range rapid.IntRange(0, 30_000).Draw(t, "many") {
			changes = append(changes, ledger.Change{Key: ledger.Key(fmt.Sprint(i)), Value: "1"})
		}
		heavy := ledger.Value(strings.Repeat("1", ledger.MaxValue))
		for i := range rapid.IntRange(0, 20).Draw(t, "heavy") {
			changes = append(changes, ledger.Change{Key: ledger.Key(fmt.Sprint("heavy", i)), Value: heavy})
		}
		parts := Split(changes)
		for _, p := range parts {
			size := 0
			for _, c := range p {
				size += len(c.Key) + len(c.Value)
			}
			if len(p) == 0 || len(p) > ledger.MaxChanges || size > ledger.MaxChangeSet {
				t.Fatalf("a part has %d changes of %d bytes", len(p), size)
			}
		}
		if !slices.Equal(slices.Concat(parts...), changes) {
			t.Fatal("the parts are not the whole")
		}
	})
}

func TestState_IsCompleteAfterTheLastPart(t *testing.T) {
	state := Step{ID: "revision 5", Number: 5, State: true}
	for i := range ledger.MaxChanges + 1 {
		state.Items = append(state.Items, Item{Name: fmt.Sprintf("k%05d", i), Value: "1"})
	}
	w := new(world)
	cfg := Config{Ledger: w, Mapping: mapping(t, "", "c/"), Source: steps{state}}
	lines, _, _ := read(t, cfg)
	if len(lines) != 2 || lines[0].ChangeSet.RequestID == lines[1].ChangeSet.RequestID {
		t.Fatalf("%d lines", len(lines))
	}
	w.apply(lines[0])
	lines, _, _ = read(t, cfg)
	if len(lines) != 1 || len(lines[0].ChangeSet.Changes) != 1 {
		t.Fatalf("after the first part, %d lines are left", len(lines))
	}
	w.apply(lines[0])
	if lines, _, _ := read(t, cfg); len(lines) != 0 {
		t.Errorf("after the last part, %d lines are left", len(lines))
	}
}

func FuzzPlace(f *testing.F) {
	f.Add("/config/{tenant}/", "c/", "/config/acme/a/b")
	f.Add("", "", "a")
	f.Add("{tenant}/", "x", "_system/a")
	f.Fuzz(func(t *testing.T, prefix, into, name string) {
		m, err := NewMapping(prefix, into, "acme")
		if err != nil {
			return
		}
		tenant, key, ok, err := m.Place(name)
		if !ok || err != nil {
			return
		}
		if _, err := ledger.ParseTenant(string(tenant)); err != nil || tenant.Reserved() {
			t.Errorf("tenant %q: %v", tenant, err)
		}
		if _, err := ledger.ParseKey(string(key)); err != nil || !strings.HasPrefix(string(key), into) || !strings.HasPrefix(name, m.Root()) {
			t.Errorf("%q becomes %q: %v", name, key, err)
		}
	})
}
