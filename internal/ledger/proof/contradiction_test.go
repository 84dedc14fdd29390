package proof_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/proof"
)

// A tree has hashed and signed ten commits, one a message. Then the journal says
// something else: the tree stops, and nothing is signed any more.
func TestTree_ContradictingJournalStopsIt(t *testing.T) {
	const seen = 10
	for _, tc := range []struct {
		name string
		// change makes another journal of the one that was seen.
		change func(t *testing.T, w *world, records []written) []written
		want   string // part of the reason
		// rewritten is what was seen, which only a restart reads again.
		rewritten bool
	}{
		{"it ends before what was seen", func(_ *testing.T, _ *world, r []written) []written {
			return r[:seen-1]
		}, "it ends at message 9, and 10 was seen", false},
		{"it is empty", func(*testing.T, *world, []written) []written {
			return nil
		}, "it ends at message 0, and 10 was seen", false},
		{"the last message is another", func(t *testing.T, w *world, r []written) []written {
			return append(r[:seen-1:seen-1], w.next(t, "globex", 1))
		}, "message 10 is not the one that was hashed", true},
		{"the last message is longer", func(t *testing.T, w *world, r []written) []written {
			return append(r[:seen-1:seen-1], w.next(t, "globex", 30))
		}, "is not the one that was hashed", true},
		{"the last message is no record", func(_ *testing.T, _ *world, r []written) []written {
			return append(r[:seen-1:seen-1], written{record: []byte{0xff}})
		}, "message 10:", true},
		{"it continues with another history", func(t *testing.T, w *world, r []written) []written {
			w.heads["acme"] = ledger.Head{Revision: w.heads["acme"].Revision, ID: ledger.CommitID{1}}
			return append(r, w.next(t, "acme", 1))
		}, "which does not continue acme@", false},
		{"it repeats a record", func(_ *testing.T, _ *world, r []written) []written {
			return append(r, r[seen-1])
		}, "which does not continue", false},
		{"it continues with a cut record", func(t *testing.T, w *world, r []written) []written {
			next := w.next(t, "acme", 1)
			next.record = next.record[:20]
			return append(r, next)
		}, "message 11:", false},
		{"it continues with an empty record", func(_ *testing.T, _ *world, r []written) []written {
			return append(r, written{})
		}, "holds no commit", false},
		{"the last message has a tenant more", func(t *testing.T, w *world, r []written) []written {
			return append(r[:seen-1:seen-1], join(w.next(t, "globex", 1), r[seen-1]))
		}, "message 10 is not the one that was hashed", true},
		{"it continues with a record whose second tenant has another history", func(t *testing.T, w *world, r []written) []written {
			first := w.next(t, "globex", 1)
			w.heads["acme"] = ledger.Head{Revision: w.heads["acme"].Revision, ID: ledger.CommitID{1}}
			return append(r, join(first, w.next(t, "acme", 1)))
		}, "which does not continue acme@", false},
		{"it continues with a record that has a tenant in two places", func(t *testing.T, w *world, r []written) []written {
			acme := w.next(t, "acme", 1)
			w.heads["acme"] = ledger.Head{Revision: acme.commits[0].Revision, ID: acme.commits[0].ID}
			return append(r, join(acme, w.next(t, "globex", 1), w.next(t, "acme", 1)))
		}, "in two places", false},
		{"it continues with another ledger's commit", func(_ *testing.T, _ *world, r []written) []written {
			return append(r, written{record: []byte{10, 12, 10, 8, 7, 0, 0, 0, 0, 0, 0, 0, 24, 1}})
		}, "of the ledger 0700000000000000", false},
	} {
		for _, away := range []bool{true, false} {
			if tc.rewritten && !away {
				continue
			}
			name := tc.name + " while it follows"
			if away {
				name = tc.name + " while it was not connected"
			}
			t.Run(name, func(t *testing.T) {
				w := newWorld(t)
				path := w.path(t)
				tree := w.sign(t, path)
				for i := range seen {
					w.write(t, []ledger.Tenant{"acme", "umbrella"}[i%2], 1)
				}
				w.awaitSigned(t, tree)
				signed := len(w.checkpoints(t))
				if away {
					shut(t, tree)
				}
				w.remake(t, tc.change(t, w, slices.Clone(w.written)))
				if away {
					tree = w.sign(t, path)
				}
				err := awaitStop(t, tree)
				if !proof.IsContradiction(err) || !strings.Contains(reason(err), tc.want) {
					t.Errorf("stopped because %q, want %q", err, tc.want)
				}
				if got := size(t, tree); got != seen {
					t.Errorf("the tree has %d commits, want %d", got, seen)
				}
				if now := w.checkpoints(t); len(now) != signed {
					t.Errorf("it has signed %v since", now[signed:])
				}
				if _, err := tree.Consistency(3, seen); err != nil {
					t.Errorf("it no longer proves what it has: %v", err)
				}
				shut(t, tree)
			})
		}
	}
}

// An existing signature binds the next signer, even if it has seen only the
// journal.
func TestTree_JournalContradictsCheckpoint(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(t *testing.T, w *world)
		want   string
	}{
		"it is shorter": {func(t *testing.T, w *world) {
			w.remake(t, w.written[:3])
		}, "a checkpoint states 10 commits, and the journal holds 3"},
		"it is another": {func(t *testing.T, w *world) {
			var other []written
			for i := range 12 {
				other = append(other, w.next(t, ledger.Tenant("other-"+string(rune('a'+i))), 1))
			}
			w.remake(t, other)
		}, "states that the root of the first 10 commits is"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			tree := w.sign(t, w.path(t))
			for range 10 {
				w.write(t, "acme", 1)
			}
			w.awaitSigned(t, tree)
			signed := len(w.checkpoints(t))
			shut(t, tree)
			tc.change(t, w)
			tree = w.sign(t, w.path(t)) // a new file
			if err := awaitStop(t, tree); !strings.Contains(reason(err), tc.want) {
				t.Errorf("stopped because %q, want %q", err, tc.want)
			}
			if now := w.checkpoints(t); len(now) != signed {
				t.Errorf("it has signed %v since", now[signed:])
			}
			shut(t, tree)
		})
	}
}

func TestOpen_JournalOfAnotherLedger(t *testing.T) {
	w := newWorld(t)
	path := w.path(t)
	shut(t, w.follow(t, path))
	tree := open(t, path)
	if err := tree.Follow(newWorld(t).journal); err == nil || !strings.Contains(err.Error(), "is of the ledger "+w.journal.Epoch().String()) {
		t.Errorf("follow the journal of another ledger: %v", err)
	}
}
