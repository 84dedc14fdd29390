package routes

import (
	"log/slog"
	"sync"

	"github.com/stelehq/stele/ledger"
	"github.com/stelehq/stele/ledger/replica"
)

// Source knows the routes in force: those of the ledger's own tenant where it has
// some, else a table that the process was given.
type Source struct {
	replica  *replica.Replica
	fallback *Table
	log      *slog.Logger

	mu     sync.Mutex // guards the fields below
	loaded bool
	head   ledger.Revision // of the ledger's own tenant, when it was read
	table  *Table
	from   ledger.Revision // that set the routes; 0 for the fallback
}

// NewSource wants the replica to hold the ledger's own tenant. A nil fallback
// routes nothing.
func NewSource(r *replica.Replica, fallback *Table, log *slog.Logger) *Source {
	if fallback == nil {
		fallback = &Table{text: []byte(`{"sinks":{},"routes":[]}`)}
	}
	return &Source{replica: r, fallback: fallback, log: log, table: fallback}
}

// Table returns the routes in force and the revision of the ledger's own tenant
// that set them, 0 when it has none. Routes that cannot be read, of a version that
// is newer than this one, leave those before them in force. The error is
// ledger.ErrUnavailable while the replica does not hold them.
func (s *Source) Table() (*Table, ledger.Revision, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.loaded && s.head == s.replica.Head(ledger.System).Revision {
		return s.table, s.from, nil
	}
	v, err := s.replica.View(ledger.System, replica.At{})
	if err != nil {
		return nil, 0, err
	}
	defer v.Close()
	e, set, err := v.Get(string(Key))
	if err != nil {
		return nil, 0, err
	}
	s.loaded, s.head = true, v.State().Head
	if !set {
		s.table, s.from = s.fallback, 0
		return s.table, 0, nil
	}
	if e.Revision != s.from {
		t, err := Parse([]byte(e.Value))
		if err != nil {
			s.log.Error("the ledger's routes cannot be read; those before them stay in force", "revision", e.Revision, "reason", err)
		} else {
			s.table = t
		}
		s.from = e.Revision
	}
	return s.table, s.from, nil
}
