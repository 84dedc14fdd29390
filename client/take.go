package client

import (
	"time"

	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// take applies a message of the gateway.
func (f *follower) take(resp *stelev1.WatchResponse, began time.Time) error {
	c := f.client
	switch e := resp.Event.(type) {
	case *stelev1.WatchResponse_Created:
		f.created, f.head = true, e.Created.Snapshot.GetHead()
		if have := c.state.Load().revision; !f.initial && f.head > have+maxReplay {
			return errFarBehind
		}
		if err := f.reported(e.Created.Snapshot, began); err != nil {
			return err
		}
	case *stelev1.WatchResponse_State:
		if err := f.state(e.State); err != nil {
			return err
		}
	case *stelev1.WatchResponse_Commit:
		if !f.commit(e.Commit) {
			return nil
		}
	case *stelev1.WatchResponse_Progress:
		if f.initial {
			return nil
		}
		c.pass(e.Progress.Snapshot.GetRevision(), e.Progress.Snapshot.GetId())
		f.settle()
		if asked := f.answered(); !asked.IsZero() {
			if err := f.reported(e.Progress.Snapshot, asked); err != nil {
				return err
			}
		}
	case *stelev1.WatchResponse_Canceled:
		if e.Canceled.ResumeRevision > 0 {
			return status.Error(codes.Unavailable, "it has fallen behind with the stream")
		}
		return status.ErrorProto(e.Canceled.Status)
	}
	f.settle()
	return nil
}

// answered is when the poll was sent that has been answered now: the answer is at least
// as new.
func (f *follower) answered() time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	asked := f.asked
	f.asked = time.Time{}
	return asked
}

// reported records a gateway's report of its own knowledge, at a time or later.
func (f *follower) reported(s *stelev1.Snapshot, at time.Time) error {
	age := s.GetAge().AsDuration()
	if (s.GetStale() || age > maxGatewayAge) && f.better() {
		return errWorse
	}
	f.client.note(func(k *knowledge) { k.stale = s.GetStale() })
	if !s.GetStale() {
		f.promise.head, f.promise.current = s.GetHead(), at.Add(-age)
	}
	return nil
}

// settle records the knowledge that comes with the client's revision.
func (f *follower) settle() {
	c := f.client
	have := c.state.Load().revision
	if !f.created || f.initial {
		return
	}
	if p := f.promise; have >= p.head && !p.current.IsZero() {
		f.promise.current = time.Time{}
		c.note(func(k *knowledge) {
			if p.current.After(k.current) {
				k.current = p.current
			}
		})
	}
	if have >= f.head && !f.arrived {
		f.arrive()
	}
}

// arrive notes that the client has all that the gateway had when it was first asked.
func (f *follower) arrive() {
	f.arrived = true
	c := f.client
	c.note(func(k *knowledge) { k.gateway, k.live, k.err = f.address, true, nil })
	c.mu.Lock()
	first := !c.isLive
	c.isLive, c.pinned = true, true
	c.mu.Unlock()
	if first {
		close(c.live)
	}
	c.cfg.Log.Info("the settings are followed", "gateway", f.address, "revision", c.state.Load().revision)
}

// commit takes a commit, or a part of one. It reports whether the commit is complete.
func (f *follower) commit(part *stelev1.WatchCommit) bool {
	if f.part != nil {
		part.Changes = append(f.part.Changes, part.Changes...)
	}
	if f.part = part; part.More {
		return false
	}
	f.part = nil
	f.client.apply(part)
	return true
}

// state takes a page of a state: all of it, or of the keys whose commits were
// skipped.
func (f *follower) state(s *stelev1.WatchState) error {
	if f.page == nil {
		f.page = &stelev1.WatchState{}
	}
	f.page.Entries = append(f.page.Entries, s.Entries...)
	f.page.Deleted = append(f.page.Deleted, s.Deleted...)
	if s.More {
		return nil
	}
	page := f.page
	f.page = nil
	page.Revision, page.Id = s.Revision, s.Id
	if !f.initial {
		f.client.catchUp(page)
		return nil
	}
	if have := f.client.state.Load().revision; page.Revision < have && !f.reload {
		return status.Errorf(codes.OutOfRange, "it is behind: it has revision %d, and the client %d", page.Revision, have)
	}
	f.client.replace(page)
	f.initial, f.reload = false, false
	return nil
}
