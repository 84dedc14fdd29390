package routes

import (
	"log/slog"
	"sync"
	"sync/atomic"

	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/replica"
)

// Source knows the routes in force: the ledger's own tenant's if they are set,
// otherwise a table that the process was given.
type Source struct {
	replica  *replica.Replica
	fallback *Table
	log      *slog.Logger

	inForce atomic.Pointer[inForce] // nil until they are read
	reading sync.Mutex              // one reading at a time
}

// inForce are the routes of one head of the ledger's own tenant.
type inForce struct {
	head  ledger.Revision
	table *Table
	from  ledger.Revision // that set the routes; 0 for the fallback
}

// NewSource needs a replica that holds the ledger's own tenant. A nil fallback routes
// nothing.
func NewSource(r *replica.Replica, fallback *Table, log *slog.Logger) *Source {
	if fallback == nil {
		fallback = &Table{text: []byte(`{"sinks":{},"routes":[]}`)}
	}
	return &Source{replica: r, fallback: fallback, log: log}
}

// Table returns the routes in force and the revision of the ledger's own tenant that
// set them, 0 if they are not set. If this version cannot read the routes of a newer
// one, the previous routes stay in force. The error is ledger.ErrUnavailable while the
// replica does not hold them.
//
// Every read calls it, so it takes no lock as long as nothing has changed.
func (s *Source) Table() (*Table, ledger.Revision, error) {
	is := s.inForce.Load()
	if is == nil || is.head != s.replica.SystemHead() {
		var err error
		if is, err = s.read(); err != nil {
			return nil, 0, err
		}
	}
	return is.table, is.from, nil
}

func (s *Source) read() (*inForce, error) {
	s.reading.Lock()
	defer s.reading.Unlock()
	v, err := s.replica.View(ledger.System, replica.At{})
	if err != nil {
		return nil, err
	}
	defer v.Close()
	was := s.inForce.Load()
	if was != nil && was.head == v.State().Head {
		return was, nil
	}
	e, set, err := v.Get(Key)
	if err != nil {
		return nil, err
	}
	is := &inForce{head: v.State().Head, table: s.fallback}
	if set {
		if is.from = e.Revision; was != nil {
			is.table = was.table
		}
		if was == nil || was.from != e.Revision {
			t, err := Parse([]byte(e.Value))
			if err != nil {
				s.log.Error("the ledger's routes cannot be read; those before them stay in force", "revision", e.Revision, "reason", err)
			} else {
				is.table = t
			}
		}
	}
	s.inForce.Store(is)
	return is, nil
}
