package schema_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"

	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/journal"
	"github.com/stelehq/stele/internal/ledger/ledgertest"
	"github.com/stelehq/stele/internal/ledger/routes"
	"github.com/stelehq/stele/internal/ledger/schema"
	"github.com/stelehq/stele/internal/ledger/secret"
)

// world is a process of a ledger that validates values against schemas.
type world struct {
	*ledgertest.Node
	ctx    context.Context
	ledger *ledger.Ledger
	source *schema.Source
	keys   *secret.Keyring
}

func start(tb testing.TB, s *journal.Server) *world {
	tb.Helper()
	return startWith(tb, s, nil)
}

func startWith(tb testing.TB, s *journal.Server, table *routes.Table) *world {
	tb.Helper()
	w := &world{ctx: tb.Context(), Node: ledgertest.Start(tb, s, ledgertest.Config{})}
	inForce := routes.NewSource(w.Replica, table, slog.New(slog.DiscardHandler))
	text, err := secret.GenerateKEK()
	if err != nil {
		tb.Fatal(err)
	}
	kek, err := secret.ParseKEK(text)
	if err != nil {
		tb.Fatal(err)
	}
	w.keys = secret.New(secret.Config{KEK: kek, Replica: w.Replica, Routes: inForce, Keys: func() (secret.Keys, error) {
		return w.Journal.OpenBucket(tb.Context(), journal.Keys)
	}})
	w.source = schema.NewSource(w.Replica, inForce, w.keys)
	w.ledger = ledger.New(ledger.Config{Journal: w.Journal, Replica: w.Replica, Seal: w.keys.Seal, SealedFrom: w.keys.SealedFrom, Schemas: w.source})
	tb.Cleanup(w.ledger.Close)
	return w
}

// set is a change set; an empty value deletes the key.
func set(kv ...string) (cs ledger.ChangeSet) {
	for i := 0; i < len(kv); i += 2 {
		cs.Changes = append(cs.Changes, ledger.Change{Key: ledger.Key(kv[i]), Value: ledger.Value(kv[i+1]), Delete: kv[i+1] == ""})
	}
	return cs
}

func (w *world) commit(tb testing.TB, t ledger.Tenant, cs ledger.ChangeSet) ledger.Revision {
	tb.Helper()
	r, err := w.ledger.Commit(tb.Context(), t, cs)
	if err != nil {
		tb.Fatal(err)
	}
	return r.Revision
}

// refused is what an error blames: FIELD: DESCRIPTION, one a line.
func refused(err error) string {
	var invalid *ledger.InvalidError
	if !errors.As(err, &invalid) {
		return ""
	}
	var lines []string
	for _, v := range invalid.Violations {
		lines = append(lines, v.Field+": "+v.Description)
	}
	return strings.Join(lines, "\n")
}
