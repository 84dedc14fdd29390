package replica

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/internal/boltfile"
	"golang.org/x/sync/errgroup"
)

// Upstream is another gateway, or several of the same ledger, that a replica without a
// journal gets its commits from.
type Upstream interface {
	// Epoch is the identity of the ledger.
	Epoch(ctx context.Context) (ledger.Epoch, error)
	// Follow hands over the commits after those that the replica has, until ctx ends or
	// the replica's file fails.
	Follow(ctx context.Context, epoch ledger.Epoch, to *Target) error
}

// FollowUpstream starts following an upstream instead of the journal, until Close. Call
// it once.
func (r *Replica) FollowUpstream(u Upstream) {
	r.done.Go(func() {
		for r.ctx.Err() == nil {
			if err := r.followUpstream(u); err != nil && r.ctx.Err() == nil {
				r.cfg.Log.Warn("the replica cannot follow its upstream; retrying", "error", err)
				select {
				case <-time.After(pollInterval):
				case <-r.ctx.Done():
				}
			}
		}
	})
}

func (r *Replica) followUpstream(u Upstream) error {
	s := r.store.Load()
	if s == nil {
		e, err := u.Epoch(r.ctx)
		if err != nil {
			return err
		}
		if err := r.build(e); err != nil {
			return err
		}
		s = r.store.Load()
	}
	group, ctx := errgroup.WithContext(r.ctx)
	group.Go(func() error { return u.Follow(ctx, s.epoch, &Target{r, s}) })
	group.Go(func() error { return (&followed{r, s}).Run(ctx) })
	err := group.Wait()
	if errors.Is(err, boltfile.ErrDamaged) && r.ctx.Err() == nil {
		return r.rebuild(s.epoch, err)
	}
	return err
}

// Target receives commits from an upstream. It is used by one goroutine.
type Target struct {
	r *Replica
	s *store
}

// Replicated is a commit from an upstream, with its place in the journal.
type Replicated struct {
	Sequence ledger.Sequence
	Commit   *ledger.Commit
}

// Have are the newest commits of all tenants that the replica has, in the order of their
// names.
func (t *Target) Have() []TenantHead {
	t.s.mu.RLock()
	defer t.s.mu.RUnlock()
	return t.s.heads(func(ledger.Tenant) bool { return true })
}

// Discard makes an error that, returned by Upstream.Follow, has the replica's file set
// aside and rebuilt: its content may be wrong.
func Discard(why error) error { return fmt.Errorf("%w: %w", boltfile.ErrDamaged, why) }

// Apply makes commits visible, all at once or none, and returns the number of new ones.
// Those that the replica has already must be the same. An error that contradicts what
// was seen is a *ledger.ChainError; it is the upstream's fault, and the replica stays
// unchanged. It waits while the replica's memory is full, until ctx ends.
func (t *Target) Apply(ctx context.Context, commits []Replicated) (int, error) {
	r, s := t.r, t.s
	if err := s.waitRoom(ctx); err != nil {
		return 0, err
	}
	r.feeds.mu.Lock() // as for commits from the journal
	defer r.feeds.mu.Unlock()
	fresh, err := t.replicate(commits)
	if err != nil {
		return 0, err
	}
	r.feeds.push(fresh)
	return len(fresh), nil
}

// Progress notes that everything up to a position was applied, that the journal ended at
// last, and when the replica is known to have held everything; a zero time says nothing.
// The position is the upstream's word: another upstream's may be lower.
func (t *Target) Progress(position, last ledger.Sequence, current time.Time) {
	s := t.s
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case position > s.position:
		s.advance(position)
	case position < s.position:
		s.position = position
		s.disorder()
	}
	s.last = max(last, s.position)
	if current.After(s.current) {
		s.current = current
	}
}

// replicate applies commits that continue the existing chains. Only the histories of
// their tenants are without gaps: the records of other tenants are not sent. Commits of
// other tenants than Config.Tenants are accepted if the list of one of these names them as
// a base, or has named them.
func (t *Target) replicate(commits []Replicated) ([]*ledger.Commit, error) {
	s, held := t.s, t.r.cfg.Tenants
	s.mu.Lock()
	defer s.mu.Unlock()
	heads := make(map[ledger.Tenant]ledger.Head)
	var fresh []Replicated
	named := make(map[ledger.Tenant]bool) // bases in the lists of these commits
	for _, rc := range commits {
		c := rc.Commit
		broken := func(format string, args ...any) error {
			return &ledger.ChainError{Tenant: c.Tenant, Revision: c.Revision, Reason: fmt.Sprintf(format, args...)}
		}
		is, _ := listIn(c)
		for _, b := range is.list {
			named[b.Tenant] = true
		}
		if len(held) > 0 && !slices.Contains(held, c.Tenant) && s.tenants[c.Tenant] == nil && len(s.heirs[c.Tenant]) == 0 && !named[c.Tenant] {
			return nil, broken("it was not asked for")
		}
		head, moved := heads[c.Tenant]
		if !moved {
			head = s.headLocked(c.Tenant)
		}
		switch {
		case c.Epoch != s.epoch:
			return nil, broken("it is of the ledger %s, not %s", c.Epoch, s.epoch)
		case !moved && c.Revision <= head.Revision:
			if err := s.same([]*ledger.Commit{c}); err != nil {
				return nil, err
			}
			continue
		case rc.Sequence < head.Sequence: // another upstream placed the one before it too high
			rc.Sequence = head.Sequence
		}
		if err := c.Follows(head); err != nil {
			return nil, err
		}
		heads[c.Tenant] = c.Head(rc.Sequence)
		fresh = append(fresh, rc)
	}
	for _, rc := range fresh {
		if err := s.keepsPins(rc.Commit); err != nil {
			return nil, err
		}
	}
	if slices.ContainsFunc(fresh, func(rc Replicated) bool { return rc.Sequence <= s.position }) {
		defer s.disorder()
	}
	added := make([]*ledger.Commit, len(fresh))
	for i, rc := range fresh {
		added[i] = rc.Commit
	}
	for i := 0; i < len(fresh); {
		n := i + 1
		for n < len(fresh) && fresh[n].Sequence == fresh[i].Sequence {
			n++
		}
		s.add(fresh[i].Sequence, added[i:n:n])
		i = n
	}
	return added, nil
}

// disorder notes that commits appeared at or before the position, or that the position
// went back: an upstream had claimed a position without sending everything. s.mu is held.
func (s *store) disorder() {
	s.disordered++
	if s.moved != nil {
		close(s.moved)
		s.moved = nil
	}
}

// Disordered counts how often commits may have appeared at or before the position. A
// reader of Records that sees it grow must look for missed commits by revision.
func (r *Replica) Disordered() uint64 {
	s := r.store.Load()
	if s == nil {
		return 0
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.disordered
}
