package schema_test

import (
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/ledgertest"
	"github.com/stelehq/stele/internal/ledger/replica"
	"github.com/stelehq/stele/internal/ledger/routes"
	"github.com/stelehq/stele/internal/ledger/schema"
	"github.com/stelehq/stele/internal/ledger/secret"
)

func TestCommit_ValuesAreValidated(t *testing.T) {
	w := start(t, ledgertest.Server(t))
	w.commit(t, ledger.System, set("_schema/app", `{"type":["integer","string","object"]}`, "_schema/app/flags", `{"type":"boolean"}`))
	w.commit(t, "acme", set(
		"_schema/app/timeout", `{"type":"integer","maximum":1000}`,
		"_schema/app/db", `{"properties":{"pool":{"$ref":"stele:///units#/$defs/size"},"host":{"type":"string"}},"additionalProperties":false,"required":["pool"]}`,
		"_schema/units", `{"$defs":{"size":{"type":"integer","minimum":1}}}`,
	))
	for _, tc := range []struct {
		name   string
		tenant ledger.Tenant
		cs     ledger.ChangeSet
		want   string // empty: it is taken
	}{
		{"a good value", "acme", set("app/timeout", "250"), ""},
		{"a bad one", "acme", set("x/y", "1", "app/timeout", "2500"), `changes[1].value: app/timeout: the value must be at most 1000, and is 2500 (_schema/app/timeout#/maximum of acme)`},
		{"below the prefix", "acme", set("app/timeout/read", "2500"), `_schema/app/timeout#/maximum`},
		{"next to it", "acme", set("app/timeout_ms", "2500"), ""},
		{"the platform's", "acme", set("app/x", "true"), `changes[0].value: app/x: the value must be of type integer or string or object, and is true (_schema/app#/type of _system)`},
		{"the platform's longest", "acme", set("app/flags/beta", "1"), `_schema/app/flags#/type of _system`},
		{"both", "acme", set("app/timeout", "true"), "changes[0].value: app/timeout: the value must be of type integer or string or object, and is true (_schema/app#/type of _system)\nchanges[0].value: app/timeout: the value must be of type integer, and is true (_schema/app/timeout#/type of acme)"},
		{"another tenant's", "globex", set("app/timeout", "2500"), ""},
		{"a reference", "acme", set("app/db", `{"pool":0}`), `changes[0].value: app/db: at /pool must be at least 1, and is 0 (_schema/units#/$defs/size/minimum of acme)`},
		{"a member too many", "acme", set("app/db", `{"pool":1,"prot":1}`), `at /prot must not be there, and is 1 (_schema/app/db#/additionalProperties of acme)`},
		{"a member that is missing", "acme", set("app/db", `{}`), `the value must have "pool" (_schema/app/db#/required of acme)`},
		{"a deletion", "acme", set("app/timeout", ""), ""},
		{"the same set's schema", "acme", set("new/a", "1", "_schema/new", `{"type":"string"}`), `changes[0].value: new/a: the value must be of type string`},
		{"the same set's, and good", "acme", set("new/a", `"x"`, "_schema/new", `{"type":"string"}`), ""},
		{"an invalid document", "acme", set("_schema/app/timeout", `{"type":"int"}`), `changes[0].value: _schema/app/timeout is not a valid schema: at /type`},
		{"one that is not an object", "acme", set("_schema/a", `1`), `_schema/a is not a valid schema: a schema is an object`},
		{"one of another draft", "acme", set("_schema/a", `{"$schema":"http://json-schema.org/draft-07/schema#"}`), `is not https://json-schema.org/draft/2020-12/schema`},
		{"a file", "acme", set("_schema/a", `{"$ref":"file:///etc/passwd"}`), `file:///etc/passwd does not refer to a schema of the ledger`},
		{"the network", "acme", set("_schema/a", `{"$ref":"https://example.com/s"}`), `https://example.com/s does not refer to a schema of the ledger`},
		{"a reference to nothing", "acme", set("_schema/a", `{"$ref":"stele:///nothing"}`), `nothing does not have a schema`},
		{"one to the platform's", "acme", set("_schema/a", `{"$ref":"stele:///app/flags"}`), `app/flags does not have a schema`},
		{"a relative one", "acme", set("_schema/app/cache", `{"$ref":"../units#/$defs/size"}`), ""},
		{"a circle", "acme", set("_schema/a", `{"$ref":"#"}`), `refers to itself`},
		{"taking away what is used", "acme", set("_schema/units", ""), `_schema/app/cache, which refers to it, would be invalid: units does not have a schema`},
		{"another tag of the ledger's own", "acme", set("_other/a", "1"), `changes[0].key: _other/a: tags that begin with "_"`},
		{"a schema for those", "acme", set("_schema/_schema/a", "true"), `changes[0].key`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := w.ledger.Commit(t.Context(), tc.tenant, tc.cs)
			if got := refused(err); (err == nil) != (tc.want == "") || !strings.Contains(got, tc.want) {
				t.Errorf("%v\nwant %s", err, tc.want)
			}
		})
	}
}

// A schema that live values break is refused, with them, unless that is meant; and what
// is set while it is in force must satisfy it.
func TestCommit_SchemaIsCheckedAgainstExistingValues(t *testing.T) {
	w := start(t, ledgertest.Server(t))
	w.commit(t, "acme", set("a/x", "1", "a/y", `"s"`, "a/z", `"s"`, "ab", "true"))
	w.commit(t, "globex", set("a/x", `"s"`))
	const integers = `{"type":"integer"}`
	_, err := w.ledger.Commit(t.Context(), "acme", set("a/z", "1", "_schema/a", integers))
	if got := refused(err); !strings.HasPrefix(got, `changes[1].value: 1 live value would break it`) || !strings.Contains(got, "a/y@1 of acme: the value must be of type integer (_schema/a#/type of acme)") || strings.Contains(got, `"s"`) {
		t.Errorf("%v", err)
	}
	_, err = w.ledger.Commit(t.Context(), ledger.System, set("_schema/a", integers))
	if got := refused(err); !strings.HasPrefix(got, `changes[0].value: 3 live values would break it`) || !strings.Contains(got, "a/x@1 of globex") {
		t.Errorf("%v", err)
	}
	keep := set("_schema/a", integers)
	keep.AllowInvalid = true
	w.commit(t, "acme", keep)
	if _, err := w.ledger.Commit(t.Context(), "acme", set("a/y", `"t"`)); refused(err) == "" {
		t.Errorf("%v", err)
	}
	w.commit(t, "acme", set("b", "1", "_schema/b", `{"$ref":"stele:///c"}`, "_schema/c", integers))
	if _, err := w.ledger.Commit(t.Context(), "acme", set("_schema/c", `{"type":"string"}`)); !strings.Contains(refused(err), "b@3 of acme") {
		t.Errorf("a value whose schema uses the changed one: %v", err)
	}
	w.commit(t, "acme", set("a/y", "", "a/z", ""))
	if _, err := w.ledger.Commit(t.Context(), "acme", set("_schema/a", `{"type":"integer","minimum":0}`)); err != nil {
		t.Error(err)
	}
}

func TestRollback_IsValidated(t *testing.T) {
	w := start(t, ledgertest.Server(t))
	w.commit(t, "acme", set("a", "1"))
	w.commit(t, "acme", set("a", `"s"`))
	w.commit(t, "acme", set("_schema/a", `{"type":"string"}`))
	for _, dry := range []bool{true, false} {
		req := ledger.Request{DryRun: dry}
		if _, err := w.ledger.Rollback(t.Context(), "acme", ledger.Rollback{To: 1, Prefix: "a", Request: req}); !strings.HasPrefix(refused(err), "changes[0].value: a: the value must be of type string, and is 1") {
			t.Errorf("dry %v: %v", dry, err)
		}
		if _, err := w.ledger.Revert(t.Context(), "acme", ledger.Revert{Revisions: []ledger.Revision{2}, Request: req}); !strings.HasPrefix(refused(err), "changes[0].value: a: the value must be of type string, and is 1") {
			t.Errorf("dry %v: %v", dry, err)
		}
	}
	if _, err := w.ledger.Rollback(t.Context(), "acme", ledger.Rollback{To: 1}); err != nil {
		t.Errorf("with the schema: %v", err)
	}
	if _, err := w.ledger.Rollback(t.Context(), "acme", ledger.Rollback{To: 3, Prefix: "_schema/"}); !strings.Contains(refused(err), "a@4 of acme") {
		t.Errorf("the schema without the value: %v", err)
	}
	if _, err := w.ledger.Rollback(t.Context(), "acme", ledger.Rollback{To: 3, Prefix: "_schema/", Request: ledger.Request{AllowInvalid: true}}); err != nil {
		t.Errorf("the same, meant: %v", err)
	}
}

func TestCommit_SecretsAreValidatedAndRedacted(t *testing.T) {
	const canary = "hunter2"
	table, err := routes.Parse([]byte(`{"routes":[{"prefix":"s/","sinks":[],"secret":true}]}`))
	if err != nil {
		t.Fatal(err)
	}
	w := startWith(t, ledgertest.Server(t), table)
	w.commit(t, "acme", set("_schema/s", `{"type":"object","properties":{"p":{"maxLength":3},"n":{"type":"integer"}},"patternProperties":{"^x":false},"additionalProperties":true}`))
	w.commit(t, "acme", set("s/a", `{"p":"abc"}`))
	for _, bad := range []string{`{"p":"` + canary + `"}`, `{"x` + canary + `":1}`, `"` + canary + `"`, `{"n":"` + canary + `"}`} {
		_, err := w.ledger.Commit(t.Context(), "acme", set("s/a", bad))
		if got := refused(err); !strings.Contains(got, `and is "***"`) || strings.Contains(got, canary) {
			t.Errorf("%s: %v", bad, err)
		}
	}
	// A restored value is sealed; it is opened for the check.
	w.commit(t, "acme", set("s/a", `{"p":"x"}`))
	w.commit(t, "acme", set("_schema/s", `{"properties":{"p":{"maxLength":1}}}`))
	back := ledger.Rollback{To: 2, Prefix: "s/"}
	if _, err := w.ledger.Rollback(t.Context(), "acme", back); !strings.Contains(refused(err), `at /p must have at most 1 character, and has 3, and is "***"`) {
		t.Errorf("%v", err)
	}
	// Its key was destroyed: it cannot be checked.
	if _, _, err := w.keys.Shred(t.Context(), w.ledger, "acme", "eve"); err != nil {
		t.Fatal(err)
	}
	if _, err := w.ledger.Rollback(t.Context(), "acme", back); err != nil {
		t.Errorf("of what was shredded: %v", err)
	}
	if _, err := w.ledger.Commit(t.Context(), "acme", set("s/b", `{"p":"xyz"}`)); refused(err) == "" {
		t.Errorf("%v", err)
	}
}

// Change sets that wait together go into one record, each checked against the schemas
// that those before it leave.
func TestCommit_ChangeSetsOfOneRecord(t *testing.T) {
	w := start(t, ledgertest.Server(t))
	type sent struct {
		pending *ledger.Pending
		cs      ledger.ChangeSet
		good    bool
	}
	var all []sent
	submit := func(good bool, cs ledger.ChangeSet) {
		p, err := w.ledger.Submit(t.Context(), "acme", cs, nil)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, sent{p, cs, good})
	}
	for range 50 {
		submit(true, set("_schema/a", `{"type":"integer"}`))
		submit(true, set("a/x", "1"))
		submit(false, set("a/x", `"s"`))
		submit(false, set("_schema/a", `{"type":"string"}`)) // a/x is live, if only in this record
		submit(true, set("_schema/a", "", "a/x", `"s"`))
		submit(false, set("_schema/a", `{"type":"integer"}`))
		submit(true, set("a/x", ""))
	}
	for i, s := range all {
		if _, err := s.pending.Wait(t.Context()); (err == nil) != s.good {
			t.Fatalf("%d, %v: %v", i, s.cs.Changes, err)
		}
	}
}

// Imported values are checked like any other; a tag that is reserved now may have been
// in use elsewhere.
func TestImport_IsValidated(t *testing.T) {
	w := start(t, ledgertest.Server(t))
	w.commit(t, ledger.System, set("_schema/a", `{"type":"integer"}`))
	imported := func(kv ...string) error {
		cs := set(kv...)
		cs.Author, cs.Import = "source", &ledger.Import{Time: time.Now().Add(-time.Hour), Importer: "ann"}
		_, err := w.ledger.Commit(t.Context(), "acme", cs)
		return err
	}
	if err := imported("_old/a", "1", "a", "1"); err != nil {
		t.Error(err)
	}
	if err := imported("a", `"s"`); !strings.Contains(refused(err), "_schema/a#/type of _system") {
		t.Errorf("%v", err)
	}
	if _, err := w.ledger.Commit(t.Context(), "acme", set("_old/a", "")); err != nil {
		t.Errorf("its deletion: %v", err)
	}
	if _, err := w.ledger.Revert(t.Context(), "acme", ledger.Revert{Revisions: []ledger.Revision{2}}); err != nil {
		t.Errorf("its coming back: %v", err)
	}
}

// A process that cannot open secrets does not restore those that a schema holds for, and
// says why; others it does.
func TestCommit_WithoutTheKeyForSecrets(t *testing.T) {
	table, err := routes.Parse([]byte(`{"routes":[{"prefix":"s/","sinks":[],"secret":true}]}`))
	if err != nil {
		t.Fatal(err)
	}
	server := ledgertest.Server(t)
	w := startWith(t, server, table)
	w.commit(t, "acme", set("s/a", `"x"`, "s/b", `"x"`))
	w.commit(t, "acme", set("s/a", "", "s/b", ""))
	w.commit(t, "acme", set("_schema/s/a", `{"type":"string"}`))
	inForce := routes.NewSource(w.Replica, table, slog.New(slog.DiscardHandler))
	blind := ledger.New(ledger.Config{Journal: w.Journal, Replica: w.Replica, Schemas: schema.NewSource(w.Replica, inForce, nil)})
	defer blind.Close()
	if _, err := blind.Rollback(t.Context(), "acme", ledger.Rollback{To: 1, Prefix: "s/a"}); !errors.Is(err, ledger.ErrUnchecked) || !errors.Is(err, secret.ErrNoKEK) {
		t.Errorf("%v", err)
	}
	if _, err := blind.Rollback(t.Context(), "acme", ledger.Rollback{To: 1, Prefix: "s/b"}); err != nil {
		t.Error(err)
	}
	if _, err := w.ledger.Rollback(t.Context(), "acme", ledger.Rollback{To: 1, Prefix: "s/a"}); err != nil {
		t.Error(err)
	}
}

// A base's schemas hold for its tenants in addition to their own, and violations name the base.
func TestCheck_SchemasOfBases(t *testing.T) {
	w := start(t, ledgertest.Server(t))
	w.commit(t, "defaults", set("_schema/app/timeout", `{"type":"integer","maximum":1000}`, "app/timeout", "250"))
	w.commit(t, "plan", set("app/timeout", "5000"))
	const follow = `[{"tenant":"defaults","revision":1},{"tenant":"plan","revision":1}]`
	w.commit(t, "acme", set(string(ledger.BasesKey), follow))
	w.commit(t, "acme", set("_schema/app/timeout", `{"type":"integer","minimum":10}`)) // does not replace the base's
	for _, tc := range []struct {
		name   string
		tenant ledger.Tenant
		cs     ledger.ChangeSet
		want   string
	}{
		{"both allow it", "acme", set("app/timeout", "500"), ""},
		{"the base does not", "acme", set("app/timeout", "1500"), "changes[0].value: app/timeout: the value must be at most 1000, and is 1500 (_schema/app/timeout#/maximum of defaults)"},
		{"the tenant does not", "acme", set("app/timeout", "5"), "(_schema/app/timeout#/minimum of acme)"},
		{"a base that the change set attaches", "globex", set("app/timeout", "1500", string(ledger.BasesKey), follow), "of defaults)"},
		{"a base that it removes", "acme", set("app/timeout", "1500", string(ledger.BasesKey), ""), ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := w.ledger.Commit(t.Context(), tc.tenant, tc.cs)
			if got := refused(err); (err == nil) != (tc.want == "") || !strings.Contains(got, tc.want) {
				t.Errorf("%v\nwant %s", err, tc.want)
			}
		})
	}

	// A schema that a base's value violates is refused with the name of the base, and a value
	// that a base gives is reported with it.
	w.commit(t, "initech", set(string(ledger.BasesKey), `[{"tenant":"plan","revision":1},{"tenant":"defaults","revision":1}]`))
	_, err := w.ledger.Commit(t.Context(), "initech", set("_schema/app", `{"type":"string"}`))
	if got := refused(err); err != nil && got == "" || !strings.Contains(got, "app/timeout@1 of initech, inherited from plan@1: the value must be of type string") {
		t.Errorf("%v", err)
	}
	v, err := w.Replica.View("initech", replica.At{})
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	broken, err := w.source.Live(t.Context(), nil, "initech", v, "")
	if err != nil || broken.Count != 1 || broken.First[0].Base != (ledger.Source{Tenant: "plan", Revision: 1}) || !strings.Contains(broken.First[0].Violations[0].Schema, "of defaults") {
		t.Errorf("%+v, %v", broken, err)
	}
}
