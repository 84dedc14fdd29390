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

var watch = theme{name: "watch", run: measureWatches}

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
	fmt.Sprintf("All watches are of one key, which is written %d times, each after all have seen the one before; from before the write until a watcher has the value. A stream is a gRPC stream, for NATS a consumer. Less is better.", watchWrites),
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

// watchers measures n watches on so many streams.
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
	f := &fanOut{session: s, tenant: s.data.tenants[0], key: s.data.keys[0], base: time.Now()}
	err = f.run(ctx, w, n, streams, func() error { return s.rss("with " + what) })
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
	session     *session
	tenant, key string
	base        time.Time

	// stamp is that of the write on its way. The watchers who see it take a
	// place in arrivals, put their latency there and count themselves as seen;
	// the last one says so.
	stamp        atomic.Int64
	places, seen atomic.Int64
	arrivals     []time.Duration
	all          chan struct{}

	each, last []time.Duration
}

func (f *fanOut) run(ctx context.Context, w peer.Watcher, watches, streams int, underWay func() error) (err error) {
	c, err := f.session.dial(ctx, 1)
	if err != nil {
		return err
	}
	defer c.Close()
	f.all = make(chan struct{}, 1)
	f.arrivals = make([]time.Duration, watches)
	stop, err := w.Watch(ctx, f.tenant, f.key, watches, streams, f.got)
	if err != nil {
		return fmt.Errorf("open watches: %w", err)
	}
	defer func() { err = errors.Join(err, stop()) }()
	for i := range watchWarmups + watchWrites {
		if err := f.write(ctx, c.(peer.Writer)); err != nil {
			return err
		}
		if i >= watchWarmups {
			f.each = append(f.each, f.arrivals...)
			f.last = append(f.last, slices.Max(f.arrivals))
		}
		time.Sleep(watchPause)
	}
	return underWay()
}

// stampDigits hold a time in nanoseconds.
const stampDigits = 20

// write writes the time and waits until every watcher has it.
func (f *fanOut) write(ctx context.Context, w peer.Writer) error {
	ctx, cancel := context.WithTimeout(ctx, watchTimeout)
	defer cancel()
	f.places.Store(0)
	f.seen.Store(0)
	stamp := time.Since(f.base)
	f.stamp.Store(int64(stamp))
	value := fmt.Sprintf(`"%0*d%s"`, stampDigits, stamp, letters[:valueSize-2-stampDigits])
	if err := w.Write(ctx, f.tenant, peer.Entry{Key: f.key, Value: value}); err != nil {
		return err
	}
	select {
	case <-f.all:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%d of %d watches saw a write: %w", f.seen.Load(), len(f.arrivals), ctx.Err())
	}
}

// got notes that one watcher has a value.
func (f *fanOut) got(value string) {
	stamp, err := strconv.ParseInt(value[1:1+stampDigits], 10, 64)
	if err != nil || stamp != f.stamp.Load() {
		return // not of the write on its way
	}
	latency := time.Since(f.base) - time.Duration(stamp)
	place := f.places.Add(1) - 1
	if place >= int64(len(f.arrivals)) {
		return // a watcher saw it twice
	}
	f.arrivals[place] = latency
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
