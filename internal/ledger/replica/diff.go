package replica

import (
	"iter"
	"time"

	"github.com/stelehq/stele/internal/ledger"
)

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
		for err == nil {
			kv, ok, failed := keys.next()
			if err = failed; err != nil || !ok {
				break
			}
			if kv.revision <= older {
				continue
			}
			d, failed := v.compare(kv, from, to)
			if err = failed; err == nil && !d.From.Value.Equal(d.To.Value) && !yield(d, nil) {
				return
			}
		}
		if err != nil {
			yield(ledger.KeyDiff{}, err)
		}
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
		for err == nil {
			kv, ok, failed := keys.next()
			if err = failed; err != nil || !ok {
				break
			}
			if kv.revision > since && !yield(ledger.KeyVersion{Key: ledger.Key(kv.key), Version: kv.exported()}, nil) {
				return
			}
		}
		if err != nil {
			yield(ledger.KeyVersion{}, err)
		}
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
