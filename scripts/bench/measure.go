package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"golang.org/x/sync/errgroup"
)

// grace is how long an operation may continue after the measurement's end before it
// counts as hanging.
const grace = 30 * time.Second

// maxInFlight bounds what all pipelined callers together have sent and not had
// answered: more would measure the queue, and NATS refuses publishes beyond
// 10,000.
const maxInFlight = 2048

// sample is what a measurement gives.
type sample struct {
	// rate is operations a second.
	rate     float64
	p50, p99 time.Duration
	limits   *limits
}

// times multiplies the rate, for operations that are of n keys each.
func (s sample) times(n int) sample {
	s.rate *= float64(n)
	return s
}

func newHistogram() *hdrhistogram.Histogram {
	return hdrhistogram.New(time.Microsecond.Nanoseconds(), time.Minute.Nanoseconds(), 3)
}

// sampleOf is what the histogram, counted over d, says.
func sampleOf(h *hdrhistogram.Histogram, d time.Duration) sample {
	return sample{
		rate: float64(h.TotalCount()) / d.Seconds(),
		p50:  time.Duration(h.ValueAtQuantile(50)),
		p99:  time.Duration(h.ValueAtQuantile(99)),
	}
}

// span is the time in which operations that end are counted. Callers work from
// before it, to warm up, until its end.
type span struct{ from, until time.Time }

func (s span) over() bool { return !time.Now().Before(s.until) }

// record counts an operation that began at start and ends now.
func (s span) record(h *hdrhistogram.Histogram, start time.Time) {
	now := time.Now()
	if now.Before(s.from) || now.After(s.until) {
		return
	}
	// The operation's context ends before the histogram's range does.
	_ = h.RecordValue(now.Sub(start).Nanoseconds())
}

// closedLoop has callers who each do op again as soon as it is done.
func (s *session) closedLoop(ctx context.Context, callers int, op func(context.Context, *rand.Rand) error) (sample, error) {
	return s.concurrently(ctx, callers, func(ctx context.Context, caller int, sp span, h *hdrhistogram.Histogram) error {
		rng := newRand(caller)
		return loop(ctx, sp, h, func(ctx context.Context) error { return op(ctx, rng) })
	})
}

// loop is one caller of a closed loop.
func loop(ctx context.Context, sp span, h *hdrhistogram.Histogram, op func(context.Context) error) error {
	for !sp.over() {
		start := time.Now()
		if err := op(ctx); err != nil {
			return err
		}
		sp.record(h, start)
	}
	return nil
}

// pipe is one pipelined stream of operations.
type pipe struct {
	send            func(*rand.Rand) error
	recv, closeSend func() error
}

// pipelined has callers who each keep a window of operations in flight.
func (s *session) pipelined(ctx context.Context, callers int, open func(ctx context.Context, caller int) (pipe, error)) (sample, error) {
	window := max(1, min(128, maxInFlight/callers))
	return s.concurrently(ctx, callers, func(ctx context.Context, caller int, sp span, h *hdrhistogram.Histogram) error {
		g, ctx := errgroup.WithContext(ctx)
		p, err := open(ctx, caller)
		if err != nil {
			return err
		}
		slots := make(chan struct{}, window)
		started := make(chan time.Time, window)
		g.Go(func() error {
			defer close(started)
			rng := newRand(caller)
			for !sp.over() {
				select {
				case slots <- struct{}{}:
				case <-ctx.Done():
					return ctx.Err()
				}
				started <- time.Now()
				if err := p.send(rng); errors.Is(err, io.EOF) {
					return nil // the receiver learns why
				} else if err != nil {
					return err
				}
			}
			return p.closeSend()
		})
		g.Go(func() error {
			for start := range started {
				if err := p.recv(); err != nil {
					return err
				}
				<-slots
				sp.record(h, start)
			}
			return nil
		})
		return g.Wait()
	})
}

// concurrently runs callers over one span and sums up their histograms.
func (s *session) concurrently(ctx context.Context, callers int, call func(ctx context.Context, caller int, sp span, h *hdrhistogram.Histogram) error) (sample, error) {
	histograms, l, err := s.histograms(ctx, callers, call)
	if err != nil {
		return sample{}, err
	}
	sum := merge(histograms)
	if sum.TotalCount() == 0 {
		return sample{}, fmt.Errorf("nothing finished within %s", s.opts.duration)
	}
	sm := sampleOf(sum, s.opts.duration)
	sm.limits = l
	return sm, nil
}

// histograms runs callers over one span and returns the histogram of each, and what
// limited them.
func (s *session) histograms(ctx context.Context, callers int, call func(ctx context.Context, caller int, sp span, h *hdrhistogram.Histogram) error) ([]*hdrhistogram.Histogram, *limits, error) {
	m, err := measureLimits(s.proc.CPU, s.dir)
	if err != nil {
		return nil, nil, err
	}
	from := time.Now().Add(s.opts.warmup)
	sp := span{from, from.Add(s.opts.duration)}
	ctx, cancel := context.WithDeadline(ctx, sp.until.Add(grace))
	defer cancel()
	g, ctx := errgroup.WithContext(ctx)
	histograms := make([]*hdrhistogram.Histogram, callers)
	for i := range callers {
		histograms[i] = newHistogram()
		g.Go(func() error { return call(ctx, i, sp, histograms[i]) })
	}
	if err := g.Wait(); err != nil {
		return nil, nil, err
	}
	l, err := m.stop()
	return histograms, l, err
}

func merge(histograms []*hdrhistogram.Histogram) *hdrhistogram.Histogram {
	sum := newHistogram()
	for _, h := range histograms {
		sum.Merge(h)
	}
	return sum
}
