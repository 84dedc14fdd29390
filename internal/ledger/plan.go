package ledger

import (
	"context"
	"fmt"
)

// Planned is the effect that a change set would have.
type Planned struct {
	// Head is the head that the plan was made for.
	Head Revision
	// Commit is the one that it would be, with its secrets in the clear. It is in no
	// journal.
	Commit *Commit
	// Diffs are the current and planned values of the keys, in the order of the
	// changes, including changes without effect.
	Diffs []KeyDiff
}

// Plan checks a change set against the newest state of this process, and writes
// nothing. Its errors are those that Commit would return, except errors of the journal.
func (l *Ledger) Plan(ctx context.Context, t Tenant, cs ChangeSet) (p Planned, err error) {
	if err := l.admit(ctx, t, &cs); err != nil {
		return p, err
	}
	state, err := l.cfg.Replica.Newest(t)
	if err != nil {
		return p, fmt.Errorf("plan for %s: %w", t, err)
	}
	defer state.Close()
	cs.RequestID = ""    // the outcome of an earlier request is not a plan
	cs.AllowEmpty = true // the keys that stay as they are belong to the plan
	p.Head = state.Head().Revision
	if p.Commit, err = l.preview(ctx, t, state, cs); err != nil {
		return p, err
	}
	effective := state.Effective()
	for _, c := range p.Commit.Changes {
		d := KeyDiff{Key: c.Key, To: Version{Revision: p.Commit.Revision, Value: c.Value}}
		d.From, err = effective.Version(c.Key, p.Head)
		if err == nil && c.Delete {
			d.To, err = effective.Inherited(c.Key)
			d.To.Revision = p.Commit.Revision
		}
		if err != nil {
			return p, fmt.Errorf("plan for %s: %w", t, err)
		}
		p.Diffs = append(p.Diffs, d)
	}
	return p, nil
}

// admit makes those checks of Submit that need no state, for a change set that is not written.
func (l *Ledger) admit(ctx context.Context, t Tenant, cs *ChangeSet) error {
	if err := cs.validate(t); err != nil {
		return err
	}
	if err := l.cfg.Schemas.Admit(ctx, t, cs); err != nil {
		return err
	}
	return l.cfg.Sealable(t, cs.Changes, cs.Restores())
}

// preview checks an admitted change set against a state, and returns the commit that it would be.
func (l *Ledger) preview(ctx context.Context, t Tenant, state State, cs ChangeSet) (*Commit, error) {
	schemas, err := l.cfg.Schemas.In(t, state)
	if err != nil {
		return nil, fmt.Errorf("plan for %s: find its schemas: %w", t, err)
	}
	s := staged{state: state, schemas: schemas}
	s.clock, s.clockErr = l.cfg.Journal.Clock()
	c, _, err := s.commit(ctx, &l.cfg, t, state.Head(), &Pending{set: cs, plain: cs.Changes})
	if err != nil {
		return nil, err
	}
	if most := l.cfg.Journal.MaxRecord(); len(c.Encoded)+headRoom > most {
		return nil, tooLong(c, most)
	}
	return c, nil
}
