package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"github.com/stelehq/stele/scripts/bench/peer"
	"golang.org/x/sync/errgroup"
)

// paced is the steady number of commits per second while the lag is measured.
const paced = 100

var sinkLag = section{
	fmt.Sprintf("From commit to sink, %d commits a second", paced),
	"From the acknowledgment of a commit of one new key until a proxy in front of the sink sees its answer, or until its file exists (checked every millisecond): p50 and p99.",
}

// arrivals measures the time from a commit until its key is in a sink.
type arrivals struct {
	mu        sync.Mutex // guards the fields below
	committed map[string]time.Time
	early     map[string]time.Time // in the sink before the caller knew of the commit
	lags      *hdrhistogram.Histogram
}

func newArrivals() *arrivals {
	return &arrivals{committed: make(map[string]time.Time), early: make(map[string]time.Time), lags: newHistogram()}
}

func (a *arrivals) commit(key string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if _, there := a.early[key]; there {
		delete(a.early, key)
		_ = a.lags.RecordValue(0)
		return
	}
	a.committed[key] = time.Now()
}

func (a *arrivals) arrive(key string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if at, ok := a.committed[key]; ok {
		delete(a.committed, key)
		_ = a.lags.RecordValue(time.Since(at).Nanoseconds())
		return
	}
	a.early[key] = time.Now()
}

// waiting returns the keys that are not in the sink yet.
func (a *arrivals) waiting() (keys []string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for k := range a.committed {
		keys = append(keys, k)
	}
	return keys
}

func (a *arrivals) done() bool { return len(a.waiting()) == 0 }

// commitPaced commits new keys of each tenant in turn at a steady pace, then waits
// until all are in the sink.
func (s sinkSession) commitPaced(ctx context.Context, a *arrivals) error {
	c, err := s.dial(ctx, loaders)
	if err != nil {
		return err
	}
	defer c.Close()
	w, rng := c.(peer.Writer), newRand(0)
	g, callCtx := errgroup.WithContext(ctx)
	tick := time.NewTicker(time.Second / paced)
	defer tick.Stop()
	for i := range int(s.opts.duration.Seconds() * paced) {
		tenant := s.data.tenants[i%len(s.data.tenants)]
		key, value := fmt.Sprintf("%s/lag/%06d", s.sink, i), randomValue(rng)
		g.Go(func() error {
			err := w.Write(callCtx, tenant, peer.Entry{Key: key, Value: value})
			a.commit(tenant + "/" + key)
			return err
		})
		<-tick.C
	}
	if err := g.Wait(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, settled)
	defer cancel()
	for !a.done() {
		select {
		case <-ctx.Done():
			return fmt.Errorf("%d keys did not reach sink %s", len(a.waiting()), s.sink)
		case <-time.After(time.Millisecond):
		}
	}
	return nil
}

// tapped measures the lag of a sink on AWS.
func (s sinkSession) tapped(ctx context.Context, name, endpoint, settings string, env []string) error {
	a := newArrivals()
	tap, err := newTap(endpoint, a)
	if err != nil {
		return err
	}
	defer tap.Close()
	p, err := s.stele(fmt.Sprintf(settings, tap.URL), env)
	if err != nil {
		return err
	}
	if err := s.projecting(ctx, p); err != nil {
		return err
	}
	err = s.commitPaced(ctx, a)
	s.report.latency(sinkLag, name+", "+tenancy(len(s.data.tenants)), s.peer, sampleOf(a.lags, s.opts.duration), err)
	return err
}

// A request to a sink on AWS contains each key that commitPaced wrote, and its tenant
// as often.
var (
	lagKey    = regexp.MustCompile(`[a-z]+/lag/\d{6}`)
	lagTenant = regexp.MustCompile(`tenant-\d{3}`)
)

// newTap starts a proxy that records the keys in requests that were answered.
func newTap(endpoint string, a *arrivals) (*httptest.Server, error) {
	to, err := url.Parse(endpoint)
	if err != nil {
		return nil, err
	}
	forward := httputil.NewSingleHostReverseProxy(to)
	forward.Transport = &http.Transport{MaxIdleConnsPerHost: 100}
	return httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return // the client has gone
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		forward.ServeHTTP(w, r)
		keys, tenants := lagKey.FindAll(body, -1), lagTenant.FindAll(body, -1)
		for i := range min(len(keys), len(tenants)) {
			a.arrive(string(tenants[i]) + "/" + string(keys[i]))
		}
	})), nil
}

// fileLag measures the lag of the sink of files.
func (s sinkSession) fileLag(ctx context.Context) error {
	a := newArrivals()
	g, ctx := errgroup.WithContext(ctx)
	looking, stop := context.WithCancel(ctx)
	g.Go(func() error {
		for looking.Err() == nil {
			for _, key := range a.waiting() {
				if _, err := os.Stat(filepath.Join(s.dir, "materialized", s.sink, key)); err == nil {
					a.arrive(key)
				}
			}
			time.Sleep(time.Millisecond)
		}
		return nil
	})
	g.Go(func() error {
		defer stop()
		return s.commitPaced(ctx, a)
	})
	err := g.Wait()
	s.report.latency(sinkLag, "files, "+tenancy(len(s.data.tenants)), s.peer, sampleOf(a.lags, s.opts.duration), err)
	return err
}
