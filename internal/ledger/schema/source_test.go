package schema_test

import (
	"fmt"
	"iter"
	"testing"

	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/ledgertest"
	"github.com/stelehq/stele/internal/ledger/schema"
)

// searched is a state that counts the searches of its keys.
type searched struct {
	ledger.State
	n *int
}

func (s searched) Diff(from, to ledger.Revision, prefix ledger.Prefix, start ledger.Key) iter.Seq2[ledger.KeyDiff, error] {
	*s.n++
	return s.State.Diff(from, to, prefix, start)
}

// Every commit asks for the schemas of its tenant, and hardly any changes them.
func TestOf_LooksThroughNewCommits(t *testing.T) {
	w := start(t, ledgertest.Server(t))
	var searches int
	of := func() int {
		state, err := w.Replica.Newest("acme")
		if err != nil {
			t.Fatal(err)
		}
		defer state.Close()
		set, err := w.source.Of("acme", searched{state, &searches})
		if err != nil {
			t.Fatal(err)
		}
		return len(set.Documents())
	}
	w.commit(t, "acme", set(schema.Tag+"app", `{"type":"number"}`))
	if n := of(); n != 1 {
		t.Fatalf("%d schemas, want 1", n)
	}
	searches = 0
	for i := range 3 {
		w.commit(t, "acme", set("app/a", fmt.Sprint(i)))
		if n := of(); n != 1 {
			t.Errorf("%d schemas after a commit without any, want 1", n)
		}
	}
	if searches > 0 {
		t.Errorf("%d searches of all keys for commits without a schema", searches)
	}
	w.commit(t, "acme", set("app/a", "7"))
	w.commit(t, "acme", set(schema.Tag+"app", ""))
	if n := of(); n != 0 {
		t.Errorf("%d schemas after the only one was deleted", n)
	}
}
