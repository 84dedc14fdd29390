package replica_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"time"

	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/replica"
)

// history is the model: every state that a tenant ever had, kept as plain maps.
type history struct {
	tenant ledger.Tenant
	// states by revision; the first is the empty one before any commit.
	states  []map[ledger.Key]replica.Entry
	touched map[ledger.Key]ledger.Revision // set or deleted last
	commits []committed                    // by revision, from @1
}

type committed struct {
	ledger.Result
	set ledger.ChangeSet
	// previous of each change.
	previous []ledger.Revision
}

func newHistory(t ledger.Tenant) *history {
	return &history{tenant: t, states: []map[ledger.Key]replica.Entry{{}}, touched: make(map[ledger.Key]ledger.Revision)}
}

// head is the newest revision.
func (h *history) head() ledger.Revision { return ledger.Revision(len(h.commits)) }

// add applies a change set that was committed.
func (h *history) add(t failer, set ledger.ChangeSet, got ledger.Result) {
	t.Helper()
	if got.Revision != h.head()+1 {
		t.Fatalf("%s: the change set became %s after %s", h.tenant, got.Revision, h.head())
	}
	state := maps.Clone(h.states[h.head()])
	c := committed{Result: got, set: set}
	for _, ch := range set.Changes {
		c.previous = append(c.previous, h.touched[ch.Key])
		h.touched[ch.Key] = got.Revision
		if ch.Delete {
			delete(state, ch.Key)
		} else {
			state[ch.Key] = replica.Entry{Key: ch.Key, Value: ch.Value, Revision: got.Revision}
		}
	}
	h.states = append(h.states, state)
	h.commits = append(h.commits, c)
}

// write commits change sets, one after the other but all waiting together, so
// that several may share a record.
func (h *history) write(t failer, l *ledger.Ledger, sets ...ledger.ChangeSet) {
	t.Helper()
	pending := make([]*ledger.Pending, len(sets))
	for i, set := range sets {
		var err error
		if pending[i], err = l.Submit(context.Background(), h.tenant, set, nil); err != nil {
			t.Fatal(err)
		}
	}
	for i, set := range sets {
		got, err := pending[i].Wait(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		h.add(t, set, got)
	}
}

// at is the newest revision that is not later, 0 when there is none.
func (h *history) at(at time.Time) ledger.Revision {
	after, _ := slices.BinarySearchFunc(h.commits, at, func(c committed, at time.Time) int {
		if c.Time.After(at) {
			return 1
		}
		return -1
	})
	return ledger.Revision(after)
}

// selected are the entries under a prefix at or after a key, in order.
func (h *history) selected(r ledger.Revision, prefix ledger.Prefix, from ledger.Key) []replica.Entry {
	var out []replica.Entry
	for _, key := range slices.Sorted(maps.Keys(h.states[r])) {
		if prefix.Match(key) && key >= from {
			out = append(out, h.states[r][key])
		}
	}
	return out
}

// keys that were ever set.
func (h *history) keys() []ledger.Key { return slices.Sorted(maps.Keys(h.touched)) }

// compareState says how the replica's state at a revision or time differs from the expected
// one. Prefixes are listed in pages of a few keys.
func (h *history) compareState(r *replica.Replica, at replica.At, want ledger.Revision, keys []ledger.Key, prefixes []ledger.Prefix) error {
	v, err := r.View(h.tenant, at)
	if err != nil {
		return fmt.Errorf("view %s at %v: %w", h.tenant, at, err)
	}
	defer v.Close()
	if got := v.State(); got.Revision != want || got.Head != h.head() {
		return fmt.Errorf("view %s at %v is of %s with head %s, want %s with %s", h.tenant, at, got.Revision, got.Head, want, h.head())
	}
	return h.compareView(v, want, keys, prefixes)
}

func (h *history) compareView(v *replica.View, want ledger.Revision, keys []ledger.Key, prefixes []ledger.Prefix) error {
	for _, key := range keys {
		e, ok, err := v.Get(key)
		if err != nil {
			return fmt.Errorf("get %s of %s%s: %w", key, h.tenant, want, err)
		}
		if entry, set := h.states[want][key]; set != ok || entry != e {
			return fmt.Errorf("get %s of %s%s = %v, %v; want %v, %v", key, h.tenant, want, e, ok, entry, set)
		}
	}
	for i, prefix := range prefixes {
		page, from := 1+i%4, ledger.Key("")
		if i%3 == 2 {
			from = ledger.Key(prefix) + "a/b"
		}
		for more := true; more; {
			all := h.selected(want, prefix, from)
			expected := all[:min(page, len(all))]
			var got []replica.Entry
			more = false
			for e, err := range v.List(prefix, from) {
				if err != nil {
					return fmt.Errorf("list %q of %s%s: %w", prefix, h.tenant, want, err)
				}
				if len(got) == page {
					more, from = true, e.Key // where the next page begins
					break
				}
				got = append(got, e)
			}
			if !slices.Equal(got, expected) || more != (len(all) > page) {
				return fmt.Errorf("list %q of %s%s = %v (more: %v), want the first %d of %v", prefix, h.tenant, want, got, more, page, all)
			}
		}
	}
	return nil
}

// listsRight compares the whole state at a revision, read in one listing.
func (h *history) listsRight(r *replica.Replica, rev ledger.Revision) error {
	v, err := r.View(h.tenant, replica.At{Revision: rev})
	if err != nil {
		return fmt.Errorf("view %s%s: %w", h.tenant, rev, err)
	}
	defer v.Close()
	want := h.selected(rev, "", "")
	for _, list := range []func(ledger.Prefix, ledger.Key) iter.Seq2[replica.Entry, error]{v.List, v.Keys} {
		got, err := collect(list("", ""))
		if err != nil {
			return fmt.Errorf("list %s%s: %w", h.tenant, rev, err)
		}
		if !slices.Equal(got, want) {
			return fmt.Errorf("list %s%s: %d entries, not the %d that were set", h.tenant, rev, len(got), len(want))
		}
		for i := range want { // for Keys
			want[i].Value = ""
		}
	}
	return nil
}

// compareCommits says how the replica's commits differ: by revision, by the
// beginning of their ids, and by request id.
func (h *history) compareCommits(r *replica.Replica, idBytes ...int) error {
	v, err := r.View(h.tenant, replica.At{})
	if err != nil {
		return fmt.Errorf("view %s: %w", h.tenant, err)
	}
	defer v.Close()
	var out *ledger.RangeError
	for _, rev := range []ledger.Revision{0, h.head() + 1} {
		if _, err := v.Commit(rev); !errors.As(err, &out) {
			return fmt.Errorf("commit %s%s: %v", h.tenant, rev, err)
		}
	}
	if _, err := v.FindID(make([]byte, 32)); !errors.Is(err, ledger.ErrNotFound) {
		return fmt.Errorf("find an id of no commit of %s: %w", h.tenant, err)
	}
	if rev, ok, err := v.Request("never made"); ok || err != nil {
		return fmt.Errorf("request that was never made = %s, %v, %w", rev, ok, err)
	}
	var before ledger.Head
	for _, want := range h.commits {
		c, err := v.Commit(want.Revision)
		if err != nil {
			return fmt.Errorf("commit %s%s: %w", h.tenant, want.Revision, err)
		}
		if err := want.compare(c); err != nil {
			return fmt.Errorf("commit %s%s: %w", h.tenant, want.Revision, err)
		}
		if err := c.Follows(before); err != nil {
			return err
		}
		before = c.Head(0)
		for _, n := range idBytes {
			if rev, err := v.FindID(want.ID[:n]); err != nil || rev != want.Revision {
				return fmt.Errorf("find %x of %s = %s, %w; want %s", want.ID[:n], h.tenant, rev, err, want.Revision)
			}
		}
		if id := c.RequestName(); id != "" {
			if rev, ok, err := v.Request(id); err != nil || !ok || rev != want.Revision {
				return fmt.Errorf("request %s of %s = %s, %v, %w; want %s", id, h.tenant, rev, ok, err, want.Revision)
			}
		}
	}
	return nil
}

func (want *committed) compare(c *ledger.Commit) error {
	if c.ID != want.ID || c.Revision != want.Revision || !c.Time.Equal(want.Time) || c.RequestID != want.set.RequestID || c.Message != want.set.Message {
		return fmt.Errorf("%s at %s: %q, want %s at %s: %q", c.ID, c.Time, c.Message, want.ID, want.Time, want.set.Message)
	}
	if id := ledger.IDOf(bytes.Clone(c.Encoded)); id != want.ID {
		return fmt.Errorf("its bytes hash to %s, not %s", id, want.ID)
	}
	if len(c.Changes) != len(want.set.Changes) {
		return fmt.Errorf("it has %d changes, want %d", len(c.Changes), len(want.set.Changes))
	}
	for i, ch := range want.set.Changes {
		ch.Previous = want.previous[i]
		if c.Changes[i] != ch {
			return fmt.Errorf("change %d is %v, want %v", i, c.Changes[i], ch)
		}
	}
	return nil
}
