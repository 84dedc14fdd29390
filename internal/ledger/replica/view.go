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

// Entry is a key that is set, by the tenant itself or by one of its bases.
type Entry struct {
	Key      ledger.Key
	Value    ledger.Value
	Revision ledger.Revision
	// Base is where the value is inherited from. Revision is then the newest at which the
	// tenant's list of bases was set or its own value deleted.
	Base ledger.Source
}

// View is a tenant's state at one revision, with the values that it inherits from its
// bases, and its commits up to the head that it had when the view was opened. It stays the
// same for as long as it is open, and belongs to the goroutine that opened it.
type View struct {
	Commits
	// rev is the revision that is read, and id identifies its commit.
	rev ledger.Revision
	id  ledger.CommitID
	// bases are those at rev, once they are read.
	bases *bases
	// former are the bases that the tenant ever had, once they are read.
	former []layer
	// faults is what SetPanicOnFault was before.
	faults bool
}

// Newest opens the tenant's own state at its head, for writers.
func (r *Replica) Newest(t ledger.Tenant) (ledger.State, error) {
	v, err := r.View(t, At{})
	if err != nil {
		return nil, err
	}
	return own{v}, nil
}

// Own is the tenant's own state at its head, without what it inherits. It is closed with the view.
func (v *View) Own() ledger.State { return own{v} }

// View opens a state of the tenant. Close it, in the same goroutine.
//
// Errors: *ledger.RangeError for a state that the history does not have;
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
		debug.SetPanicOnFault(v.faults)
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

// moveTo goes back to a state of the tenant's history.
func (v *View) moveTo(at At) error {
	if at.Time.IsZero() && at.Revision == 0 && !at.Empty {
		return nil // it is there
	}
	rev, err := v.Resolve(at)
	if err != nil {
		return err
	}
	v.rev, v.id = rev, ledger.CommitID{}
	if rev > 0 {
		v.id, err = v.ID(rev)
	}
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
func (v *View) Get(key ledger.Key) (e Entry, ok bool, err error) {
	defer v.snap.guard(&err)
	own, _, err := v.snap.versionAt(key, v.rev)
	is := effective{version: own}
	if err == nil && is.value == "" && v.snap.bases.revision > 0 {
		var b *bases
		if b, err = v.basesOf(v.rev); err == nil {
			is, err = b.inherit(key, own)
		}
	}
	if err != nil || is.value == "" {
		return Entry{}, false, err
	}
	return Entry{key, is.value, is.revision, is.base}, true, nil
}

// List yields the entries under the prefix in the order of their keys, from the
// first key at or after from.
func (v *View) List(prefix ledger.Prefix, from ledger.Key) iter.Seq2[Entry, error] {
	return v.list(prefix, from, true)
}

// Keys is List without the values, which it need not read.
func (v *View) Keys(prefix ledger.Prefix, from ledger.Key) iter.Seq2[Entry, error] {
	return v.list(prefix, from, false)
}

func (v *View) list(prefix ledger.Prefix, from ledger.Key, values bool) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		keys, err := v.scan(prefix, from, values)
		if err != nil {
			yield(Entry{}, err)
			return
		}
		each(keys.next, nil, func(kv effectiveKey, err error) bool {
			if err == nil && kv.value == "" {
				return true
			}
			if !values {
				kv.value = ""
			}
			return yield(Entry{kv.key, kv.value, kv.revision, kv.base}, err)
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

// own is a tenant's own state, without what it inherits. It is the ledger.State of writers.
type own struct{ *View }

// Effective implements ledger.State.
func (o own) Effective() ledger.Effective { return o.View }

// Version returns the value in force for a key at a revision; the zero Version if the
// key had never been set. The error is a *ledger.HistoryError for a revision before the
// one that the kept history begins after.
func (o own) Version(key ledger.Key, at ledger.Revision) (found ledger.Version, err error) {
	defer o.snap.guard(&err)
	if at > o.snap.head {
		return found, &ledger.RangeError{Tenant: o.snap.tenant, Revision: at, Head: o.snap.head}
	}
	if at > 0 && at+1 < o.snap.kept { // the state just before kept is known, because its commit replaced it
		return found, o.snap.notKept(at, time.Time{})
	}
	got, _, err := o.snap.versionAt(key, at)
	return got.exported(), err
}

// Newest returns the revision that last set or deleted the key (0 if there is none) and
// whether it is set.
func (o own) Newest(key ledger.Key) (rev ledger.Revision, set bool, err error) {
	defer o.snap.guard(&err)
	if found, ok := o.snap.tailVersion(key, o.rev); ok {
		return found.revision, found.value != "", nil
	}
	p, ok, err := o.snap.storedVersion(nameKey(o.snap.tenant, key), o.rev)
	return p.revision, ok && p.length > 0, err
}

// Diff yields the keys under the prefix whose values differ in meaning between two
// revisions, in the order of their keys, from the first at or after start. Either revision
// may be the later.
//
// Only keys that have changed since the older revision are looked up; the newest entry
// of each identifies them.
func (o own) Diff(from, to ledger.Revision, prefix ledger.Prefix, start ledger.Key) iter.Seq2[ledger.KeyDiff, error] {
	return func(yield func(ledger.KeyDiff, error) bool) {
		older := min(from, to)
		keys, err := o.scanDiff(from, to, prefix, start)
		each(keys.next, err, func(kv keyVersion, err error) bool {
			if err == nil && kv.revision <= older {
				return true
			}
			var d ledger.KeyDiff
			if err == nil {
				d, err = o.compare(kv, from, to)
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
func (o own) scanDiff(from, to ledger.Revision, prefix ledger.Prefix, start ledger.Key) (c *scan, err error) {
	defer o.snap.guard(&err)
	if err := o.comparable(from, to); err != nil {
		return nil, err
	}
	return o.snap.scan(prefix, start, o.snap.head, min(from, to), true)
}

// compare is a key at two revisions; newest is its version at the head.
func (o own) compare(newest keyVersion, from, to ledger.Revision) (d ledger.KeyDiff, err error) {
	defer o.snap.guard(&err)
	older, newer := min(from, to), max(from, to)
	was, _, err := o.snap.versionAt(newest.key, older)
	is := newest.version
	if err == nil && is.revision > newer {
		is, _, err = o.snap.versionAt(newest.key, newer)
	}
	d = ledger.KeyDiff{Key: newest.key, From: was.exported(), To: is.exported()}
	if from > to {
		d.From, d.To = d.To, d.From
	}
	return d, err
}

// Changed is View.Changed without inherited values.
func (o own) Changed(since ledger.Revision, start ledger.Key) iter.Seq2[ledger.KeyVersion, error] {
	return func(yield func(ledger.KeyVersion, error) bool) {
		keys, err := o.scanChanged(since, start)
		each(keys.next, err, func(kv keyVersion, err error) bool {
			if err == nil && kv.revision <= since {
				return true
			}
			return yield(ledger.KeyVersion{Key: kv.key, Version: kv.exported()}, err)
		})
	}
}

// scanChanged begins to read the keys that may have changed.
func (o own) scanChanged(since ledger.Revision, start ledger.Key) (c *scan, err error) {
	defer o.snap.guard(&err)
	if since > 0 && since < o.snap.kept {
		return nil, o.snap.notKept(since, time.Time{})
	}
	return o.snap.scan("", start, o.rev, since, true)
}
