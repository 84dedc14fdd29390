package directory

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/projector"
)

// tenant is the sink's state of a tenant while it is open.
type tenant struct {
	// reading keeps a version from being removed under those who read its files.
	reading sync.RWMutex

	writing sync.Mutex // one at a time changes the files
}

func (s *Sink) tenant(name ledger.Tenant) *tenant {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.tenants[name]
	if t == nil {
		t = &tenant{}
		s.tenants[name] = t
	}
	return t
}

// Write makes a version with the writes, which are of one tenant, and switches to
// it. If all of them are in the files already, it makes none.
func (s *Sink) Write(ctx context.Context, writes []projector.Write) ([]error, error) {
	if len(writes) == 0 {
		return nil, nil
	}
	name := writes[0].Tenant
	t := s.tenant(name)
	t.writing.Lock()
	defer t.writing.Unlock()
	errs, err := s.write(ctx, t, writes)
	if err != nil {
		return nil, fmt.Errorf("write %d keys of %s: %w", len(writes), name, err)
	}
	return errs, nil
}

func (s *Sink) write(ctx context.Context, t *tenant, writes []projector.Write) ([]error, error) {
	tr, err := s.tree(writes[0].Tenant)
	if err != nil {
		return nil, err
	}
	if _, err := os.Lstat(s.root); errors.Is(err, fs.ErrNotExist) { // deleted by hand
		if err := s.openRoot(); err != nil {
			return nil, err
		}
	}
	if err := errors.Join(s.makeFolder(tr.dir), os.Chmod(tr.dir, s.folderMode())); err != nil {
		return nil, err
	}
	// Links that were deleted by hand: without one its files are out of sight, and
	// would be left out of the next version.
	if err := tr.link(); err != nil {
		return nil, err
	}
	unmanaged, err := tr.unmanaged()
	if err != nil {
		return nil, err
	}
	p, err := s.plan(tr)
	if err != nil {
		return nil, err
	}
	if len(unmanaged) > 0 {
		// First a version that changes only their location: they do not switch with the
		// others.
		if err := s.advance(ctx, p); err != nil {
			return nil, err
		}
		if err := p.replaceByLinks(unmanaged); err != nil {
			return nil, err
		}
		if p, err = s.plan(p.tree); err != nil {
			return nil, err
		}
	}
	errs, err := p.apply(writes)
	if err != nil {
		return nil, err
	}
	if p.changed {
		if err := s.advance(ctx, p); err != nil {
			return nil, err
		}
	}
	if t.reading.TryLock() { // else the next write does it
		err = p.clean()
		t.reading.Unlock()
		if err != nil {
			s.log.Warn("what a write has left behind cannot be removed", "tenant", tr.tenant, "reason", err)
		}
	}
	return errs, nil
}

// advance makes the planned version and switches to it. The order determines the state
// after a kill or a power failure: up to the rename programs see the old version, after
// it the new one, which is on disk by then. Links to new segments dangle until the
// rename, like missing files.
func (s *Sink) advance(ctx context.Context, p *plan) error {
	var version string
	err := s.builds.take(ctx, func() (err error) {
		version, err = s.build(ctx, p)
		return err
	})
	if err == nil {
		err = s.rounds.join(ctx, filepath.Join(p.dir, version))
	}
	if err != nil {
		if version != "" {
			err = errors.Join(err, os.RemoveAll(filepath.Join(p.dir, version)))
		}
		return err
	}
	p.book.previous, p.version = p.version, version
	if err := p.link(); err != nil {
		return err
	}
	s.at("linked")
	next := filepath.Join(p.dir, version+"-link")
	if err := os.Symlink(version, next); err != nil {
		return err
	}
	s.at("about to switch")
	if err := ctx.Err(); err != nil { // another process may have the sink from now on
		return errors.Join(err, os.Remove(next))
	}
	if err := os.Rename(next, filepath.Join(p.dir, dataLink)); err != nil {
		return err
	}
	s.at("switched")
	// A power failure must not undo a write that was reported as done.
	if p.book.previous == "" { // the tenant is new
		return s.rounds.join(ctx, s.root)
	}
	return s.rounds.join(ctx, p.dir)
}

func (s *Sink) at(step string) {
	if s.step != nil {
		s.step(step)
	}
}
