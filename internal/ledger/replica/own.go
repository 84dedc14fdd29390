package replica

import (
	"iter"
	"time"

	"github.com/stelehq/stele/internal/ledger"
)

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
