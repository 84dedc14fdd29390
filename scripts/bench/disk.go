package main

import (
	"context"
	"fmt"
	"log"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/stelehq/stele/scripts/bench/peer"
	"golang.org/x/sync/errgroup"
)

var disk = theme{name: "disk", run: measureDisk}

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
	parts, err := s.proc.Disk()
	if err != nil {
		return err
	}
	var sum int64
	names := make([]string, len(parts))
	for i, p := range parts {
		sum += p.Bytes
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

// history writes random keys, the last one so that restart finds it.
func (s *session) history(ctx context.Context, what string) (can bool, err error) {
	c, err := s.dial(ctx, historyWriters)
	if err != nil {
		return false, err
	}
	defer c.Close()
	w, ok := c.(peer.Writer)
	if !ok {
		return false, nil
	}
	var (
		done atomic.Int64
		h    = newHistogram()
		mine = make(chan time.Duration, historyWriters)
	)
	counted := make(chan struct{})
	go func() {
		defer close(counted)
		for d := range mine {
			_ = h.RecordValue(d.Nanoseconds())
		}
	}()
	start := time.Now()
	g, gctx := errgroup.WithContext(ctx)
	for i := range historyWriters {
		g.Go(func() error {
			rng := newRand(i)
			for {
				n := done.Add(1)
				if n > int64(s.opts.writes) {
					return nil
				}
				if n%100_000 == 0 {
					log.Printf("disk: %s has %d writes", s.peer.Name(), n)
				}
				began := time.Now()
				if err := w.Write(gctx, s.data.tenants[0], s.data.entry(rng)); err != nil {
					return err
				}
				mine <- time.Since(began)
			}
		})
	}
	err = g.Wait()
	took := time.Since(start)
	close(mine)
	<-counted
	if err != nil {
		return true, fmt.Errorf("write %s: %w", what, err)
	}
	s.report.rate(diskAndRestart, fmt.Sprintf("%s, %d callers", what, historyWriters), s.peer, sampleOf(h, took), "", nil)
	return true, w.Write(ctx, s.data.tenants[0], peer.Entry{Key: s.data.keys[0], Value: lastValue})
}

// restart stops the process with sig, starts it on the same files and waits for
// the last value.
func (s *session) restart(ctx context.Context, sig syscall.Signal) (time.Duration, error) {
	if err := s.proc.Stop(sig); err != nil {
		return 0, err
	}
	start := time.Now()
	proc, err := peer.Start(s.peer, s.dir)
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
