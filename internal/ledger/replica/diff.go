package replica

import (
	"time"

	"github.com/stelehq/stele/internal/ledger"
)

// Diff yields the keys under the prefix whose values differ in meaning between two
// revisions, in the order of their keys, from the first at or after start, until yield
// returns false. Either revision may be the later.
//
// Only keys that have changed since the older revision are looked up; the newest entry
// of each identifies them.
func (v *View) Diff(from, to ledger.Revision, prefix ledger.Prefix, start string, yield func(ledger.KeyDiff) bool) (err error) {
	defer v.snap.guard(&err)
	older, newer := min(from, to), max(from, to)
	if newer > v.snap.head {
		return &ledger.RangeError{Tenant: v.snap.tenant, Revision: newer, Head: v.snap.head}
	}
	for _, r := range []ledger.Revision{older, newer} { // the state before any commit is known: it is empty
		if r > 0 && r < v.snap.kept {
			return v.snap.notKept(r, time.Time{})
		}
	}
	var failed error
	err = v.snap.walk(prefix, start, v.snap.head, older, true, func(kv keyVersion) bool {
		if kv.revision <= older {
			return true
		}
		var was version
		is := kv.version
		if was, _, failed = v.snap.versionAt(kv.key, older); failed == nil && kv.revision > newer {
			is, _, failed = v.snap.versionAt(kv.key, newer)
		}
		d := ledger.KeyDiff{
			Key:  ledger.Key(kv.key),
			From: ledger.Version{Revision: was.revision, Value: ledger.Value(was.value)},
			To:   ledger.Version{Revision: is.revision, Value: ledger.Value(is.value)},
		}
		switch {
		case failed != nil:
			return false
		case d.From.Value.Equal(d.To.Value):
			return true
		case from > to:
			d.From, d.To = d.To, d.From
		}
		return yield(d)
	})
	if failed != nil {
		return failed
	}
	return err
}

// Changed yields the keys that were set or deleted after a revision, each with its
// value in force at the view's revision, in the order of the keys, from the first at or
// after start, until yield returns false.
func (v *View) Changed(since ledger.Revision, start string, yield func(ledger.Key, ledger.Version) bool) (err error) {
	defer v.snap.guard(&err)
	if since > 0 && since < v.snap.kept {
		return v.snap.notKept(since, time.Time{})
	}
	return v.snap.walk("", start, v.rev, since, true, func(kv keyVersion) bool {
		return kv.revision <= since || yield(ledger.Key(kv.key), ledger.Version{Revision: kv.revision, Value: ledger.Value(kv.value)})
	})
}
