// Package ledger is the domain of Stele: tenants, keys, change sets, commits,
// and the write path that makes the one from the other.
//
// A write goes to its tenant's lane. The lane takes all the change sets that wait,
// checks each against the state that the ones before it leave, and builds their
// commits (revision = head + 1, parent = the head's id). The committer appends the
// commits of all lanes to the journal as one record, on the condition that the
// journal still ends where they were checked. That condition is all the coordination
// there is: any number of processes may write, and the journal lets one of them win.
// The others read on and try again.
//
// A write is answered when it is durable in the journal and its own process can
// read it.
package ledger

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"sync"
	"time"
)

// ErrConflict is returned by a Journal if its last message is not the expected one.
// Nothing was written.
var ErrConflict = errors.New("another writer came first")

// Journal is where records become durable.
type Journal interface {
	Epoch() Epoch
	// MaxRecord is the longest record, in bytes.
	MaxRecord() int
	// Append makes the record the next message if the last one has the sequence
	// expected, 0 for none. Errors: ErrConflict, ErrUnavailable, ErrNoSpace and ErrReadOnly
	// if nothing was written, ErrUnknownOutcome if that is not known.
	Append(ctx context.Context, expected Sequence, record []byte) (Sequence, error)
	// Guard is nil, or why Append would refuse a record now.
	Guard() error
	// Clock is the time for a new commit. The error is a *ClockError.
	Clock() (Clock, error)
	// Last is the sequence of the last message, 0 if there is none.
	Last(ctx context.Context) (Sequence, error)
}

// Replica is the state that change sets are checked against.
type Replica interface {
	// Position is the last message that is applied, with all before it.
	Position() Sequence
	// WaitPosition blocks until the message at seq is applied. The error is that of ctx,
	// or says why the replica cannot get there.
	WaitPosition(ctx context.Context, seq Sequence) error
	// Apply makes the commits of the message at seq visible. It may wait for memory; the error
	// is then that of ctx.
	Apply(ctx context.Context, seq Sequence, commits []*Commit) error
	// Confirm blocks until the message at seq, which was applied, is known to continue
	// everything that the replica has seen. The error is that of ctx, or says why that is not
	// so.
	Confirm(ctx context.Context, seq Sequence) error
	// CatchUp reads and applies the message at seq, the next one, if nothing delivers the
	// journal's messages now.
	CatchUp(ctx context.Context, seq Sequence) error
	// Head is the tenant's newest commit, the zero Head if it has none.
	Head(t Tenant) Head
	// Newest opens the tenant's state at its head.
	Newest(t Tenant) (State, error)
	// Bases are the bases of a tenant at its head.
	Bases(t Tenant) []Base
	// IsBase reports whether some tenant has the tenant as a base.
	IsBase(t Tenant) bool
}

// State is a tenant's own state at its head, without what it inherits, and its history. It
// is a snapshot: later writes do not change it.
type State interface {
	Head() Head
	// Version returns the tenant's own value in force for a key at a revision.
	Version(key Key, at Revision) (Version, error)
	// Diff yields the keys under the prefix whose values differ in meaning
	// between two revisions, in the order of their keys, from the first at or
	// after start. Either revision may be the later; 0 is the state before the first
	// commit.
	Diff(from, to Revision, prefix Prefix, start Key) iter.Seq2[KeyDiff, error]
	// Effective is the state as readers see it, with the values that it inherits.
	Effective() Effective
	// Newest returns the revision that last set or deleted the key, 0 if there is none,
	// and whether it is set.
	Newest(key Key) (rev Revision, set bool, err error)
	// Request finds the commit that a request made.
	Request(name RequestName) (rev Revision, ok bool, err error)
	Commit(rev Revision) (*Commit, error)
	// ID is the id of the commit that led to a revision.
	ID(rev Revision) (CommitID, error)
	Close()
}

// Effective is a tenant's state with the values that it inherits from its bases.
type Effective interface {
	// Version is State.Version with inherited values.
	Version(key Key, at Revision) (Version, error)
	// Diff is State.Diff with inherited values.
	Diff(from, to Revision, prefix Prefix, start Key) iter.Seq2[KeyDiff, error]
	// Inherited is the value that the key has at the head without the tenant's own one; the
	// zero Version if no base has the key.
	Inherited(key Key) (Version, error)
}

// Config has the parts of a Ledger.
type Config struct {
	Journal Journal
	Replica Replica
	Log     *slog.Logger
	// Gate, if set, is nil while records may be appended. Its error is ErrUnavailable if that
	// will be so later, or ErrReadOnly.
	Gate func() error
	// Observe, if set, is called for every record with the number of its commits and of
	// the conflicts with other writers before it.
	Observe func(commits, conflicts int)
	// Check, if set, may reject the changes of a tenant with an *InvalidError whose
	// fields are those of a change set. Any other error also leaves the change set
	// unwritten, because its validity cannot be determined now.
	Check func(Tenant, []Change) error
	// Seal, if set, encrypts the values that must not be readable in the journal, in a
	// copy of the changes, before any other step. It may reject them as Check does.
	// stored reports that they are stored values, which may be sealed already.
	Seal func(ctx context.Context, t Tenant, changes []Change, stored bool) ([]Change, error)
	// Sealable, when set, refuses what Seal would, and seals nothing.
	Sealable func(t Tenant, changes []Change, stored bool) error
	// SealedFrom reports whether a stored value is what Seal has made of a plain one;
	// required with Seal. A stored one that nothing can open any more counts as that.
	SealedFrom func(ctx context.Context, t Tenant, key Key, stored, plain Value) (bool, error)
	// Reseal returns a stored value as it is stored for another key; required with Seal. The
	// error is an *InvalidError about the field "to" if the value would be stored in plain
	// text there, and a *RevealError if the viewer may not reveal it.
	Reseal func(ctx context.Context, c CopiedValue) (Value, error)
	// Schemas, if set, validate the values.
	Schemas Schemas
}

// Ledger is the write path. It is safe for use by many goroutines.
type Ledger struct {
	cfg Config

	committer *committer

	mu     sync.Mutex // guards lanes and closed
	lanes  map[Tenant]*lane
	closed bool

	ctx     context.Context // of the lanes and the committer
	cancel  context.CancelFunc
	running sync.WaitGroup
}

// New starts a ledger. Close it before its journal and its replica.
func New(cfg Config) *Ledger {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Gate == nil {
		cfg.Gate = func() error { return nil }
	}
	if cfg.Observe == nil {
		cfg.Observe = func(int, int) {}
	}
	if cfg.Check == nil {
		cfg.Check = func(Tenant, []Change) error { return nil }
	}
	if cfg.Seal == nil {
		cfg.Seal = func(_ context.Context, _ Tenant, changes []Change, _ bool) ([]Change, error) { return changes, nil }
	}
	if cfg.Sealable == nil {
		cfg.Sealable = func(Tenant, []Change, bool) error { return nil }
	}
	if cfg.Reseal == nil {
		cfg.Reseal = func(_ context.Context, c CopiedValue) (Value, error) { return c.Value, nil }
	}
	if cfg.Schemas == nil {
		cfg.Schemas = noSchemas{}
	}
	ctx, cancel := context.WithCancel(context.Background())
	l := &Ledger{
		cfg:       cfg,
		committer: &committer{journal: cfg.Journal, replica: cfg.Replica, gate: cfg.Gate, observe: cfg.Observe, arrived: make(chan struct{}, 1)},
		lanes:     make(map[Tenant]*lane),
		ctx:       ctx, cancel: cancel,
	}
	l.running.Go(func() { l.committer.run(ctx) })
	return l
}

// Writable is nil, or why no record is appended now. If the newest message in the journal was
// stamped later than this process's clock, only ResetClock makes commits.
func (l *Ledger) Writable() error {
	if err := l.cfg.Gate(); err != nil {
		return err
	}
	if err := l.cfg.Journal.Guard(); err != nil {
		return err
	}
	clock, err := l.cfg.Journal.Clock()
	if err != nil {
		return err
	}
	return clock.behind()
}

// Close fails what waits and returns when nothing is in flight.
func (l *Ledger) Close() {
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	l.cancel()
	l.running.Wait()
}

// Result is the outcome of a change set that is in the ledger.
type Result struct {
	Revision Revision
	ID       CommitID
	Time     time.Time
	// Repeated is set when the request id was seen before: this is the outcome
	// of the first request.
	Repeated bool
	// Unchanged is set when the change set changes nothing: nothing was written, and
	// the rest is the tenant's head.
	Unchanged bool
}

// Commit applies a change set. It returns when the change set is durable and
// readable in this process.
//
// Errors: *InvalidError, *ConflictError, ErrReadOnly, ErrNoSpace and ErrUnavailable when
// nothing was written; ErrUnknownOutcome, also when ctx ends, when that is not
// known.
func (l *Ledger) Commit(ctx context.Context, t Tenant, cs ChangeSet) (Result, error) {
	p, err := l.Submit(ctx, t, cs, nil)
	if err != nil {
		return Result{}, err
	}
	return p.Wait(ctx)
}

// Pending is a submitted change set.
type Pending struct {
	tenant Tenant
	set    ChangeSet
	plain  []Change // of the set, before they were sealed
	after  *Pending
	done   chan struct{}
	// The outcome, once done is closed.
	result Result
	err    error
}

// Submit queues a change set. A change set with a predecessor is applied after it, and
// fails with ErrAborted if the predecessor fails: a stream of change sets is applied up
// to the first that fails. A change set that a lane has taken cannot be withdrawn;
// ctx applies to the call only.
func (l *Ledger) Submit(ctx context.Context, t Tenant, cs ChangeSet, after *Pending) (*Pending, error) {
	if err := cs.validate(t); err != nil {
		return nil, err
	}
	if err := l.cfg.Schemas.Admit(ctx, t, &cs); err != nil {
		return nil, err
	}
	plain := cs.Changes
	var err error
	if cs.Changes, err = l.cfg.Seal(ctx, t, cs.Changes, restores(cs.Origin)); err != nil {
		return nil, err
	}
	if n := weight(cs.Changes); n > MaxChangeSet {
		return nil, Invalid("changes", fmt.Sprintf("keys and values, with the secrets encrypted, have %d bytes, more than %d: split the change set", n, MaxChangeSet))
	}
	p := &Pending{tenant: t, set: cs, plain: plain, after: after, done: make(chan struct{})}
	if cs.RequestID != "" && cs.requestHash == nil {
		if p.set.requestHash, err = p.requestHash(); err != nil {
			return nil, err
		}
	}
	idle, err := l.queue(p)
	if err != nil {
		return nil, err
	}
	if idle != nil {
		idle.start()
	}
	return p, nil
}

// queue adds a change set to its tenant's lane, which it returns if that must be started.
func (l *Ledger) queue(p *Pending) (idle *lane, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil, errClosing
	}
	ln := l.lanes[p.tenant]
	if ln == nil {
		ln = &lane{ledger: l, tenant: p.tenant}
		l.lanes[p.tenant], idle = ln, ln
		l.running.Add(1)
	}
	ln.waiting = append(ln.waiting, p)
	return idle, nil
}

// Done is closed when the outcome is known.
func (p *Pending) Done() <-chan struct{} { return p.done }

// answer makes the outcome known. The predecessor is let go: otherwise the last change set of a
// stream would keep all of them in memory.
func (p *Pending) answer() {
	p.after = nil
	close(p.done)
}

// Wait returns the outcome. When ctx ends first, the outcome is unknown.
func (p *Pending) Wait(ctx context.Context) (Result, error) {
	select {
	case <-p.done:
		return p.result, p.err
	case <-ctx.Done():
		return Result{}, fmt.Errorf("commit to %s: %w: %w", p.tenant, ErrUnknownOutcome, ctx.Err())
	}
}

// take gives a lane all that waits for it; with nothing there, the lane ends.
func (l *Ledger) take(ln *lane) []*Pending {
	l.mu.Lock()
	defer l.mu.Unlock()
	batch := ln.waiting
	ln.waiting = nil
	if len(batch) == 0 {
		delete(l.lanes, ln.tenant)
		l.running.Done()
	}
	return batch
}
