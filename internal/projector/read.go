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

// reader puts the changes of the ledger into the queue of a sink. It belongs to the
// goroutine of the writer.
type reader struct {
	*builder
	queue     *queue
	positions *positions
}

// read puts the changes of the line since its last read into its entries, as far as
// there is room.
func (rd *reader) read(l *line, now time.Time) error {
	v, err := rd.p.cfg.Replica.View(l.tenant, replica.At{})
	if err != nil {
		return fmt.Errorf("read %s: %w", l.tenant, err)
	}
	defer v.Close()
	l.head = max(l.head, v.State().Head)
	if err := rd.verifyStart(l, v); err != nil {
		return err
	}
	table := rd.table.Load()
	switch {
	case l.walk == 0 && (rd.queue.every || v.State().Head-l.read <= fewCommits):
		err = rd.readCommits(l, v, table, now)
	default:
		err = rd.readKeys(l, v, table, now)
	}
	if l.read == l.head {
		l.behind = time.Time{}
	}
	return err
}

// verifyStart compares the position that a line began at with the ledger. If the ledger
// has another commit there, it was restored from a backup, and the tenant is written from
// the beginning.
func (rd *reader) verifyStart(l *line, v *replica.View) error {
	at := l.begun
	if at.revision == 0 || at.revision > v.State().Head { // it is compared once the replica holds it
		return nil
	}
	id, err := v.ID(at.revision)
	if err != nil {
		return fmt.Errorf("read %s%s: %w", l.tenant, at.revision, err)
	}
	if l.begun = (position{}); positionOf(at.revision, id) != at {
		rd.log.Error("the ledger's history has changed: the sink had commits that the ledger does not have; the tenant is written again from the beginning",
			"tenant", l.tenant, "revision", at.revision, "had", fmt.Sprintf("%x", at.id), "has", id)
		l.read, l.walk, l.next = 0, 0, ""
		rd.positions.set(l.tenant, position{})
	}
	return nil
}

func (rd *reader) readCommits(l *line, v *replica.View, table *routes.Table, now time.Time) error {
	for l.read < v.State().Head && !rd.queue.full(l) {
		c, err := v.Commit(l.read + 1)
		if err == nil {
			c, err = v.EffectiveCommit(c)
		}
		if err != nil {
			return fmt.Errorf("read %s%s: %w", l.tenant, l.read+1, err)
		}
		for i, ch := range c.Changes {
			if table.Route(ch.Key).Wants(rd.name) {
				rd.queue.add(l, ch.Key, change{c.Revision, i}, now)
			}
		}
		l.read = c.Revision
	}
	return nil
}

func (rd *reader) readKeys(l *line, v *replica.View, table *routes.Table, now time.Time) error {
	if l.walk == 0 {
		l.walk, l.next, l.unwalked = v.State().Head, "", 0
		for is, err := range v.Changed(l.read, "") {
			if err != nil {
				l.walk = 0
				return fmt.Errorf("count the changed keys of %s: %w", l.tenant, err)
			}
			if table.Route(is.Key).Wants(rd.name) {
				l.unwalked++
			}
		}
	}
	for is, err := range v.Changed(l.read, l.next) {
		if err != nil {
			return fmt.Errorf("read the changed keys of %s: %w", l.tenant, err)
		}
		if rd.queue.full(l) {
			l.next = is.Key
			return nil
		}
		// A key that was deleted before a sink ever had it needs no tombstone there;
		// whether it had is not known.
		if table.Route(is.Key).Wants(rd.name) {
			rd.queue.add(l, is.Key, change{revision: is.Revision}, now)
			l.unwalked -= min(l.unwalked, 1)
		}
	}
	l.read, l.walk, l.next, l.unwalked = l.walk, 0, "", 0
	return nil
}

// build turns entries into writes. Entries of keys that no longer belong to the sink
// are done. After an error none of them is busy.
func (rd *reader) build(taken []*entry) (open []*entry, writes []Write, err error) {
	var from source
	defer from.close()
	defer func() {
		if err != nil {
			for _, e := range taken {
				if e.busy {
					rd.queue.release(e)
				}
			}
		}
	}()
	for _, e := range taken {
		if err := from.open(rd.p.cfg.Replica, e.line.tenant); err != nil {
			return nil, nil, err
		}
		var w Write
		var ok bool
		if rd.queue.every {
			var c *ledger.Commit
			if c, err = from.commit(e.changes[0].revision); err == nil {
				w, ok = rd.event(c, e.changes[0])
			}
		} else {
			w, ok, err = rd.write(from.view, e.line.tenant, e.key)
		}
		if err != nil {
			return nil, nil, fmt.Errorf("read %s of %s: %w", e.key, e.line.tenant, err)
		}
		if !ok {
			rd.queue.done(e, e.newest)
			continue
		}
		w.Replace = e.replace
		open, writes = append(open, e), append(writes, w)
	}
	return open, writes, nil
}
