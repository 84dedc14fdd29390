package projector

import (
	"context"
	"time"

	"github.com/stelehq/stele/internal/ledger"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// status is how the sink is, for a tenant or for all.
func (wr *writer) status(t ledger.Tenant) *stelev1.SinkStatus {
	st := &stelev1.SinkStatus{Name: wr.name, Kind: wr.spec.Kind, Owner: wr.p.host}
	var oldest time.Time
	for _, l := range wr.queue.lines {
		if t != "" && l.tenant != t {
			continue
		}
		at := l.position()
		st.LagRevisions += uint64(l.head - at)
		st.Pending += l.pending()
		if l.tenant == t {
			st.Position, st.Head = uint64(at), uint64(l.head)
		}
		if w := l.waiting(); !w.IsZero() && (oldest.IsZero() || w.Before(oldest)) {
			oldest = w
		}
	}
	if !oldest.IsZero() && st.LagRevisions > 0 {
		st.Lag = durationpb.New(time.Since(oldest))
	}
	if left, ok := wr.speed.left(st.Pending); ok {
		st.TimeLeft = durationpb.New(left)
	}
	st.Parked = waiting(wr.parked.of(t, ""))
	if since, why := wr.failing(t); why != nil {
		st.Failing, st.FailingSince = why.Error(), timestamppb.New(since)
	}
	if w, ok := wr.sink.(Warner); ok {
		st.Warnings = w.Warnings()
	}
	st.Stopped = wr.stop.reason()
	st.Drifted = uint32(wr.drift.count(t))
	st.Uncompared = uint32(wr.drift.countUncompared(t))
	if at := wr.drift.lastSwept(); !at.IsZero() {
		st.Checked = timestamppb.New(at)
	}
	wr.health.tally(st)
	return st
}

// failingTries is how many attempts in a row fail before the status calls the sink
// failing: a single fault is normal.
const failingTries = 3

// failing returns why writes for the tenant, or for all, fail at the moment, and
// since when. Writes that fail are retried until they succeed.
func (wr *writer) failing(t ledger.Tenant) (since time.Time, why error) {
	if wr.outage.failures >= failingTries {
		why, since = wr.outage.err, wr.outage.since
	}
	for _, l := range wr.queue.lines {
		if t != "" && l.tenant != t {
			continue
		}
		for _, e := range l.entries {
			if e.tries >= failingTries && (since.IsZero() || e.failed.Before(since)) {
				why, since = e.err, e.failed
			}
		}
	}
	return since, why
}

// statusNotOpen is the state that the last owner has left, and the reason why this one
// cannot open the sink.
func (r *runner) statusNotOpen(ctx context.Context, t ledger.Tenant) (*stelev1.SinkStatus, error) {
	c := &Control{Conn: r.p.cfg.Conn, Journal: r.p.cfg.Journal, Replica: r.p.cfg.Replica}
	st, err := c.Left(ctx, r.name, t)
	if err != nil {
		return nil, err
	}
	st.Kind, st.Owner = r.spec.Kind, r.p.host
	r.health.tally(st)
	r.health.failingToOpen(st)
	return st, nil
}

// statuses are those of the sinks that the routes name: nil if another process writes
// to one, empty if this one owns it and cannot open it.
func (p *Projector) statuses() map[string]*stelev1.SinkStatus {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	p.mu.Lock()
	defer p.mu.Unlock()
	out := make(map[string]*stelev1.SinkStatus, len(p.runners))
	for name, r := range p.runners {
		out[name] = nil
		is := r.opened.Load()
		switch {
		case is != nil:
			_ = is.writer.call(ctx, func() { out[name] = is.writer.status("") }) // nil, when it is being handed over
		case r.held.Load():
			out[name] = &stelev1.SinkStatus{}
			r.health.failingToOpen(out[name])
		}
	}
	return out
}

// speed measures how fast a sink is written to.
type speed struct {
	samples []speedSample // the oldest first
}

type speedSample struct {
	at     time.Time
	writes uint64
}

// speedWindow is how long a sample counts.
const speedWindow = 30 * time.Second

// sample notes how many writes there were up to now.
func (s *speed) sample(now time.Time, writes uint64) {
	s.samples = append(s.samples, speedSample{now, writes})
	for len(s.samples) > 2 && now.Sub(s.samples[0].at) > speedWindow {
		s.samples = s.samples[1:]
	}
}

// left estimates how long so many writes take; ok is false while none is made.
func (s *speed) left(pending uint64) (left time.Duration, ok bool) {
	if pending == 0 || len(s.samples) < 2 {
		return 0, false
	}
	first, last := s.samples[0], s.samples[len(s.samples)-1]
	writes, took := last.writes-first.writes, last.at.Sub(first.at)
	if writes == 0 || took <= 0 {
		return 0, false
	}
	return time.Duration(float64(took) * float64(pending) / float64(writes)), true
}
