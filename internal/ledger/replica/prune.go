package replica

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/stelehq/stele/internal/ledger"
	bolt "go.etcd.io/bbolt"
)

// History is how much history a replica keeps. The zero History keeps all.
type History struct {
	// HeadOnly keeps only the state at each tenant's head.
	HeadOnly bool
	// For, if it is not 0, keeps every state that was in force at any time since so long
	// ago.
	For time.Duration
}

func (h History) limited() bool { return h.HeadOnly || h.For > 0 }

// Times between two looks for history to drop: with History.HeadOnly after every flush,
// otherwise rarely, because each look reads a few commits of every tenant.
const pruneInterval = 5 * time.Minute

// maxPruneChanges is about how many changes' commits one transaction drops. It bounds the
// transaction's memory, and how long a flush waits for it.
const maxPruneChanges = 10_000

// dropped reports whether some history was dropped.
func (s *store) dropped() bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, ts := range s.tenants {
		if ts.start > 1 {
			return true
		}
	}
	return false
}

// horizon is from which revision on a tenant's history is to stay.
type horizon struct {
	tenant ledger.Tenant
	keep   ledger.Revision
}

// pruner drops the history that a store need not keep.
type pruner struct {
	store *store
	// changes is about how many changes' commits one transaction drops.
	changes int
}

// prune drops the history in the file that need not be kept at a time, in transactions
// of bounded size. The file is consistent after each of them.
func (p pruner) prune(ctx context.Context, now time.Time) error {
	todo, err := p.announce(now)
	for err == nil && len(todo) > 0 && ctx.Err() == nil {
		todo, err = p.drop(todo)
	}
	return err
}

// announce finds what to drop, and has new readers refuse it. A reader takes start and its
// transaction under one lock, so one that may still ask for more has opened its
// transaction before anything was dropped.
func (p pruner) announce(now time.Time) (todo []horizon, err error) {
	s := p.store
	defer kind.Catch(&err)()
	err = s.db.View(func(tx *bolt.Tx) error {
		return tx.Bucket(bucketTenants).ForEach(func(k, b []byte) error {
			rec, err := parseTenantRecord(k, b)
			if err != nil {
				return err
			}
			t := ledger.Tenant(k)
			keep, err := s.history.horizon(tx, t, rec, now)
			if err == nil && keep > rec.kept {
				todo = append(todo, horizon{t, keep})
			}
			return err
		})
	})
	if err != nil {
		return nil, fmt.Errorf("find history to drop: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, h := range todo {
		todo[i].keep = min(h.keep, s.lowestPin(h.tenant))
		ts := s.tenants[h.tenant]
		ts.start = max(ts.start, todo[i].keep)
	}
	return slices.DeleteFunc(todo, func(h horizon) bool { return h.keep <= s.tenants[h.tenant].kept }), nil
}

// horizon is the first revision to keep: the one that was in force at the beginning of
// the kept time.
func (h History) horizon(tx *bolt.Tx, t ledger.Tenant, rec tenantRecord, now time.Time) (ledger.Revision, error) {
	if h.HeadOnly {
		return rec.head.Revision, nil
	}
	since := now.Add(-h.For).UnixNano()
	commits := tx.Bucket(bucketCommits)
	later, err := firstLater(rec.kept, rec.head.Revision, since, func(r ledger.Revision) (int64, error) {
		key := commitKey(t, r)
		c, err := checkedCommit(t, r, key, commits.Get(key))
		return effectiveTime(rec.marks, r, c.time), err
	})
	if err != nil {
		return 0, err
	}
	return max(later-1, rec.kept), nil
}

// drop drops a part of the history, in one transaction, and returns the rest. After it the file has, for each tenant that it has touched, everything that a
// record with a later kept implies, so a crash costs only the rest of the work.
func (p pruner) drop(todo []horizon) (left []horizon, err error) {
	s := p.store
	s.flushing.Lock()
	defer s.flushing.Unlock()
	defer kind.Catch(&err)()
	var done map[ledger.Tenant]*pruning
	err = s.readings.update(func(tx *bolt.Tx) error {
		done = make(map[ledger.Tenant]*pruning)
		budget := p.changes
		tenants := tx.Bucket(bucketTenants)
		for left = todo; len(left) > 0 && budget > 0; left = left[1:] {
			h := left[0]
			key := []byte(h.tenant)
			rec, err := parseTenantRecord(key, tenants.Get(key))
			if err != nil {
				return err
			}
			part := newPruning(tx, h.tenant, rec, budget)
			if err := part.run(h.keep); err != nil {
				return err
			}
			budget = part.budget
			done[h.tenant] = part
			if err := tenants.Put(key, part.rec.bytes(key)); err != nil {
				return err
			}
			if part.rec.kept < h.keep {
				return nil // the budget is spent, and this tenant's rest is left
			}
		}
		return nil
	})
	if err != nil {
		return todo, fmt.Errorf("drop history: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for t, part := range done {
		ts := s.tenants[t]
		ts.kept = part.rec.kept
		ts.versions -= part.gone // includes those in the tail
	}
	return left, nil
}
