package replication

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/stelehq/stele/internal/gateway/fleet"
	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/replica"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
)

// maxReports is how many gateways an edge reports.
const maxReports = 100

// maxPosition bounds the positions that an upstream is believed.
const maxPosition = 1 << 62

// session is one upstream that is followed. One goroutine owns it.
type session struct {
	*Client
	u     *upstream
	epoch ledger.Epoch
	to    *replica.Target
	polls *polls
	begun time.Time

	welcome   bool
	positions map[ledger.Tenant]ledger.Sequence // of each tenant's last commit
}

// session follows one upstream until it fails.
func (c *Client) session(ctx context.Context, u *upstream, epoch ledger.Epoch, to *replica.Target) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	quiet := time.AfterFunc(silence, func() {
		cancel(fmt.Errorf("%w: it has not answered for %s", ledger.ErrUnavailable, silence))
	})
	defer quiet.Stop()
	stream, err := c.start(ctx, u, epoch[:], to.Have())
	if err != nil {
		return err
	}
	s := &session{
		Client: c, u: u, epoch: epoch, to: to, begun: time.Now(), polls: &polls{reports: c.cfg.Reports, asked: make(map[uint64]time.Time)},
		positions: make(map[ledger.Tenant]ledger.Sequence),
	}
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel(nil) // before running is waited for
	checks := make(chan struct{}, 1)
	running.Go(func() { s.polls.run(ctx, stream) })
	running.Go(func() {
		if err := c.verify(ctx, u, to, checks); err != nil {
			cancel(err)
		}
	})
	for {
		m, err := stream.Recv()
		if err != nil {
			if cause := context.Cause(ctx); cause != nil && ctx.Err() != nil {
				return cause
			}
			return err
		}
		useful, err := s.handle(ctx, m)
		if err != nil {
			return err
		}
		if useful {
			quiet.Reset(silence)
		}
		if m.GetProgress() != nil {
			select {
			case checks <- struct{}{}:
			default:
			}
		}
	}
}

// handle reports whether a message was of use. An upstream that sends none that is counts
// as silent.
func (s *session) handle(ctx context.Context, m *stelev1.FollowResponse) (useful bool, err error) {
	switch e := m.Event.(type) {
	case *stelev1.FollowResponse_Welcome:
		switch {
		case s.welcome:
			return false, fmt.Errorf("%w: it sent a second welcome", errContradiction)
		case string(e.Welcome.Epoch) != string(s.epoch[:]):
			return false, fmt.Errorf("%w: it is of the ledger %x, and the edge's is %s", ErrHistoryChanged, e.Welcome.Epoch, s.epoch)
		}
		s.welcome = true
		return true, s.following(s.u, e.Welcome.Path)
	case *stelev1.FollowResponse_Commits:
		if !s.welcome {
			return false, errNoWelcome
		}
		return s.apply(ctx, e.Commits.Commits)
	case *stelev1.FollowResponse_Progress:
		if !s.welcome {
			return false, errNoWelcome
		}
		if err := s.following(s.u, e.Progress.Path); err != nil {
			return false, err
		}
		return s.progress(e.Progress)
	}
	return false, nil
}

var errNoWelcome = fmt.Errorf("%w: its first response is not a welcome", errContradiction)

func (s *session) apply(ctx context.Context, commits []*stelev1.ReplicatedCommit) (useful bool, err error) {
	batch := make([]replica.Replicated, len(commits))
	for i, rc := range commits {
		commit, err := ledger.DecodeCommit(rc.Commit)
		if err != nil {
			return false, &ledger.ChainError{Reason: err.Error()}
		}
		position := ledger.Sequence(rc.Position)
		if last := s.positions[commit.Tenant]; position < last || position > maxPosition {
			return false, &ledger.ChainError{Tenant: commit.Tenant, Revision: commit.Revision,
				Reason: fmt.Sprintf("it is in message %d, and the commit before it in message %d", position, last)}
		}
		s.positions[commit.Tenant] = position
		batch[i] = replica.Replicated{Sequence: position, Commit: commit}
	}
	fresh, err := s.to.Apply(ctx, batch)
	return fresh > 0, err
}

// progress notes how far the upstream has come. Its age counts from when it was asked:
// how long the answer took is not known otherwise.
func (s *session) progress(m *stelev1.FollowProgress) (useful bool, err error) {
	if m.Stopped != "" {
		return false, fmt.Errorf("%w: it has stopped following: %.*s", ledger.ErrUnavailable, maxTrouble, m.Stopped)
	}
	// The position of an edge may go back when it changes its own upstream.
	if m.Position > maxPosition || m.LastPosition > maxPosition {
		return false, fmt.Errorf("%w: it is at message %d of %d", errContradiction, m.Position, m.LastPosition)
	}
	var current time.Time
	asked, answered := s.polls.take(m.Id)
	if answered && m.Age != nil {
		current = asked.Add(-max(m.Age.AsDuration(), 0))
	}
	s.to.Progress(ledger.Sequence(m.Position), ledger.Sequence(m.LastPosition), current)
	// An upstream that has lost its own is of less use than one that has not.
	if answered && len(s.upstreams) > 1 && time.Since(s.begun) > tooOld && (m.Age == nil || m.Age.AsDuration() > tooOld) {
		return false, fmt.Errorf("%w: it has not been up to date for %s", ledger.ErrUnavailable, tooOld)
	}
	return answered, nil
}

// polls are the questions that wait for an answer.
type polls struct {
	reports func() []*stelev1.GatewayStatus // nil for none

	mu    sync.Mutex
	asked map[uint64]time.Time
}

func (p *polls) run(ctx context.Context, s stream) {
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	var reported time.Time
	for id := uint64(1); ; id++ {
		poll := &stelev1.FollowPoll{Id: id}
		if p.reports != nil && time.Since(reported) >= fleet.Interval {
			all := p.reports()
			poll.Gateways, reported = all[:min(len(all), maxReports)], time.Now()
		}
		p.mu.Lock()
		p.asked[id] = time.Now()
		p.mu.Unlock()
		if s.Send(&stelev1.FollowRequest{Request: &stelev1.FollowRequest_Poll{Poll: poll}}) != nil {
			return // Recv reports why
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// take is when the poll was sent. Earlier ones are not waited for any more.
func (p *polls) take(id uint64) (asked time.Time, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	asked, ok = p.asked[id]
	for old := range p.asked {
		if ok && old <= id {
			delete(p.asked, old)
		}
	}
	return asked, ok
}
