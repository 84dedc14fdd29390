package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"github.com/stelehq/stele/scripts/bench/peer"
	"golang.org/x/sync/errgroup"
)

var disk = row{
	name:  "disk",
	about: "disk and restart after a million writes (8 min)",
	run:   apart([]int{1}, measureDisk, stores),
}

// historyWriters is how many callers write the history.
const historyWriters = 256

// lastValue is what a peer must answer after a restart.
const lastValue = `"the last write"`

var diskAndRestart = section{
	"Disk and restart",
	"After all the writes: what the files take, and the time from exec until the peer answers with the last value that it had acknowledged. Every peer keeps its history: etcd is not compacted, a NATS bucket keeps 64 versions of a key. For sizes and times less is better.",
}

func measureDisk(ctx context.Context, s *session) error {
	what := fmt.Sprintf("%d writes", s.opts.writes)
	if can, err := s.history(ctx, what); !can || err != nil {
		return err
	}
	if err := s.rss("after " + what); err != nil {
		return err
	}
	parts, sum, err := s.onDisk()
	if err != nil {
		return err
	}
	names := make([]string, len(parts))
	for i, p := range parts {
		names[i] = fmt.Sprintf("%s %s", p.Name, bytesText(float64(p.Bytes)))
	}
	s.report.size(diskAndRestart, "on disk", s.peer, sum)
	s.report.detail(diskAndRestart, s.peer, "on disk: "+strings.Join(names, ", "))

	for _, stop := range []struct {
		sig  syscall.Signal
		name string
	}{{syscall.SIGTERM, "SIGTERM"}, {syscall.SIGKILL, "SIGKILL"}} {
		d, err := s.restart(ctx, stop.sig)
		if err != nil {
			return err
		}
		s.report.duration(diskAndRestart, "first read after "+stop.name, s.peer, d)
	}
	return s.rss("after " + what + " and a restart")
}

// onDisk lists what the files of the peer take, and their sum in bytes.
func (s *session) onDisk() (parts []peer.Part, sum int64, err error) {
	parts, err = s.proc.Disk()
	for _, p := range parts {
		sum += p.Bytes
	}
	return parts, sum, err
}

// history writes random keys, the last one so that restart finds it.
func (s *session) history(ctx context.Context, what string) (can bool, err error) {
	sm, err := s.writeMany(ctx, s.opts.writes)
	if errors.Is(err, errCannot) {
		return false, nil
	}
	if err != nil {
		return true, fmt.Errorf("write %s: %w", what, err)
	}
	s.report.rate(diskAndRestart, fmt.Sprintf("%s, %d callers", what, historyWriters), s.peer, sm, "", nil)
	return true, s.writeLast(ctx)
}

// writeMany writes n random keys of random tenants, one per commit.
func (s *session) writeMany(ctx context.Context, n int) (sample, error) {
	c, err := s.dial(ctx, historyWriters)
	if err != nil {
		return sample{}, err
	}
	defer c.Close()
	w, ok := c.(peer.Writer)
	if !ok {
		return sample{}, errCannot
	}
	m, err := measureLimits(s.proc.CPU, s.dir)
	if err != nil {
		return sample{}, err
	}
	var done atomic.Int64
	histograms := make([]*hdrhistogram.Histogram, historyWriters)
	start := time.Now()
	g, gctx := errgroup.WithContext(ctx)
	for i := range histograms {
		h := newHistogram()
		histograms[i] = h
		g.Go(func() error {
			rng := newRand(i)
			for {
				at := done.Add(1)
				if at > int64(n) {
					return nil
				}
				if at%100_000 == 0 {
					log.Printf("%s: %d of %d writes", s.peer.Name(), at, n)
				}
				began := time.Now()
				if err := w.Write(gctx, s.data.tenant(rng), s.data.entry(rng)); err != nil {
					return err
				}
				_ = h.RecordValue(time.Since(began).Nanoseconds())
			}
		})
	}
	if err := g.Wait(); err != nil {
		return sample{}, err
	}
	sm := sampleOf(merge(histograms), time.Since(start))
	sm.limits, err = m.stop()
	return sm, err
}

// writeLast writes the value that restart waits for.
func (s *session) writeLast(ctx context.Context) error {
	c, err := s.dial(ctx, 1)
	if err != nil {
		return err
	}
	defer c.Close()
	return c.(peer.Writer).Write(ctx, s.data.tenants[0], peer.Entry{Key: s.data.keys[0], Value: lastValue})
}

// restart stops the process with sig, starts it on the same files and waits for
// the last value.
func (s *session) restart(ctx context.Context, sig syscall.Signal) (time.Duration, error) {
	if err := s.proc.Stop(sig); err != nil {
		return 0, err
	}
	start := time.Now()
	proc, err := peer.Start(ctx, s.peer, s.dir)
	if err != nil {
		return 0, err
	}
	s.proc = proc
	err = s.proc.Await(ctx, func(ctx context.Context, c peer.Client) error {
		r, ok := c.(peer.Reader)
		if !ok {
			return fmt.Errorf("%s reads nothing", s.peer.Name())
		}
		v, err := r.Read(ctx, s.data.tenants[0], s.data.keys[0])
		if err == nil && v != lastValue {
			err = fmt.Errorf("read %s, not the last value", v)
		}
		return err
	})
	return time.Since(start), err
}
