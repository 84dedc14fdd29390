package projector

import (
	"fmt"
	"time"

	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/replica"
	"github.com/stelehq/stele/internal/ledger/routes"
)

// fewCommits is up to how many commits are read one by one to learn which keys of
// a store have changed; with more of them, asking every key costs less.
const fewCommits = 64

// read puts the changes of the line since its last read into its entries, as far as
// there is room.
func (r *runner) read(l *line, now time.Time) error {
	v, err := r.p.cfg.Replica.View(l.tenant, replica.At{})
	if err != nil {
		return fmt.Errorf("read %s: %w", l.tenant, err)
	}
	defer v.Close()
	l.head = max(l.head, v.State().Head)
	if err := r.verifyStart(l, v); err != nil {
		return err
	}
	table := r.table.Load()
	switch {
	case l.walk == 0 && (r.queue.every || v.State().Head-l.read <= fewCommits):
		err = r.readCommits(l, v, table, now)
	default:
		err = r.readKeys(l, v, table, now)
	}
	if l.read == l.head {
		l.behind = time.Time{}
	}
	return err
}

// verifyStart compares the position that a line began at with the ledger. If the ledger
// has another commit there, it was restored from a backup, and the tenant is written from
// the beginning.
func (r *runner) verifyStart(l *line, v *replica.View) error {
	at := l.begun
	if at.revision == 0 || at.revision > v.State().Head { // it is compared once the replica holds it
		return nil
	}
	id, err := v.ID(at.revision)
	if err != nil {
		return fmt.Errorf("read %s%s: %w", l.tenant, at.revision, err)
	}
	if l.begun = (place{}); placeOf(at.revision, id) != at {
		r.log.Error("the ledger's history has changed: the sink had commits that the ledger does not have; the tenant is written again from the beginning",
			"tenant", l.tenant, "revision", at.revision, "had", fmt.Sprintf("%x", at.id), "has", id)
		l.read, l.walk, l.next = 0, 0, ""
		r.positions.set(l.tenant, place{})
	}
	return nil
}

func (r *runner) readCommits(l *line, v *replica.View, table *routes.Table, now time.Time) error {
	for l.read < v.State().Head && !r.queue.full(l) {
		c, err := v.Commit(l.read + 1)
		if err != nil {
			return fmt.Errorf("read %s%s: %w", l.tenant, l.read+1, err)
		}
		for i, ch := range c.Changes {
			if table.Route(ch.Key).Wants(r.name) {
				r.queue.add(l, ch.Key, change{c.Revision, i}, now)
			}
		}
		l.read = c.Revision
	}
	return nil
}

func (r *runner) readKeys(l *line, v *replica.View, table *routes.Table, now time.Time) error {
	if l.walk == 0 {
		l.walk, l.next, l.unwalked = v.State().Head, "", 0
		for is, err := range v.Changed(l.read, "") {
			if err != nil {
				l.walk = 0
				return err
			}
			if table.Route(is.Key).Wants(r.name) {
				l.unwalked++
			}
		}
	}
	for is, err := range v.Changed(l.read, l.next) {
		if err != nil {
			return err
		}
		if r.queue.full(l) {
			l.next = string(is.Key)
			return nil
		}
		// A key that was deleted before a sink ever had it needs no tombstone there;
		// whether it had is not known.
		if table.Route(is.Key).Wants(r.name) {
			r.queue.add(l, is.Key, change{revision: is.Revision}, now)
			l.unwalked -= min(l.unwalked, 1)
		}
	}
	l.read, l.walk, l.next, l.unwalked = l.walk, 0, "", 0
	return nil
}

// write is the write for a key in a store, from the view. ok is false if the key was
// never set or does not belong to the sink.
func (r *runner) write(v *replica.View, t ledger.Tenant, key ledger.Key) (w Write, ok bool, err error) {
	is, err := v.Version(key, v.State().Revision)
	if err != nil {
		return Write{Tenant: t, Key: key}, false, err
	}
	return r.writeOf(v, t, key, is)
}

// writeOf is write if the value in force for the key is known.
func (r *runner) writeOf(v *replica.View, t ledger.Tenant, key ledger.Key, is ledger.Version) (w Write, ok bool, err error) {
	w = Write{Tenant: t, Key: key, Route: r.table.Load().Route(key)}
	if is.Revision == 0 || !w.Route.Wants(r.name) {
		return w, false, nil
	}
	c, id, err := v.Summary(is.Revision)
	w.Value, w.Revision, w.Commit = is.Value, is.Revision, id
	w.Author, w.Message, w.Time = c.Author, c.Message, c.Time
	return w, err == nil, err
}

// event is the change for a sink that gets every change.
func (r *runner) event(c *ledger.Commit, at change) (w Write, ok bool) {
	ch := c.Changes[at.position]
	route := r.table.Load().Route(ch.Key)
	return Write{
		Tenant: c.Tenant, Key: ch.Key, Value: ch.Value, Revision: c.Revision, Previous: ch.Previous, Position: at.position, Route: route,
		Commit: c.ID, Author: c.Author, Message: c.Message, Time: c.Time,
	}, route.Wants(r.name)
}

// build turns entries into writes. Entries of keys that no longer belong to the sink
// are done. After an error none of them is busy.
func (r *runner) build(taken []*entry) (open []*entry, writes []Write, err error) {
	var from source
	defer from.close()
	defer func() {
		if err != nil {
			for _, e := range taken {
				if e.busy {
					r.queue.release(e)
				}
			}
		}
	}()
	for _, e := range taken {
		if err := from.open(r.p.cfg.Replica, e.line.tenant); err != nil {
			return nil, nil, err
		}
		var w Write
		var ok bool
		if r.queue.every {
			var c *ledger.Commit
			if c, err = from.commit(e.changes[0].revision); err == nil {
				w, ok = r.event(c, e.changes[0])
			}
		} else {
			w, ok, err = r.write(from.view, e.line.tenant, e.key)
		}
		if err != nil {
			return nil, nil, fmt.Errorf("read %s of %s: %w", e.key, e.line.tenant, err)
		}
		if !ok {
			r.queue.done(e, e.newest)
			continue
		}
		w.Replace = e.replace
		open, writes = append(open, e), append(writes, w)
	}
	return open, writes, nil
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
