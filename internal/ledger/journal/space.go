package journal

import (
	"fmt"
	"time"

	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/journal/internal/host"
)

const (
	// lowSpace is the free space, in bytes, below which no record is appended: a write that
	// fails half done hurts more than one that is refused. What else is on the disk, the
	// replica and the tree, can still grow by as much.
	lowSpace = 64 << 20
	// spaceInterval is the time between two looks for space after a failed write.
	spaceInterval = 500 * time.Millisecond
)

// space reports whether the disk has room for writes: nil, or a ledger.ErrNoSpace.
func (s *Server) space() error {
	free, err := host.FreeSpace(s.cfg.Dir)
	if err != nil || free >= s.cfg.lowSpace { // a write says more than a failed look
		return nil
	}
	return fmt.Errorf("%w: %d MiB are free and %d MiB are needed: free some, and writes continue",
		ledger.ErrNoSpace, free>>20, s.cfg.lowSpace>>20)
}

// restartAfterFailures replaces the nats-server after a write has failed, once the disk has
// space, until the server is closed.
func (s *Server) restartAfterFailures() {
	for {
		select {
		case <-s.failed:
		case <-s.ctx.Done():
			return
		}
		for s.space() != nil || !s.restart() {
			select {
			case <-time.After(spaceInterval):
			case <-s.ctx.Done():
				return
			}
		}
	}
}

// restart reports whether a new nats-server runs on the folder.
func (s *Server) restart() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	log := logOf(s.cfg)
	log.Warn("the journal could not be written: it is opened again", "folder", s.cfg.Dir)
	s.server.Shutdown()
	s.server.WaitForShutdown()
	select { // what the old one reported
	case <-s.failed:
	default:
	}
	started, err := s.start()
	if err != nil {
		log.Error("open the journal again; trying again", "error", err)
		return false
	}
	s.server = started
	return true
}
