package replica_test

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/replica"
)

// fork makes another journal that has the first messages of this one, and
// commits other things after them.
func fork(t *testing.T, j *fakeJournal, keep int, commits int, tenants ...ledger.Tenant) *fakeJournal {
	t.Helper()
	f := j.clone()
	f.messages = f.messages[:keep]
	n := start(t, filepath.Join(t.TempDir(), "fork.db"), f)
	defer n.close(t)
	for i := range commits {
		set := ledger.ChangeSet{Changes: []ledger.Change{{Key: "a", Value: ledger.Value(fmt.Sprintf(`"forked %d"`, i))}}}
		if _, err := n.ledger.Commit(t.Context(), tenants[i%len(tenants)], set); err != nil {
			t.Fatal(err)
		}
	}
	return f
}

// A replica has seen ten commits, one per message. Then the journal contradicts them.
// The replica must stop, and keep serving what it has seen.
func TestReplica_ContradictingJournalStopsIt(t *testing.T) {
	const seen = 10
	record := func(f *fakeJournal, seq ledger.Sequence) []byte { return f.messages[seq-1].Record }
	for _, tc := range []struct {
		name string
		// change alters the journal, which has two more messages that were not seen.
		change func(t *testing.T, j *fakeJournal)
		want   string // part of the reason
		// rewritten is what was seen, which only a restart reads again.
		rewritten bool
	}{
		{"it ends before what was seen", func(t *testing.T, j *fakeJournal) {
			j.messages = j.messages[:seen-1]
		}, "it ends at message 9, and 10 was seen", false},
		{"it is empty", func(t *testing.T, j *fakeJournal) {
			j.messages = nil
		}, "it ends at message 0, and 10 was seen", false},
		{"it lost the last message that was seen", func(t *testing.T, j *fakeJournal) {
			j.messages = slices.Delete(j.messages, seen-1, seen)
		}, "it has lost message 10", true},
		{"the last message that was seen is another", func(t *testing.T, j *fakeJournal) {
			j.messages = fork(t, j, seen-1, 3, "acme").messages
		}, "where the replica has seen", true},
		{"the last message that was seen is another tenant's", func(t *testing.T, j *fakeJournal) {
			j.messages = fork(t, j, seen-1, 3, "umbrella").messages
		}, "commit umbrella@1 contradicts what was seen: the journal holds it where the replica has seen no such commit", true},
		{"the last message that was seen is a later commit", func(t *testing.T, j *fakeJournal) {
			j.messages[seen-1].Record = record(j, seen+1)
		}, "commit acme@11 contradicts what was seen: the journal holds it where the replica has seen no such commit", true},
		{"the last message that was seen is no record", func(t *testing.T, j *fakeJournal) {
			j.messages[seen-1].Record = []byte{0xff}
		}, "message 10:", true},
		{"it was restored from a backup and written to", func(t *testing.T, j *fakeJournal) {
			j.messages = fork(t, j, 5, 7, "acme").messages
		}, "where the replica has seen", true},
		{"a message is missing", func(t *testing.T, j *fakeJournal) {
			j.messages = slices.Delete(j.messages, seen, seen+1)
		}, "lost messages: after 10 comes 12", false},
		{"a message is missing in the middle", func(t *testing.T, j *fakeJournal) {
			j.careless = true
			j.messages = slices.Delete(j.messages, seen, seen+1)
		}, "lost messages: after 10 comes 12", false},
		{"the next message has another parent", func(t *testing.T, j *fakeJournal) {
			other := fork(t, j, seen-1, 2, "acme")
			j.messages[seen].Record = record(other, seen+1) // acme@11, after another acme@10
		}, "its parent is", false},
		{"the next message repeats an old revision with another commit", func(t *testing.T, j *fakeJournal) {
			other := fork(t, j, 4, 1, "acme")
			j.messages[seen].Record = record(other, 5)
		}, "commit acme@5 contradicts what was seen: it comes after @10", false},
		{"the next message is cut", func(t *testing.T, j *fakeJournal) {
			j.messages[seen].Record = record(j, seen+1)[:20]
		}, "message 11:", false},
		{"the next message is empty", func(t *testing.T, j *fakeJournal) {
			j.messages[seen].Record = nil
		}, "holds no commit", false},
		{"the last message that was seen has a second tenant", func(t *testing.T, j *fakeJournal) {
			j.messages[seen-1].Record = slices.Concat(record(j, seen), record(fork(t, j, 0, 1, "umbrella"), 1))
		}, "commit umbrella@1 contradicts what was seen: the journal holds it where the replica has seen no such commit", true},
		// Of a record whose second tenant is wrong, the first one's commits are not taken.
		{"the second tenant of the next message has another parent", func(t *testing.T, j *fakeJournal) {
			other := fork(t, j, seen-1, 2, "acme")
			j.messages[seen].Record = slices.Concat(record(fork(t, j, 0, 1, "umbrella"), 1), record(other, seen+1))
		}, "its parent is", false},
		{"the second tenant of the next message has a gap", func(t *testing.T, j *fakeJournal) {
			j.messages[seen].Record = slices.Concat(record(j, seen+1), record(fork(t, j, 0, 2, "umbrella"), 2))
		}, "commit umbrella@2 contradicts what was seen: it comes after @0", false},
		{"the second tenant of the next message is another ledger's", func(t *testing.T, j *fakeJournal) {
			other := newFakeJournal()
			other.epoch = ledger.Epoch{9}
			j.messages[seen].Record = slices.Concat(record(j, seen+1), record(fork(t, other, 0, 1, "umbrella"), 1))
		}, "commit umbrella@1 contradicts what was seen: it is of the ledger", false},
		{"the next message has a tenant in two places", func(t *testing.T, j *fakeJournal) {
			j.messages[seen].Record = slices.Concat(record(j, seen+1), record(fork(t, j, 0, 1, "umbrella"), 1), record(j, seen+2))
		}, "in two places", false},
		{"the next message is another ledger's", func(t *testing.T, j *fakeJournal) {
			other := newFakeJournal()
			other.epoch = ledger.Epoch{9}
			other = fork(t, other, 0, 1, "umbrella")
			j.messages[seen] = other.messages[0]
			j.messages[seen].Sequence = seen + 1
		}, "it is of the ledger", false},
	} {
		for _, away := range []bool{true, false} {
			if tc.rewritten && !away {
				continue
			}
			name := tc.name + " while it follows"
			if away {
				name = tc.name + " while it was not connected"
			}
			// In a bubble, because a journal's end is believed only after a while.
			t.Run(name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					path := filepath.Join(t.TempDir(), "replica.db")
					j := newFakeJournal()
					n := start(t, path, j)
					h := newHistory("acme")
					for i := 1; i <= seen; i++ {
						h.write(t, n.ledger, churn(i))
					}
					synctest.Wait() // everything was delivered as well
					longer := fork(t, j, seen, 2, "acme")
					tc.change(t, longer)
					if away {
						n.close(t)
						n.Replica = open(t, path)
						if err := n.Follow(longer); err != nil {
							t.Fatal(err)
						}
					} else {
						j.alter(func() { j.messages, j.careless = longer.messages, longer.careless })
					}
					defer n.close(t)
					eventually(t, "the replica stops", func() bool { return n.Stopped() != nil })
					if err := reason(n.Stopped()); !strings.Contains(err.Error(), tc.want) {
						t.Errorf("stopped because %q, want %q", err, tc.want)
					}
					// The text is for all callers, also of other tenants.
					if text := n.Stopped().Error(); strings.Contains(text, "acme") || strings.Contains(text, "umbrella") {
						t.Errorf("the text names a tenant: %s", text)
					}
					// It may have got as far as the commits that are right.
					if got := n.Head(h.tenant); got.Revision != seen || got.ID != h.commits[seen-1].ID {
						t.Errorf("head %s, want @%d", got.Revision, seen)
					}
					if err := compareAll(n.Replica, h); err != nil {
						t.Error(err)
					}
					v, err := n.View(h.tenant, replica.At{})
					if err != nil {
						t.Fatal(err)
					}
					defer v.Close()
					if !v.State().Stale {
						t.Error("the replica has stopped and its answers are not stale")
					}
					if n.Head("umbrella").Revision != 0 {
						t.Error("it took a commit from the journal that contradicts it")
					}
					if err := n.Apply(t.Context(), seen+1, nil); !errors.Is(err, ledger.ErrReadOnly) {
						t.Errorf("apply to a stopped replica: %v", err)
					}
				})
			})
		}
	}
}

// reason is the reason of a replica that has stopped.
func reason(err error) error {
	var stopped *ledger.StoppedError
	if errors.As(err, &stopped) {
		return stopped.Reason
	}
	return err
}

func TestOpen_JournalOfAnotherLedger(t *testing.T) {
	path := filepath.Join(t.TempDir(), "replica.db")
	j := newFakeJournal()
	n := start(t, path, j)
	h := newHistory("acme")
	h.write(t, n.ledger, churn(1))
	n.close(t)
	r := open(t, path)
	other := newFakeJournal()
	other.epoch = ledger.Epoch{9}
	if err := r.Follow(other); err == nil || !strings.Contains(err.Error(), "is of the ledger 0102030000000000") {
		t.Errorf("follow the journal of another ledger: %v", err)
	}
	if err := compareAll(r, h); err != nil {
		t.Error(err)
	}
}

// What this process appended itself is visible before the journal delivers it.
// The delivery must be the same.
func TestReplica_ContradictingDeliveryStopsIt(t *testing.T) {
	j := newFakeJournal()
	n := start(t, filepath.Join(t.TempDir(), "replica.db"), j)
	defer n.close(t)
	h := newHistory("acme")
	h.write(t, n.ledger, churn(1))
	one := fork(t, j, 1, 1, "acme").messages[1]
	two := fork(t, j, 1, 1, "acme").messages[1]
	commits, err := ledger.DecodeRecord(one.Record)
	if err != nil {
		t.Fatal(err)
	}
	if err := n.Apply(t.Context(), 2, commits); err != nil {
		t.Fatal(err)
	}
	j.alter(func() { j.messages = append(j.messages, two) })
	eventually(t, "the replica stops", func() bool { return n.Stopped() != nil })
	if err := reason(n.Stopped()); !strings.Contains(err.Error(), "where the replica has seen") {
		t.Error(err)
	}
	if got := n.Head("acme").ID; got != commits[0].ID {
		t.Errorf("the head is %s, no longer what was answered", got)
	}
}
