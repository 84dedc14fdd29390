package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/stelehq/stele/scripts/bench/peer"
)

var watch = row{
	name:  "watch",
	about: "from a write to its watchers (5 min)",
	run:   apart([]int{1}, measureWatches, stores),
}

const (
	watchWarmups = 5
	watchWrites  = 50
	// watchPause lets the peer come to rest between writes.
	watchPause = 50 * time.Millisecond
	// watchTimeout is for one write to reach every watcher.
	watchTimeout = time.Minute
	// watchesPerStream is how many share a stream where they do.
	watchesPerStream = 100
)

var watching = section{
	"Write to watcher",
	fmt.Sprintf("All watches select one key, which is written %d times, each time after all watches have received the previous value. Measured from before the write until a watcher has the value. A stream is a gRPC stream, for NATS a consumer. Lower is better.", watchWrites),
}

func measureWatches(ctx context.Context, s *session) error {
	if err := s.load(ctx); err != nil {
		return err
	}
	for _, n := range s.opts.watchers {
		if err := s.watchers(ctx, n, n); err != nil {
			return err
		}
		if n >= watchesPerStream {
			if err := s.watchers(ctx, n, n/watchesPerStream); err != nil {
				return err
			}
		}
	}
	return nil
}

// watchers measures n watches on a number of streams.
func (s *session) watchers(ctx context.Context, n, streams int) error {
	what := count(n, "watch", "watches") + " on " + count(streams, "stream", "streams")
	c, err := s.dial(ctx, streams)
	if err != nil {
		return err
	}
	defer c.Close()
	w, ok := c.(peer.Watcher)
	if !ok || streams < n && !w.SharesStreams() {
		return nil
	}
	writer, err := s.dial(ctx, 1)
	if err != nil {
		return err
	}
	defer writer.Close()
	f := newFanOut(writer.(peer.Writer), s.data.tenants[0], s.data.keys[0], n)
	stop, err := w.Watch(ctx, f.tenant, f.key, n, streams, f.got)
	if err != nil {
		return fmt.Errorf("open watches: %w", err)
	}
	err = f.run(ctx)
	if err == nil {
		err = s.rss("with " + what)
	}
	err = errors.Join(err, stop())
	if ctx.Err() != nil {
		return ctx.Err()
	}
	s.report.latency(watching, what+": a watcher", s.peer, quantiles(f.each), err)
	s.report.latency(watching, what+": the last watcher", s.peer, quantiles(f.last), err)
	return nil
}

// fanOut is one key with many watchers. Its values carry the time of their
// writing.
type fanOut struct {
	writer      peer.Writer
	tenant, key string
	base        time.Time

	// stamp is the stamp of the write on its way. Each watcher that sees it takes a slot in
	// arrivals, puts its latency there and counts itself as seen; the last one sends to
	// all.
	stamp       atomic.Int64
	slots, seen atomic.Int64
	arrivals    []time.Duration
	all         chan struct{}

	each, last []time.Duration
}

func newFanOut(w peer.Writer, tenant, key string, watches int) *fanOut {
	return &fanOut{
		writer: w, tenant: tenant, key: key, base: time.Now(),
		arrivals: make([]time.Duration, watches), all: make(chan struct{}, 1),
	}
}

// run writes the key again and again, each time after all watchers have seen the
// write before.
func (f *fanOut) run(ctx context.Context) error {
	for i := range watchWarmups + watchWrites {
		if err := f.write(ctx); err != nil {
			return err
		}
		if i >= watchWarmups {
			f.each = append(f.each, f.arrivals...)
			f.last = append(f.last, slices.Max(f.arrivals))
		}
		time.Sleep(watchPause)
	}
	return nil
}

// stampDigits hold a time in nanoseconds.
const stampDigits = 20

// write writes the time and waits until every watcher has it.
func (f *fanOut) write(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, watchTimeout)
	defer cancel()
	f.slots.Store(0)
	f.seen.Store(0)
	stamp := time.Since(f.base)
	f.stamp.Store(int64(stamp))
	value := fmt.Sprintf(`"%0*d%s"`, stampDigits, stamp, letters[:valueSize-2-stampDigits])
	if err := f.writer.Write(ctx, f.tenant, peer.Entry{Key: f.key, Value: value}); err != nil {
		return err
	}
	select {
	case <-f.all:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%d of %d watches saw a write: %w", f.seen.Load(), len(f.arrivals), ctx.Err())
	}
}

// got records that one watcher has a value.
func (f *fanOut) got(value string) {
	stamp, err := strconv.ParseInt(value[1:1+stampDigits], 10, 64)
	if err != nil || stamp != f.stamp.Load() {
		return // not of the write on its way
	}
	latency := time.Since(f.base) - time.Duration(stamp)
	slot := f.slots.Add(1) - 1
	if slot >= int64(len(f.arrivals)) {
		return // a watcher saw it twice
	}
	f.arrivals[slot] = latency
	if f.seen.Add(1) == int64(len(f.arrivals)) {
		f.all <- struct{}{}
	}
}

// quantiles sorts d and takes its p50 and p99.
func quantiles(d []time.Duration) sample {
	if len(d) == 0 {
		return sample{}
	}
	slices.Sort(d)
	return sample{p50: d[len(d)/2], p99: d[len(d)*99/100]}
}
