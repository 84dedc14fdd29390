package projector

import (
	"fmt"

	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/replica"
	"github.com/stelehq/stele/internal/ledger/routes"
)

// builder makes the writes of a sink from the ledger.
type builder struct {
	*target
	limits Limits
}

// write is the write for a key in a store, from the view. ok is false if the key was
// never set or does not belong to the sink.
func (b *builder) write(v *replica.View, t ledger.Tenant, key ledger.Key) (w Write, ok bool, err error) {
	is, err := v.Version(key, v.State().Revision)
	if err != nil {
		return Write{Tenant: t, Key: key}, false, err
	}
	return b.writeVersion(v, t, key, is)
}

// writeVersion is write if the value in force for the key is known.
func (b *builder) writeVersion(v *replica.View, t ledger.Tenant, key ledger.Key, is ledger.Version) (w Write, ok bool, err error) {
	w = Write{Tenant: t, Key: key, Route: b.table.Load().Route(key)}
	if is.Revision == 0 || !w.Route.Wants(b.name) {
		return w, false, nil
	}
	w.Value, w.Base = is.Value, is.Base
	err = w.commitOf(v, is.Revision)
	return w, err == nil, err
}

// commitOf sets what a write has of its commit.
func (w *Write) commitOf(v *replica.View, rev ledger.Revision) error {
	c, id, err := v.Summary(rev)
	w.Revision, w.Commit = rev, id
	w.Author, w.Message, w.Time = c.Author, c.Message, c.Time
	return err
}

// event is the change for a sink that gets every change.
func (b *builder) event(c *ledger.Commit, at change) (w Write, ok bool) {
	route := b.table.Load().Route(c.Changes[at.position].Key)
	return newWrite(c, at.position, route), route.Wants(b.name)
}

// newWrite makes the write of a change of a commit.
func newWrite(c *ledger.Commit, position int, route *routes.Route) Write {
	ch := c.Changes[position]
	return Write{
		Tenant: c.Tenant, Key: ch.Key, Value: ch.Value, Base: ch.Base, Revision: c.Revision, Previous: ch.Previous, Position: position, Route: route,
		Commit: c.ID, Author: c.Author, Message: c.Message, Time: c.Time,
	}
}

// source is the view of the tenant, and its commit, that was read last.
type source struct {
	view   *replica.View
	tenant ledger.Tenant
	last   *ledger.Commit
}

func (s *source) open(r *replica.Replica, t ledger.Tenant) error {
	if s.view != nil && s.tenant == t {
		return nil
	}
	s.close()
	v, err := r.View(t, replica.At{})
	if err != nil {
		return fmt.Errorf("read %s: %w", t, err)
	}
	s.view, s.tenant, s.last = v, t, nil
	return nil
}

func (s *source) commit(rev ledger.Revision) (*ledger.Commit, error) {
	if s.last != nil && s.last.Revision == rev {
		return s.last, nil
	}
	c, err := s.view.Commit(rev)
	if err == nil {
		c, err = s.view.EffectiveCommit(c)
	}
	if err == nil {
		s.last = c
	}
	return c, err
}

func (s *source) close() {
	if s.view != nil {
		s.view.Close()
		s.view = nil
	}
}
