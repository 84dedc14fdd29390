package replica

import (
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/internal/boltfile"
)

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
	v = &View{r: r, s: s, tenant: t, faults: debug.SetPanicOnFault(true)}
	defer v.guard(&err)
	if err := v.open(); err != nil {
		return nil, err
	}
	if err := v.moveTo(at); err != nil {
		v.Close()
		return nil, err
	}
	return v, nil
}

var errNotBuilt = fmt.Errorf("%w: the replica is still being built from the journal; try again", ledger.ErrUnavailable)

func (v *View) open() error {
	v.s.mu.RLock()
	defer v.s.mu.RUnlock()
	if v.s.current.IsZero() {
		return errNotBuilt
	}
	v.current = v.s.current
	v.active, v.frozen = v.s.active, v.s.frozen
	if ts := v.s.tenants[v.tenant]; ts != nil {
		v.newest = ts.head
		v.head = ts.head.Revision
		v.kept = ts.start
		v.rev, v.id = v.head, ts.head.ID
	}
	tx, err := v.s.db.Begin(false)
	if err != nil {
		return fmt.Errorf("%w: read replica: %w", ledger.ErrUnavailable, err)
	}
	v.tx = tx
	return nil
}

// Close ends the view. It may be called more than once.
func (v *View) Close() {
	if v.tx != nil {
		_ = v.tx.Rollback() // of a read transaction: only "already closed"
		v.tx = nil
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
	age := time.Since(v.current)
	old := v.r.cfg.StaleAfter > 0 && age > v.r.cfg.StaleAfter
	return State{
		Revision: v.rev,
		ID:       v.id,
		Head:     v.head,
		Age:      age,
		Stale:    old || v.r.Stopped() != nil,
	}
}

// Head is the tenant's newest commit when the view was opened.
func (v *View) Head() ledger.Head { return v.newest }

// Get returns a key's entry; ok is false when it is not set.
func (v *View) Get(key string) (e Entry, ok bool, err error) {
	defer v.guard(&err)
	return v.get(key)
}

// List yields the entries under the prefix in the order of their keys, from the
// first key at or after from, until yield returns false.
func (v *View) List(prefix ledger.Prefix, from string, yield func(Entry) bool) (err error) {
	defer v.guard(&err)
	return v.list(prefix, from, yield)
}

// Keys is List without the values, which it need not read.
func (v *View) Keys(prefix ledger.Prefix, from string, yield func(Entry) bool) (err error) {
	defer v.guard(&err)
	return v.listKeys(prefix, from, yield)
}

// HistoryStart is the first revision whose history the replica keeps, and its time; ok is
// false if it keeps all.
func (v *View) HistoryStart() (rev ledger.Revision, at time.Time, ok bool, err error) {
	defer v.guard(&err)
	if v.kept <= 1 {
		return 0, at, false, nil
	}
	nanos, err := v.timeOf(v.kept)
	return v.kept, time.Unix(0, nanos), err == nil, err
}

// CheckKept returns a *ledger.HistoryError if some commit from a revision on is not kept.
func (v *View) CheckKept(from ledger.Revision) (err error) {
	defer v.guard(&err)
	if from >= v.kept {
		return nil
	}
	return v.notKept(from, time.Time{})
}

// notKept is the error about a revision or a time before the kept history.
func (v *View) notKept(rev ledger.Revision, at time.Time) error {
	first, err := v.timeOf(v.kept)
	if err != nil {
		return err
	}
	return &ledger.HistoryError{Tenant: v.tenant, Revision: rev, Time: at, First: v.kept, FirstTime: time.Unix(0, first), Upstream: v.r.cfg.Upstream}
}

// Commit returns one commit. The error is a *ledger.RangeError when the view's
// head is older, and a *ledger.HistoryError when the commit is not kept. A commit before
// the history that is kept is there as long as it has set a value that is in force.
func (v *View) Commit(rev ledger.Revision) (c *ledger.Commit, err error) {
	defer v.guard(&err)
	return v.commit(rev)
}

// FindID finds a commit by the first bytes of its id, at least four.
func (v *View) FindID(id []byte) (rev ledger.Revision, err error) {
	defer v.guard(&err)
	if len(id) < idBytes {
		return 0, ledger.Invalid("id", fmt.Sprintf("give at least %d bytes of it", idBytes))
	}
	return v.findID(id)
}

// Request finds the commit that a request made. One that is not kept is not found;
// that does no harm, because a replica that drops history takes no writes.
func (v *View) Request(name ledger.RequestName) (rev ledger.Revision, ok bool, err error) {
	defer v.guard(&err)
	return v.request(name)
}

// Newest returns the revision that last set or deleted the key (0 if there is none) and
// whether it is set.
func (v *View) Newest(key ledger.Key) (rev ledger.Revision, set bool, err error) {
	defer v.guard(&err)
	if found, ok := v.tailVersion(string(key), v.rev); ok {
		return found.revision, found.value != "", nil
	}
	p, ok, err := v.storedVersion(nameKey(v.tenant, string(key)), v.rev)
	return p.revision, ok && p.length > 0, err
}

// guard turns damage, found by a checksum or by a panic of bbolt, into
// ErrUnavailable, and has the file rebuilt.
func (v *View) guard(err *error) {
	if p := recover(); p != nil {
		*err = damaged("%v\n%s", p, debug.Stack())
	}
	if errors.Is(*err, boltfile.ErrDamaged) {
		v.r.reportDamage(v.s, *err)
		*err = fmt.Errorf("%w: the replica's file is damaged and is being rebuilt from the journal; try again", ledger.ErrUnavailable)
	}
}
