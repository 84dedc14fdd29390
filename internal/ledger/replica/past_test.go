package replica_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/replica"
)

// differences are the changes that make the state at one revision that at another,
// under a prefix, in the order of their keys.
func (h *history) differences(from, to ledger.Revision, prefix ledger.Prefix) []ledger.Change {
	keys := maps.Clone(h.states[from])
	maps.Copy(keys, h.states[to])
	var out []ledger.Change
	for _, key := range slices.Sorted(maps.Keys(keys)) {
		was, is := h.states[from][key], h.states[to][key]
		if prefix.Match(key) && was.Value != is.Value {
			out = append(out, ledger.Change{Key: key, Value: is.Value, Delete: is.Value == ""})
		}
	}
	return out
}

// rollback goes back and compares the new commit with the model.
func (h *history) rollback(t failer, l *ledger.Ledger, to ledger.Revision, prefix ledger.Prefix) {
	t.Helper()
	head := h.head()
	got, err := l.Rollback(context.Background(), h.tenant, ledger.Rollback{To: to, Prefix: prefix, Request: ledger.Request{Message: "back", ExpectedHead: &head}})
	if err != nil {
		t.Fatalf("roll %s back to %s: %v", h.tenant, to, err)
	}
	h.restored(t, got, h.differences(head, to, prefix), "back")
	for _, ch := range h.differences(h.head(), to, prefix) {
		t.Fatalf("%s differs after the rollback of %q to %s", ch.Key, prefix, to)
	}
}

// revert takes commits back and compares the new one with the model.
func (h *history) revert(t failer, l *ledger.Ledger, revisions []uint64) {
	t.Helper()
	req := ledger.Revert{Request: ledger.Request{Message: "undo"}}
	for _, r := range revisions {
		req.Revisions = append(req.Revisions, ledger.Revision(r))
	}
	want, blocked := h.takenBack(req.Revisions)
	got, err := l.Revert(context.Background(), h.tenant, req)
	var later *ledger.RevertError
	switch {
	case errors.As(err, &later):
		if !slices.Equal(later.Conflicts, blocked) {
			t.Fatalf("revert %d in %s: %v, want %v", revisions, h.tenant, later.Conflicts, blocked)
		}
		return
	case err != nil:
		t.Fatalf("revert %d in %s: %v", revisions, h.tenant, err)
	case len(blocked) > 0:
		t.Fatalf("revert %d in %s succeeds; want %v", revisions, h.tenant, blocked)
	}
	h.restored(t, got, want, "undo")
}

// takenBack are the changes that undo commits, or what stands in the way.
func (h *history) takenBack(revisions []ledger.Revision) (want []ledger.Change, blocked []ledger.RevertConflict) {
	oldest := make(map[ledger.Key]ledger.Revision) // that is undone
	for _, r := range slices.Backward(slices.Sorted(slices.Values(revisions))) {
		for _, ch := range h.commits[r-1].set.Changes {
			// The newest commit after r that changed the key and stays.
			var stays ledger.Revision
			for later := h.head(); later > r && stays == 0; later-- {
				if h.changed(later, ch.Key) && !slices.Contains(revisions, later) {
					stays = later
				}
			}
			if stays > 0 {
				blocked = append(blocked, ledger.RevertConflict{Key: ch.Key, Reverted: r, Later: h.blocker(r, ch.Key, revisions)})
			}
			oldest[ch.Key] = r
		}
	}
	for _, key := range slices.Sorted(maps.Keys(oldest)) {
		was, is := h.states[oldest[key]-1][key], h.states[h.head()][key]
		if was.Value != is.Value {
			want = append(want, ledger.Change{Key: key, Value: was.Value, Delete: was.Value == ""})
		}
	}
	return want, blocked
}

// blocker is the newest commit that changed the key and is not undone.
func (h *history) blocker(after ledger.Revision, key ledger.Key, revisions []ledger.Revision) ledger.Revision {
	for r := h.head(); r > after; r-- {
		if h.changed(r, key) && !slices.Contains(revisions, r) {
			return r
		}
	}
	return 0
}

func (h *history) changed(r ledger.Revision, key ledger.Key) bool {
	return slices.ContainsFunc(h.commits[r-1].set.Changes, func(ch ledger.Change) bool { return ch.Key == key })
}

// restored adds the commit that put changes back, if any were needed.
func (h *history) restored(t failer, got ledger.Restored, want []ledger.Change, message string) {
	t.Helper()
	if !slices.EqualFunc(got.Changes, want, func(a, b ledger.Change) bool { a.Previous = 0; return a == b }) {
		t.Fatalf("%s: restored with %v, want %v", h.tenant, got.Changes, want)
	}
	if (got.Result == nil) != (len(want) == 0) {
		t.Fatalf("%s: %d changes became the commit %v", h.tenant, len(want), got.Result)
	}
	if got.Result != nil {
		h.add(t, ledger.ChangeSet{Message: message, Changes: want}, *got.Result)
	}
}

// compareHistory describes how the replica's past differs.
func (h *history) compareHistory(r *replica.Replica) error {
	v, err := r.View(h.tenant, replica.At{})
	if err != nil {
		return fmt.Errorf("view %s: %w", h.tenant, err)
	}
	defer v.Close()
	head := h.head()
	queries := []replica.Query{{}, {Author: "alice"}, {Author: "nobody"}, {Grep: "BACK"}, {Grep: "é"}}
	for _, key := range hostileKeys {
		queries = append(queries, replica.Query{Names: []ledger.Name{ledger.Name(key)}}, replica.Query{Names: []ledger.Name{ledger.Name(key)}, Author: "alice"})
	}
	for _, prefix := range prefixes {
		queries = append(queries, replica.Query{Names: []ledger.Name{ledger.Name(prefix + "*")}})
	}
	for i, q := range queries {
		q.From, q.To = head-min(head, ledger.Revision(i%3)), ledger.Revision(i%5)
		if err := h.compareLog(v, q, 1+i%4); err != nil {
			return err
		}
	}
	for r := ledger.Revision(1); r <= head; r++ {
		s, id, err := v.Summary(r)
		if want := h.commits[r-1]; err != nil || id != want.ID || s != (ledger.Summary{Revision: r, Time: s.Time, Author: want.set.Author, Message: want.set.Message, Origin: s.Origin}) || !s.Time.Equal(want.Time) {
			return fmt.Errorf("summary of %s%s = %v %s, %w", h.tenant, r, s, id, err)
		}
	}
	var times []time.Time
	var newest []ledger.Revision
	for i, c := range h.commits {
		for _, at := range []time.Time{c.Time.Add(-1), c.Time} {
			if len(times) > 0 && at.Before(times[len(times)-1]) {
				continue
			}
			times = append(times, at)
			r := ledger.Revision(i)
			for r < head && !h.commits[r].Time.After(at) {
				r++
			}
			newest = append(newest, r)
		}
	}
	if got, err := v.RevisionsAt(times); err != nil || !slices.Equal(got, newest) {
		return fmt.Errorf("revisions of %s at %v are %v, not %v: %w", h.tenant, times, got, newest, err)
	}
	for from := range h.states {
		for _, to := range []int{0, len(h.states) / 2, len(h.states) - 1} {
			for _, prefix := range []ledger.Prefix{"", "a/b"} {
				if err := h.compareDiff(v, ledger.Revision(from), ledger.Revision(to), prefix); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// compareLog reads what a query selects in pages.
func (h *history) compareLog(v *replica.View, q replica.Query, page int) error {
	var want, got []ledger.Revision
	for r := q.From; r > 0 && r >= q.To; r-- {
		set := h.commits[r-1].set
		if (q.Author == "" || q.Author == set.Author) && strings.Contains(strings.ToLower(set.Message), strings.ToLower(q.Grep)) && slices.ContainsFunc(set.Changes, func(ch ledger.Change) bool {
			if len(q.Names) == 0 {
				return true
			}
			name, all := strings.CutSuffix(string(q.Names[0]), "*")
			return string(ch.Key) == name || all && strings.HasPrefix(string(ch.Key), name)
		}) {
			want = append(want, r)
		}
	}
	for pages := q; ; {
		n := 0
		log := v.Log(pages)
		for c, err := range log.All() {
			if err != nil {
				return fmt.Errorf("log of %s by %+v: %w", h.tenant, q, err)
			}
			if n == page {
				break
			}
			n++
			got = append(got, c.Revision)
		}
		if pages.From = log.Next(); pages.From == 0 {
			break
		}
	}
	if !slices.Equal(got, want) {
		return fmt.Errorf("log of %s by %+v = %v, want %v", h.tenant, q, got, want)
	}
	return nil
}

// compareDiff reads the difference of two revisions in pages of two keys.
func (h *history) compareDiff(v *replica.View, from, to ledger.Revision, prefix ledger.Prefix) error {
	var got []ledger.Change
	for start, more := ledger.Key(""), true; more; {
		n := 0
		more = false
		for d, err := range v.Diff(from, to, prefix, start) {
			if err != nil {
				return fmt.Errorf("diff of %s%s and %s: %w", h.tenant, from, to, err)
			}
			if n == 2 {
				start, more = d.Key, true
				break
			}
			n++
			if was := h.states[from][d.Key]; was.Value != d.From.Value || was.Value != "" && was.Revision != d.From.Revision {
				got = append(got, ledger.Change{Key: "the old value of " + d.Key})
			}
			if is := h.states[to][d.Key]; is.Value != "" && is.Revision != d.To.Revision {
				got = append(got, ledger.Change{Key: "the new revision of " + d.Key})
			}
			got = append(got, d.Change())
		}
	}
	if want := h.differences(from, to, prefix); !slices.Equal(got, want) {
		return fmt.Errorf("diff of %s%s and %s under %q = %v, want %v", h.tenant, from, to, prefix, got, want)
	}
	return nil
}
