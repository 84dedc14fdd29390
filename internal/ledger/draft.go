package ledger

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// draft is a tenant's part of a record: commits that are built on head and not in
// the journal yet, and what will be answered once they are. Refusals wait too,
// because they may be due to a commit before them that must become true first.
type draft struct {
	lane     *lane
	head     Head // that the first commit is built on
	commits  []*Commit
	size     int       // of the commits in a record, in bytes
	outcomes []outcome // of the change sets taken, from the front of the batch
	// checked is set if some outcome depends on the head and not on a commit of the
	// draft: a refusal, or that nothing changes.
	checked bool
	// attached are the bases that some change set gives the tenant.
	attached []Tenant
	// yields is set if all of its change sets yield.
	yields bool

	// err is the outcome, when the committer passes the draft back to its lane.
	err error
}

type outcome struct {
	pending *Pending
	commit  *Commit // of the draft, or of an earlier request
	// repeated is set when commit is an earlier request's.
	repeated bool
	// unchanged is the head at which the change set changes nothing.
	unchanged *Head
	err       error
}

// headRoom is the room for the bytes that a record adds to each of its commits.
const headRoom = 16

// draft takes change sets from the front of the batch, and checks each against
// the state that the ones before it leave. The error is about none of them.
func (ln *lane) draft(ctx context.Context, batch []*Pending) (*draft, error) {
	cfg := &ln.ledger.cfg
	state, err := cfg.Replica.Newest(ln.tenant)
	if err != nil {
		return nil, err
	}
	defer state.Close()
	most := min(len(batch), maxCommits)
	d := &draft{lane: ln, head: state.Head(), yields: true, outcomes: make([]outcome, 0, most), commits: make([]*Commit, 0, most)}
	schemas, err := cfg.Schemas.In(ln.tenant, state)
	if err != nil {
		return nil, fmt.Errorf("find the schemas: %w", err)
	}
	s := staged{state: state, schemas: schemas}
	s.clock, s.clockErr = cfg.Journal.Clock()
	head, longest, begun := d.head, cfg.Journal.MaxRecord(), time.Now()
	for i, p := range batch {
		if len(d.commits) == maxCommits || i > 0 && time.Since(begun) > journalTimeout {
			break // the rest goes into the next draft
		}
		o := outcome{pending: p}
		o.commit, o.repeated, err = s.commit(ctx, cfg, ln.tenant, head, p)
		if err == nil && o.commit == nil {
			at := head
			o.unchanged = &at
		}
		if err == nil && !o.repeated && o.commit != nil {
			size := len(o.commit.Encoded) + headRoom
			if d.size > 0 && d.size+size > min(recordBytes, longest) {
				break // it goes into the next draft
			}
			if size > longest {
				err = tooLong(o.commit, longest)
			} else {
				d.size += size
			}
		}
		switch {
		case err != nil && !refusal(err):
			return nil, err
		case err != nil:
			o.commit, o.err = nil, err
			s.fail(p)
			d.checked = true
		case o.unchanged != nil:
			d.checked = true
		case !o.repeated:
			d.commits = append(d.commits, o.commit)
			if i+1 < len(batch) {
				s.add(o.commit, p.plain)
			}
			head = o.commit.Head(0)
		}
		d.outcomes = append(d.outcomes, o)
		d.yields = d.yields && p.set.Yields
	}
	d.attached = s.attached
	return d, nil
}

// tooLong is for a commit that no record can hold.
func tooLong(c *Commit, most int) error {
	return Invalid("changes", fmt.Sprintf("the commit has %d bytes, and the NATS server takes messages of %d: raise its max_payload (8MB is what Stele uses) or split the change set",
		len(c.Encoded), most))
}

// refusal reports whether an error is the change set's own fault.
func refusal(err error) bool {
	var invalid *InvalidError
	var conflict *ConflictError
	var reused *RequestError
	var attach *AttachError
	var clock *ClockError
	var ahead *AheadError
	var changed *HistoryChangedError
	return errors.As(err, &changed) || errors.As(err, &clock) || errors.As(err, &ahead) || errors.As(err, &reused) || errors.As(err, &attach) || errors.As(err, &invalid) || errors.As(err, &conflict) || errors.Is(err, ErrAborted) || errors.Is(err, ErrUnchecked)
}

// settle answers the change sets.
func (d *draft) settle() {
	for _, o := range d.outcomes {
		switch {
		case o.err != nil:
			o.pending.err = o.err
		case o.unchanged != nil:
			o.pending.result = Result{Revision: o.unchanged.Revision, ID: o.unchanged.ID, Time: time.Unix(0, o.unchanged.Time).UTC(), Unchanged: true}
		default:
			o.pending.result = Result{Revision: o.commit.Revision, ID: o.commit.ID, Time: o.commit.Time, Repeated: o.repeated}
		}
		o.pending.answer()
	}
}

// staged is the state that a draft's commits leave. Its maps are made with their first entry:
// most drafts have one commit.
type staged struct {
	state    State
	schemas  InForce
	keys     map[Key]keyState
	requests map[RequestName]*Commit
	failed   map[*Pending]bool
	// clock is the time of all commits of the draft; clockErr is why it is not known.
	clock    Clock
	clockErr error
	attached []Tenant // bases that the tenant did not have before
}

type keyState struct {
	revision Revision
	set      bool
	value    Value    // as it is stored; see staged.key
	id       CommitID // of the commit that set it, if that is part of the draft
}

// key is the state of a key, without a value that is not part of the draft: reading the value
// costs as much again.
func (s *staged) key(k Key) (keyState, error) {
	if ks, ok := s.keys[k]; ok {
		return ks, nil
	}
	rev, set, err := s.state.Newest(k)
	return keyState{revision: rev, set: set}, err
}

// keyAndValue is the state of a key with its value.
func (s *staged) keyAndValue(k Key) (keyState, error) {
	if ks, ok := s.keys[k]; ok {
		return ks, nil
	}
	v, err := s.state.Version(k, s.state.Head().Revision)
	return keyState{revision: v.Revision, set: v.Value != "", value: v.Value}, err
}

// inheritedSince is the revision for the precondition of a key that the tenant has not set
// itself: 0 if no value is inherited, the expected revision if the inherited value was the
// same at that revision, and otherwise the revision of the inherited value.
func (s *staged) inheritedSince(pre Precondition) (Revision, error) {
	if _, moved := s.keys[BasesKey]; moved {
		return s.keys[BasesKey].revision, nil // the draft changes the bases: the caller has not seen them
	}
	head := s.state.Head().Revision
	is, err := s.state.Effective().Version(pre.Key, head)
	if err != nil || !is.Base.Inherited() {
		return 0, err
	}
	if pre.Revision == 0 || pre.Revision > head {
		return is.Revision, nil
	}
	was, err := s.state.Effective().Version(pre.Key, pre.Revision)
	var notKept *HistoryError
	switch {
	case errors.As(err, &notKept):
		return is.Revision, nil
	case err != nil:
		return 0, err
	case was.Base == is.Base:
		return pre.Revision, nil
	}
	return is.Revision, nil
}

func (s *staged) fail(p *Pending) {
	if s.failed == nil {
		s.failed = make(map[*Pending]bool)
	}
	s.failed[p] = true
}

func (s *staged) add(c *Commit, plain []Change) {
	if s.keys == nil {
		s.keys, s.requests = make(map[Key]keyState), make(map[RequestName]*Commit)
	}
	for _, ch := range c.Changes {
		s.keys[ch.Key] = keyState{revision: c.Revision, set: !ch.Delete, value: ch.Value, id: c.ID}
	}
	if len(plain) > len(c.Changes) { // some change nothing and are not in the commit
		plain = slices.DeleteFunc(slices.Clone(plain), func(ch Change) bool { return s.keys[ch.Key].revision != c.Revision })
	}
	s.schemas.Add(plain, c.Revision)
	if name := c.RequestName(); name != "" {
		s.requests[name] = c
	}
}

// commit checks a change set and builds its commit, or finds the one that its
// request id has made before. The commit is nil if the change set changes nothing.
func (s *staged) commit(ctx context.Context, cfg *Config, t Tenant, head Head, p *Pending) (c *Commit, repeated bool, err error) {
	if p.after != nil && s.lost(p.after) {
		return nil, false, ErrAborted
	}
	cs := &p.set
	if c, err := s.request(cs.requestName()); err != nil {
		return nil, false, err
	} else if c != nil {
		return c, true, p.repeats(ctx, cfg, c)
	}
	if err := s.check(t, head, cs); err != nil {
		return nil, false, err
	}
	changes, err := s.effective(t, cs)
	if err != nil || len(changes) == 0 && !cs.keepsAll() {
		return nil, false, err
	}
	if err := cfg.Check(t, cs.Changes); err != nil {
		return nil, false, err
	}
	if err := s.checkBases(ctx, cfg, t, cs); err != nil {
		return nil, false, err
	}
	if err := s.schemas.Check(ctx, cs, p.plain); err != nil {
		return nil, false, err
	}
	c = &Commit{
		Epoch: cfg.Journal.Epoch(), Tenant: t, Revision: head.Revision + 1, Parent: head.ID,
		Author: cs.Author, Message: cs.Message, RequestID: cs.RequestID, RequestHash: cs.requestHash, Origin: cs.Origin, ByOperator: cs.ByOperator,
		Changes: changes,
	}
	if s.clockErr != nil {
		return nil, false, s.clockErr
	}
	if write, err := c.stamp(s.clock, head, cs.Import); err != nil || !write {
		return nil, false, err
	}
	return c, false, c.seal()
}

// lost reports whether a change set before this one was not applied.
func (s *staged) lost(p *Pending) bool {
	select {
	case <-p.done:
		return p.err != nil
	default:
		return s.failed[p] // it is earlier in this draft
	}
}

func (s *staged) request(name RequestName) (*Commit, error) {
	if name == "" {
		return nil, nil
	}
	if c := s.requests[name]; c != nil {
		return c, nil
	}
	rev, ok, err := s.state.Request(name)
	if err != nil || !ok {
		return nil, err
	}
	return s.state.Commit(rev)
}

// check compares a change set's preconditions with the state.
func (s *staged) check(t Tenant, head Head, cs *ChangeSet) error {
	conflict := ConflictError{Tenant: t}
	if want := cs.ExpectedHead; want != nil && *want != head.Revision {
		conflict.Conflicts = append(conflict.Conflicts, Conflict{Expected: *want, Actual: head.Revision})
	} else if want != nil {
		if err := SameCommit(t, *want, head.ID, cs.ExpectedHeadID); err != nil {
			return err
		}
	}
	for _, pre := range cs.Preconditions {
		now, err := s.key(pre.Key)
		if err != nil {
			return err
		}
		if !now.set {
			if now.revision, err = s.inheritedSince(pre); err != nil {
				return err
			}
		}
		if now.revision != pre.Revision {
			conflict.Conflicts = append(conflict.Conflicts, Conflict{Key: pre.Key, Expected: pre.Revision, Actual: now.revision})
		} else if len(pre.ID) > 0 {
			id := now.id
			if id == (CommitID{}) { // not set by this draft
				if id, err = s.state.ID(now.revision); err != nil {
					return err
				}
			}
			if err := SameCommit(t, now.revision, id, pre.ID); err != nil {
				return err
			}
		}
	}
	if len(conflict.Conflicts) > 0 {
		return &conflict
	}
	return nil
}
