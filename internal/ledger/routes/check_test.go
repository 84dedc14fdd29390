package routes_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/ledgertest"
	"github.com/stelehq/stele/internal/ledger/routes"
)

// checked is a ledger that checks its change sets against the routes.
func checked(t *testing.T, fallback *routes.Table) *ledger.Ledger {
	t.Helper()
	n := ledgertest.Start(t, ledgertest.Server(t), ledgertest.Config{})
	source := routes.NewSource(n.Replica, fallback, slog.New(slog.DiscardHandler))
	valid := func(table *routes.Table) error {
		if sink, ok := table.Sinks["bus"]; ok {
			return fmt.Errorf("sink bus is of the kind %q", sink.Kind)
		}
		return nil
	}
	l := ledger.New(ledger.Config{Journal: n.Journal, Replica: n.Replica, Check: source.Check(valid)})
	t.Cleanup(l.Close)
	return l
}

// set is a change set; an empty value deletes the key.
func set(kv ...string) (cs ledger.ChangeSet) {
	for i := 0; i < len(kv); i += 2 {
		cs.Changes = append(cs.Changes, ledger.Change{Key: ledger.Key(kv[i]), Value: ledger.Value(kv[i+1]), Delete: kv[i+1] == ""})
	}
	return cs
}

// violation is the first field that an error blames, and why.
func violation(err error) (field, description string) {
	var invalid *ledger.InvalidError
	if !errors.As(err, &invalid) {
		return "", ""
	}
	return invalid.Violations[0].Field, invalid.Violations[0].Description
}

func TestCheck_InvalidRoutes(t *testing.T) {
	l := checked(t, nil)
	for _, tc := range []struct {
		name   string
		tenant ledger.Tenant
		cs     ledger.ChangeSet
		field  string // empty: it is taken
		want   string
	}{
		{"good ones", ledger.System, set("projector/routes", `{"sinks":{"dynamodb":{}},"routes":[]}`), "", ""},
		{"bad ones", ledger.System, set("policy/acme/reads", `{"record":[]}`, "projector/routes", `{"sinks":[]}`), "changes[1].value", "projector/routes: read the routes"},
		{"an unknown sink", ledger.System, set("projector/routes", `{"routes":[{"prefix":"a","sinks":["b"]}]}`), "changes[0].value", `unknown sink "b"`},
		{"an unknown kind", ledger.System, set("projector/routes", `{"sinks":{"bus":{"kind":"kafka"}}}`), "changes[0].value", `sink bus is of the kind "kafka"`},
		{"another key", ledger.System, set("projector/other", `1`), "", ""},
		{"another tenant's key of that name", "acme", set("projector/routes", `1`), "", ""},
		{"none", ledger.System, set("projector/routes", ""), "", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := l.Commit(t.Context(), tc.tenant, tc.cs)
			field, why := violation(err)
			if field != tc.field || !strings.Contains(why, tc.want) || (err == nil) != (tc.field == "") {
				t.Errorf("%v, want %q of %q", err, tc.want, tc.field)
			}
		})
	}
}

// A rollback is checked against the current routes, and so is its preview.
func TestCheck_StrictRoutes(t *testing.T) {
	l := checked(t, parse(t, `{"sinks":{"dynamodb":{}},"routes":[{"prefix":"a/","sinks":["dynamodb"]},{"prefix":"b/","sinks":[]}]}`))
	commit := func(ctx context.Context, tenant ledger.Tenant, cs ledger.ChangeSet) error {
		_, err := l.Commit(ctx, tenant, cs)
		return err
	}
	for _, cs := range []ledger.ChangeSet{set("a/x", "1", "c/x", "1"), set("c/x", "2"), set("c/x", "")} { // acme@1 to @3
		if err := commit(t.Context(), "acme", cs); err != nil {
			t.Fatal(err)
		}
	}
	strict := `{"strict":true,"sinks":{"dynamodb":{}},"routes":[{"prefix":"a/","sinks":["dynamodb"]},{"prefix":"b/","sinks":[]}]}`
	if err := commit(t.Context(), ledger.System, set("projector/routes", strict)); err != nil {
		t.Fatal(err)
	}
	rollback := func(to ledger.Revision, prefix ledger.Prefix, dry bool) func() error {
		return func() error {
			_, err := l.Rollback(t.Context(), "acme", ledger.Rollback{To: to, Prefix: prefix, Request: ledger.Request{DryRun: dry}})
			return err
		}
	}
	write := func(tenant ledger.Tenant, cs ledger.ChangeSet) func() error {
		return func() error { return commit(t.Context(), tenant, cs) }
	}
	for _, tc := range []struct {
		name  string
		call  func() error
		field string // empty: it is taken
	}{
		{"a key with a route", write("acme", set("a/x", "2")), ""},
		{"a key whose route leads nowhere", write("acme", set("b/x", "2")), ""},
		{"a key without a route", write("acme", set("a/x", "3", "c/x", "3")), "changes[1].key"},
		{"a deletion", write("acme", set("c/never", "", "a/x", "4")), ""},
		{"the ledger's own key", write(ledger.System, set("policy/acme/reads", `{"record":[]}`)), ""},
		{"a rollback", rollback(1, "", false), "changes[2].key"},
		{"its preview", rollback(1, "", true), "changes[2].key"},
		{"a rollback of what has a route", rollback(1, "a/", false), ""},
		{"a revert", func() error {
			_, err := l.Revert(t.Context(), "acme", ledger.Revert{Revisions: []ledger.Revision{3}})
			return err
		}, "changes[0].key"},
		{"a rollback that deletes", rollback(0, "", false), ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			err := tc.call()
			field, why := violation(err)
			if field != tc.field || (err == nil) != (tc.field == "") || tc.field != "" && !strings.Contains(why, "c/x has no route") {
				t.Errorf("%v, want %q to be blamed", err, tc.field)
			}
		})
	}
}
