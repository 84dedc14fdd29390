package replica

import "context"

// Flush writes what is applied into the file now.
func (r *Replica) Flush() error { return r.store.Load().flush() }

// FillDisk makes every write that needs more room fail, as on a full disk, until
// it is called with false.
func (r *Replica) FillDisk(full bool) {
	db := r.store.Load().db
	db.MaxSize = 0
	if full {
		db.MaxSize = 1
	}
}

// Check reads the whole file, as the scrub does after opening it, and says
// whether that was still the replica's file when it was done.
func (r *Replica) Check(ctx context.Context) (current bool, err error) {
	s := r.store.Load()
	if s == nil {
		return false, errNotBuilt
	}
	err = s.check(ctx)
	return r.store.Load() == s, err
}
