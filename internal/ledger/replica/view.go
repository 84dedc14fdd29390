package replica

import (
	"fmt"
	"iter"
	"runtime/debug"
	"time"

	"github.com/stelehq/stele/internal/ledger"
)

// State describes the state that an answer was read from.
type State struct {
	// Revision that the answer is the state of, and its commit.
	Revision ledger.Revision
	ID       ledger.CommitID
	// Head is the newest revision that the replica holds.
	Head ledger.Revision
	// Age is the time since the replica was known to hold everything; negative
	// while that was never known.
	Age time.Duration
	// Stale is set when the replica has stopped following the journal.
	Stale bool
}

// Entry is a key that is set.
type Entry struct {
	Key      string
	Value    string
	Revision ledger.Revision
}

// View is a tenant's state at one revision, and its commits up to the head that it had
// when the view was opened. It stays the same for as long as it is open, and belongs to
// the goroutine that opened it.
type View struct {
	Commits
	// rev is the revision that is read, and id identifies its commit.
	rev ledger.Revision
	id  ledger.CommitID
	// faults is what SetPanicOnFault was before.
	faults bool
}

// Newest opens the tenant's state at its head, for writers.
func (r *Replica) Newest(t ledger.Tenant) (ledger.State, error) {
	v, err := r.View(t, At{})
	if err != nil {
		return nil, err
	}
	return v, nil
}

// View opens the tenant's state at a moment. Close it, in the same goroutine.
//
// Errors: *ledger.RangeError for a moment that the history does not have;
// *ledger.HistoryError for one before the history that the replica keeps;
// ledger.ErrUnavailable while the replica is being built.
func (r *Replica) View(t ledger.Tenant, at At) (v *View, err error) {
	s := r.store.Load()
	if s == nil {
		return nil, errNotBuilt
	}
	v = &View{Commits: Commits{snapshot{r: r, store: s, tenant: t}}, faults: debug.SetPanicOnFault(true)}
	defer v.snap.guard(&err)
	if err := v.snap.open(); err != nil {
		return nil, err
	}
	v.rev, v.id = v.snap.head, v.snap.newest.ID
	if err := v.moveTo(at); err != nil {
		v.Close()
		return nil, err
	}
	return v, nil
}

var errNotBuilt = fmt.Errorf("%w: the replica is still being built from the journal; try again", ledger.ErrUnavailable)

// Close ends the view. It may be called more than once.
func (v *View) Close() {
	if v.snap.close() {
		debug.SetPanicOnFault(v.faults)
	}
}

// moveTo goes back to a moment of the tenant's history.
func (v *View) moveTo(at At) error {
	if at.Time.IsZero() && at.Revision == 0 {
		return nil // it is there
	}
	rev, err := v.Resolve(at)
	if err != nil {
		return err
	}
	v.rev = rev
	v.id, err = v.ID(rev)
	return err
}

// State describes the state that the view's answers are from.
func (v *View) State() State {
	age := time.Since(v.snap.current)
	old := v.snap.r.cfg.StaleAfter > 0 && age > v.snap.r.cfg.StaleAfter
	return State{
		Revision: v.rev,
		ID:       v.id,
		Head:     v.snap.head,
		Age:      age,
		Stale:    old || v.snap.r.Stopped() != nil,
	}
}

// Head is the tenant's newest commit when the view was opened.
func (v *View) Head() ledger.Head { return v.snap.newest }

// Get returns a key's entry; ok is false when it is not set.
func (v *View) Get(key string) (e Entry, ok bool, err error) {
	defer v.snap.guard(&err)
	found, ok, err := v.snap.versionAt(key, v.rev)
	if err != nil || !ok || found.value == "" {
		return Entry{}, false, err
	}
	return Entry{key, found.value, found.revision}, true, nil
}

// List yields the entries under the prefix in the order of their keys, from the
// first key at or after from.
func (v *View) List(prefix ledger.Prefix, from string) iter.Seq2[Entry, error] {
	return v.list(prefix, from, true)
}

// Keys is List without the values, which it need not read.
func (v *View) Keys(prefix ledger.Prefix, from string) iter.Seq2[Entry, error] {
	return v.list(prefix, from, false)
}

func (v *View) list(prefix ledger.Prefix, from string, values bool) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		keys, err := v.snap.scan(prefix, from, v.rev, 0, values)
		each(keys.next, err, func(kv keyVersion, err error) bool {
			if err == nil && kv.value == "" {
				return true
			}
			if !values {
				kv.value = ""
			}
			return yield(Entry{kv.key, kv.value, kv.revision}, err)
		})
	}
}

// each yields what next returns until ok is false, or the error that ends it.
func each[T any](next func() (v T, ok bool, err error), err error, yield func(T, error) bool) {
	for err == nil {
		v, ok, failed := next()
		if err = failed; err == nil && (!ok || !yield(v, nil)) {
			return
		}
	}
	var none T
	yield(none, err)
}

// Version returns the value in force for a key at a revision; the zero Version if the
// key had never been set. The error is a *ledger.HistoryError for a revision before the
// one that the kept history begins after.
func (v *View) Version(key ledger.Key, at ledger.Revision) (found ledger.Version, err error) {
	defer v.snap.guard(&err)
	if at > v.snap.head {
		return found, &ledger.RangeError{Tenant: v.snap.tenant, Revision: at, Head: v.snap.head}
	}
	if at > 0 && at+1 < v.snap.kept { // the state just before kept is known, because its commit replaced it
		return found, v.snap.notKept(at, time.Time{})
	}
	got, _, err := v.snap.versionAt(string(key), at)
	return got.exported(), err
}

// Newest returns the revision that last set or deleted the key (0 if there is none) and
// whether it is set.
func (v *View) Newest(key ledger.Key) (rev ledger.Revision, set bool, err error) {
	defer v.snap.guard(&err)
	if found, ok := v.snap.tailVersion(string(key), v.rev); ok {
		return found.revision, found.value != "", nil
	}
	p, ok, err := v.snap.storedVersion(nameKey(v.snap.tenant, string(key)), v.rev)
	return p.revision, ok && p.length > 0, err
}

// Diff yields the keys under the prefix whose values differ in meaning between two
// revisions, in the order of their keys, from the first at or after start. Either revision
// may be the later.
//
// Only keys that have changed since the older revision are looked up; the newest entry
// of each identifies them.
func (v *View) Diff(from, to ledger.Revision, prefix ledger.Prefix, start string) iter.Seq2[ledger.KeyDiff, error] {
	return func(yield func(ledger.KeyDiff, error) bool) {
		older := min(from, to)
		keys, err := v.scanDiff(from, to, prefix, start)
		each(keys.next, err, func(kv keyVersion, err error) bool {
			if err == nil && kv.revision <= older {
				return true
			}
			var d ledger.KeyDiff
			if err == nil {
				d, err = v.compare(kv, from, to)
			}
			if err != nil {
				yield(ledger.KeyDiff{}, err)
				return false
			}
			return d.From.Value.Equal(d.To.Value) || yield(d, nil)
		})
	}
}

// scanDiff begins to read the keys that may differ.
func (v *View) scanDiff(from, to ledger.Revision, prefix ledger.Prefix, start string) (c *scan, err error) {
	defer v.snap.guard(&err)
	if err := v.comparable(from, to); err != nil {
		return nil, err
	}
	return v.snap.scan(prefix, start, v.snap.head, min(from, to), true)
}

// comparable checks that the states of two revisions are known; the one before any commit
// always is.
func (v *View) comparable(from, to ledger.Revision) error {
	if newer := max(from, to); newer > v.snap.head {
		return &ledger.RangeError{Tenant: v.snap.tenant, Revision: newer, Head: v.snap.head}
	}
	for _, r := range []ledger.Revision{min(from, to), max(from, to)} {
		if r > 0 && r < v.snap.kept {
			return v.snap.notKept(r, time.Time{})
		}
	}
	return nil
}

// compare is a key at two revisions; newest is its version at the head.
func (v *View) compare(newest keyVersion, from, to ledger.Revision) (d ledger.KeyDiff, err error) {
	defer v.snap.guard(&err)
	older, newer := min(from, to), max(from, to)
	was, _, err := v.snap.versionAt(newest.key, older)
	is := newest.version
	if err == nil && is.revision > newer {
		is, _, err = v.snap.versionAt(newest.key, newer)
	}
	d = ledger.KeyDiff{Key: ledger.Key(newest.key), From: was.exported(), To: is.exported()}
	if from > to {
		d.From, d.To = d.To, d.From
	}
	return d, err
}

// Changed yields the keys that were set or deleted after a revision, each with its
// value in force at the view's revision, in the order of the keys, from the first at or
// after start.
func (v *View) Changed(since ledger.Revision, start string) iter.Seq2[ledger.KeyVersion, error] {
	return func(yield func(ledger.KeyVersion, error) bool) {
		keys, err := v.scanChanged(since, start)
		each(keys.next, err, func(kv keyVersion, err error) bool {
			if err == nil && kv.revision <= since {
				return true
			}
			return yield(ledger.KeyVersion{Key: ledger.Key(kv.key), Version: kv.exported()}, err)
		})
	}
}

// scanChanged begins to read the keys that may have changed.
func (v *View) scanChanged(since ledger.Revision, start string) (c *scan, err error) {
	defer v.snap.guard(&err)
	if since > 0 && since < v.snap.kept {
		return nil, v.snap.notKept(since, time.Time{})
	}
	return v.snap.scan("", start, v.rev, since, true)
}
