package ledger

import (
	"context"
	"fmt"
)

// Planned is what a change set would do.
type Planned struct {
	// Head is the one that it was held against.
	Head Revision
	// Commit is the one that it would be, with its secrets in the clear. It is in no
	// journal.
	Commit *Commit
	// Diffs are what the keys are and would be, in the order of the changes; also
	// where that means the same.
	Diffs []KeyDiff
}

// Plan holds a change set against the newest state that this process has, and writes
// nothing. Its errors are those that Commit would have, but for those of the journal.
func (l *Ledger) Plan(ctx context.Context, t Tenant, cs ChangeSet) (p Planned, err error) {
	if err := cs.validate(); err != nil {
		return p, err
	}
	if err := l.cfg.Schemas.Admit(ctx, t, &cs); err != nil {
		return p, err
	}
	if err := l.cfg.Sealable(t, cs.Changes, cs.Restores()); err != nil {
		return p, err
	}
	state, err := l.cfg.Replica.Newest(t)
	if err != nil {
		return p, fmt.Errorf("plan for %s: %w", t, err)
	}
	defer state.Close()
	schemas, err := l.cfg.Schemas.In(t, state)
	if err != nil {
		return p, fmt.Errorf("plan for %s: find its schemas: %w", t, err)
	}
	cs.RequestID = ""    // what an earlier request did is no plan
	cs.AllowEmpty = true // the keys that stay as they are belong to the plan
	s := staged{state: state, schemas: schemas}
	head := state.Head()
	p.Head = head.Revision
	if p.Commit, _, err = s.commit(ctx, &l.cfg, t, head, &Pending{set: cs, plain: cs.Changes}); err != nil {
		return p, err
	}
	if most := l.cfg.Journal.MaxRecord(); len(p.Commit.Encoded)+headRoom > most {
		return p, tooLong(p.Commit, most)
	}
	for _, c := range p.Commit.Changes {
		was, err := state.Version(c.Key, head.Revision)
		if err != nil {
			return p, fmt.Errorf("plan for %s: %w", t, err)
		}
		p.Diffs = append(p.Diffs, KeyDiff{c.Key, was, Version{p.Commit.Revision, c.Value}})
	}
	return p, nil
}
