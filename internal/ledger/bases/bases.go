// Package bases moves the pins of tenants that follow their bases.
//
// When a base gets a commit, every tenant that follows it gets a commit that moves its pin
// to the base's head. The request id of that commit is the base and its revision, so each
// revision is delivered at most once, by whichever process, also across crashes; a pin that
// a rollback has moved back stays until the next commit of the base. The work that is left
// is the difference between the pins and the heads in the replica: nothing else is stored.
//
// A pin moves to the head at once: if a base gets commits faster than its tenants can
// follow, a tenant may skip some of its revisions, but never the last.
package bases

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/replica"
)

// author is the author of the commits that move pins.
const author = "bases"

// inFlight is how many pins are moved at once: while one record is written, the pins of the
// next are checked.
const inFlight = 16

// retryInterval is the time between two attempts to move pins that could not be moved.
const retryInterval = time.Second

// Ledger commits change sets.
type Ledger interface {
	Commit(ctx context.Context, t ledger.Tenant, cs ledger.ChangeSet) (ledger.Result, error)
}

// Mover moves pins until it is closed.
type Mover struct {
	replica *replica.Replica
	ledger  Ledger
	log     *slog.Logger

	cancel context.CancelFunc
	done   sync.WaitGroup

	// delivered is the revision of a base that each of its tenants has got, if the pin is
	// another: a rollback moved it back. Only move uses it; its goroutines write it under
	// a lock.
	delivered map[pin]ledger.Revision
}

// pin is a tenant's pin of a base.
type pin struct{ tenant, base ledger.Tenant }

// Start starts to move the pins of all tenants in the replica. Close it before the ledger.
func Start(r *replica.Replica, l Ledger, log *slog.Logger) *Mover {
	ctx, cancel := context.WithCancel(context.Background())
	m := &Mover{replica: r, ledger: l, log: log, cancel: cancel, delivered: make(map[pin]ledger.Revision)}
	moved := make(chan struct{}, 1)
	feed := r.Feed()
	m.done.Go(func() {
		defer feed.Close()
		for {
			commits := feed.Next(ctx)
			if len(commits) == 0 {
				return
			}
			if slices.ContainsFunc(commits, m.concerns) {
				select {
				case moved <- struct{}{}:
				default:
				}
			}
		}
	})
	m.done.Go(func() { m.run(ctx, moved) })
	return m
}

// Close stops moving pins, and waits.
func (m *Mover) Close() {
	m.cancel()
	m.done.Wait()
}

// concerns reports whether a commit may leave a pin behind: one of a base, or one that
// changes a list of bases.
func (m *Mover) concerns(c *ledger.Commit) bool {
	if _, moves := c.Origin.(*ledger.BaseOrigin); moves {
		return false
	}
	return m.replica.IsBase(c.Tenant) || c.Touches(ledger.BasesKey)
}

func (m *Mover) run(ctx context.Context, moved <-chan struct{}) {
	for {
		if err := m.move(ctx); err != nil && ctx.Err() == nil {
			m.log.Warn("cannot move the pins of tenants that follow a base; retrying", "error", err)
		}
		select {
		case <-moved:
		case <-time.After(retryInterval):
		case <-ctx.Done():
			return
		}
	}
}

// move moves the pins that are behind. Processes that move the same pins begin at different
// ones, and share the work.
func (m *Mover) move(ctx context.Context) error {
	if !m.replica.Ready() {
		return nil
	}
	behind := slices.DeleteFunc(m.replica.BehindBases(), func(p replica.Pin) bool {
		return m.delivered[pin{p.Tenant, p.Base.Tenant}] == p.Head.Revision
	})
	rand.Shuffle(len(behind), func(i, j int) { behind[i], behind[j] = behind[j], behind[i] })
	var (
		heads = newHeads(m.replica)
		slots = make(chan struct{}, inFlight)
		group sync.WaitGroup
		mu    sync.Mutex // guards what follows, and delivered
		first error
	)
	for _, p := range behind {
		select {
		case slots <- struct{}{}:
		case <-ctx.Done():
			group.Wait()
			return ctx.Err()
		}
		group.Go(func() {
			defer func() { <-slots }()
			settled, err := m.moveOne(ctx, p, heads)
			mu.Lock()
			defer mu.Unlock()
			if settled {
				m.delivered[pin{p.Tenant, p.Base.Tenant}] = p.Head.Revision
			}
			if first == nil && err != nil {
				first = fmt.Errorf("move %s to %s%s: %w", p.Tenant, p.Base.Tenant, p.Head.Revision, err)
			}
		})
	}
	group.Wait()
	return first
}

// moveOne moves one pin, unless it has moved meanwhile. It reports whether the tenant has got
// that revision before, and had its pin moved back since.
func (m *Mover) moveOne(ctx context.Context, p replica.Pin, heads *heads) (settled bool, err error) {
	list, set := m.replica.BasesSet(p.Tenant)
	i := slices.Index(list, p.Base)
	if i < 0 {
		return false, nil // it has moved, or was removed from the list
	}
	head, err := heads.of(p.Base.Tenant, p.Head)
	if err != nil {
		return false, err
	}
	list = slices.Clone(list)
	list[i].Revision = p.Head.Revision
	message := fmt.Sprintf("Base %s %s to %s", p.Base.Tenant, p.Base.Revision, p.Head.Revision)
	if head.Message != "" {
		message += ": " + head.Message
	}
	got, err := m.ledger.Commit(ctx, p.Tenant, ledger.ChangeSet{
		Author: author, Message: ledger.ClipMessage(message), RequestID: fmt.Sprintf("%s%s", p.Base.Tenant, p.Head.Revision),
		Changes:       []ledger.Change{{Key: ledger.BasesKey, Value: ledger.BasesValue(list)}},
		Preconditions: []ledger.Precondition{{Key: ledger.BasesKey, Revision: set}},
		Origin:        &ledger.BaseOrigin{Base: p.Base.Tenant, From: p.Base.Revision, Revision: p.Head.Revision, ID: p.Head.ID, Author: head.Author},
		Yields:        true,
	})
	var moved *ledger.ConflictError
	var reused *ledger.RequestError
	switch {
	case errors.As(err, &moved):
		return false, nil // the list has changed: what is left is found again
	case errors.As(err, &reused):
		return true, nil
	}
	return err == nil && got.Repeated, err
}

// heads reads the heads of bases, each once.
type heads struct {
	replica *replica.Replica
	mu      sync.Mutex // guards known
	known   map[ledger.Tenant]ledger.Summary
}

func newHeads(r *replica.Replica) *heads {
	return &heads{replica: r, known: make(map[ledger.Tenant]ledger.Summary)}
}

func (h *heads) of(base ledger.Tenant, head ledger.Head) (ledger.Summary, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if s, ok := h.known[base]; ok && s.Revision == head.Revision {
		return s, nil
	}
	v, err := h.replica.View(base, replica.At{})
	if err != nil {
		return ledger.Summary{}, err
	}
	defer v.Close()
	s, _, err := v.Summary(head.Revision)
	if err == nil {
		h.known[base] = s
	}
	return s, err
}
