package replica

import (
	"context"
	"time"
)

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

// Damage reports the file as damaged.
func (r *Replica) Damage() { r.reportDamage(r.store.Load(), damaged("a test says so")) }

// Check reads the whole file, as the scrub does after opening it, and says
// whether that was still the replica's file when it was done.
func (r *Replica) Check(ctx context.Context) (current bool, err error) {
	s := r.store.Load()
	if s == nil {
		return false, errNotBuilt
	}
	err = check(ctx, s.db, nil)
	return r.store.Load() == s, err
}

// Prune drops history as it is at a time, in transactions of about so many changes, and
// calls after with how many tenants are left after each of them.
func (r *Replica) Prune(now time.Time, changes int, after func(left int)) error {
	p := pruner{r.store.Load(), changes}
	todo, err := p.announce(now)
	for err == nil && len(todo) > 0 {
		if todo, err = p.drop(todo); err == nil {
			after(len(todo))
		}
	}
	return err
}

// NoFlushLoop keeps replicas that are opened until restore is called from flushing and
// pruning by themselves.
func NoFlushLoop() (restore func()) {
	was := flushInterval
	flushInterval = time.Hour
	return func() { flushInterval = was }
}
