package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/stelehq/stele/internal/projector/dynamotest"
	"github.com/stelehq/stele/internal/projector/fakeaws"
	"github.com/stelehq/stele/scripts/bench/peer"
	"golang.org/x/sync/errgroup"
)

var sinks = row{
	name:  "sinks",
	about: "rates and delays of sinks, and how much the files sink slows down writers (8 min)",
	run:   apart([]int{1, 100}, measureSinks, justStele),
}

const (
	// sinkKeys are written to a sink, and twice as many events.
	sinkKeys = 10_000
	// fileKeys is small because the files sink pauses after each version of a tenant for
	// nine times as long as the version took, which adds up to minutes on a slow disk.
	fileKeys = 2_000
	// settled bounds how long a sink may take to catch up.
	settled = 3 * time.Minute
)

// The columns next to Stele.
const (
	bareClient column = "bare client"
	noSinks    column = "stele without sinks"
)

// sinkSession is a session of Stele whose keys go to one sink.
type sinkSession struct {
	*session
	sink string
}

func measureSinks(ctx context.Context, s *session) error {
	for _, m := range []struct {
		sink    string
		measure func(context.Context, sinkSession) error
	}{{"dynamodb", measureDynamoDB}, {"eventbridge", measureEventBridge}, {"files", measureFiles}} {
		if err := m.measure(ctx, sinkSession{s, m.sink}); err != nil {
			return err
		}
	}
	return nil
}

func (s sinkSession) section() section {
	return section{
		"Into sinks, " + tenancy(len(s.data.tenants)),
		"Keys and events committed in sets of 100 at full speed, from the first commit until the sink has all of them; and the rebuild of an emptied sink. The bare client is AWS's SDK alone: it sends the same requests to the same endpoint (dynalite; a server of EventBridge's protocol in the load's process) with the same concurrency while Stele does not run.",
	}
}

// stele is Stele with one sink, which gets the keys that begin with its name.
func (s sinkSession) stele(settings string, env []string) (peer.Stele, error) {
	p := s.peer.(peer.Stele)
	p.Env, p.Routes = env, s.dir+"-routes.json"
	routes := fmt.Sprintf(`{"sinks": {%q: %s}, "routes": [{"prefix": "%[1]s/", "sinks": [%[1]q]}]}`, s.sink, settings)
	return p, os.WriteFile(p.Routes, []byte(routes), 0o600)
}

// projecting replaces the running peer with p and waits until the sink has caught up.
func (s sinkSession) projecting(ctx context.Context, p peer.Peer) error {
	if err := s.instead(ctx, p); err != nil {
		return err
	}
	return s.awaitAll(ctx, 0)
}

// awaitAll returns when at least want keys were written and the sink is not behind.
func (s sinkSession) awaitAll(ctx context.Context, want uint64) error {
	c, err := s.dial(ctx, 1)
	if err != nil {
		return err
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(ctx, settled)
	defer cancel()
	for {
		written, behind, err := c.(peer.Projecting).Sink(ctx, s.sink)
		if err == nil && behind == 0 && written >= want {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("sink %s has %d of %d and is %d revisions behind: %w", s.sink, written, want, behind, errors.Join(ctx.Err(), err))
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// keys returns a number of keys whose names route them to the sink.
func (s sinkSession) keys(keys int) dataset {
	d := newDataset(keys, len(s.data.tenants))
	for i, k := range d.keys {
		d.keys[i] = s.sink + strings.TrimPrefix(k, "tenantconfig")
	}
	return d
}

// into measures the rate at which new keys reach the sink.
func (s sinkSession) into(ctx context.Context, d dataset) (sample, error) {
	begun := time.Now()
	if _, err := s.fill(ctx, d); err != nil {
		return sample{}, err
	}
	n := len(d.keys) * len(d.tenants)
	err := s.awaitAll(ctx, uint64(n))
	return sample{rate: float64(n) / time.Since(begun).Seconds()}, err
}

// rebuilt measures the rate at which an empty sink is rebuilt with n keys.
func (s sinkSession) rebuilt(ctx context.Context, n int) (sample, error) {
	c, err := s.dial(ctx, 1)
	if err != nil {
		return sample{}, err
	}
	defer c.Close()
	before, _, err := c.(peer.Projecting).Sink(ctx, s.sink)
	if err != nil {
		return sample{}, err
	}
	begun := time.Now()
	if err := c.(peer.Projecting).Rebuild(ctx, s.sink); err != nil {
		return sample{}, err
	}
	err = s.awaitAll(ctx, before+uint64(n))
	return sample{rate: float64(n) / time.Since(begun).Seconds()}, err
}

func measureDynamoDB(ctx context.Context, s sinkSession) (err error) {
	server, err := dynamotest.Run()
	if errors.Is(err, dynamotest.ErrMissing) {
		log.Printf("sinks: DynamoDB is skipped: %v", err)
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, server.Close()) }()
	sec, d := s.section(), s.keys(sinkKeys)
	n := len(d.keys) * len(d.tenants)
	if err := s.tapped(ctx, "DynamoDB", server.Endpoint, `{"create": true, "table": "lag", "endpoint": %q}`, dynamotest.Environment); err != nil {
		return err
	}
	p, err := s.stele(fmt.Sprintf(`{"create": true, "table": "sink", "endpoint": %q}`, server.Endpoint), dynamotest.Environment)
	if err != nil {
		return err
	}
	bare := newBareDynamo(server.Endpoint)
	defer bare.close()
	if err := s.projecting(ctx, p); err != nil {
		return err
	}
	sm, err := s.into(ctx, d)
	s.report.rate(sec, fmt.Sprintf("DynamoDB, %d new keys", n), s.peer, sm, "", err)
	if err != nil {
		return err
	}
	if err := s.proc.Stop(syscall.SIGTERM); err != nil {
		return err
	}
	sm, err = bare.write(ctx, "sink", "bare")
	s.report.rate(sec, fmt.Sprintf("DynamoDB, %d new keys", n), bareClient, sm, "", err)
	if err != nil {
		return err
	}
	if err := bare.drop(ctx, "sink"); err != nil {
		return err
	}
	if err := s.projecting(ctx, p); err != nil {
		return err
	}
	name := fmt.Sprintf("DynamoDB, rebuild of %d keys", n)
	sm, err = s.rebuilt(ctx, n)
	s.report.rate(sec, name, s.peer, sm, "", err)
	if err != nil {
		return err
	}
	if err := s.proc.Stop(syscall.SIGTERM); err != nil {
		return err
	}
	sm, err = bare.write(ctx, "sink", "bare-again")
	s.report.rate(sec, name, bareClient, sm, "", err)
	return err
}

func measureEventBridge(ctx context.Context, s sinkSession) error {
	server, err := fakeaws.Start()
	if err != nil {
		return err
	}
	defer server.Close()
	sec, d := s.section(), s.keys(2*sinkKeys)
	n := len(d.keys) * len(d.tenants)
	if err := s.tapped(ctx, "EventBridge", server.URL, `{"bus": "default", "endpoint": %q}`, server.Environ()); err != nil {
		return err
	}
	p, err := s.stele(`{"bus": "default"}`, server.Environ())
	if err != nil {
		return err
	}
	if err := s.projecting(ctx, p); err != nil {
		return err
	}
	before := len(server.Buses.Events())
	sm, err := s.into(ctx, d)
	name := fmt.Sprintf("EventBridge, %d events", n)
	s.report.rate(sec, name, s.peer, sm, "", err)
	if err != nil {
		return err
	}
	if err := s.proc.Stop(syscall.SIGTERM); err != nil {
		return err
	}
	sm, err = putEvents(ctx, server, server.Buses.Events()[before:])
	s.report.rate(sec, name, bareClient, sm, "", err)
	return err
}

// measureFiles measures the default sink of `stele up`.
func measureFiles(ctx context.Context, s sinkSession) error {
	p := s.peer.(peer.Stele)
	p.Routes = ""
	if err := s.projecting(ctx, p); err != nil {
		return err
	}
	if err := s.fileLag(ctx); err != nil {
		return err
	}
	d := s.keys(fileKeys)
	n := len(d.keys) * len(d.tenants)
	sm, err := s.into(ctx, d)
	s.report.rate(s.section(), fmt.Sprintf("files, %d new keys", n), s.peer, sm, "", err)
	if err != nil {
		return err
	}
	if err := s.writersCost(ctx, p, d); err != nil {
		return err
	}
	if err := s.proc.Stop(syscall.SIGTERM); err != nil {
		return err
	}
	if err := os.RemoveAll(filepath.Join(s.dir, "materialized")); err != nil {
		return err
	}
	if err := s.projecting(ctx, p); err != nil {
		return err
	}
	sm, err = s.rebuilt(ctx, n)
	s.report.rate(s.section(), fmt.Sprintf("files, rebuild of %d keys", n), s.peer, sm, "", err)
	return err
}

// writersCost measures how much the files sink slows down writers. Runs with and without it
// take turns, so that a machine that slows down affects both.
func (s sinkSession) writersCost(ctx context.Context, files peer.Peer, d dataset) error {
	sec := section{
		"Writes with the files sink, " + tenancy(len(s.data.tenants)),
		fmt.Sprintf("Durable writes of one of %d keys with the default sink of `stele up`, which writes every key to a file, and without any sink. Means of two measurements each, in the order with, without, without, with.", len(d.keys)*len(d.tenants)),
	}
	for _, callers := range []int{1, loadedCallers} {
		var with, bare [2]sample
		for _, m := range []struct {
			p     peer.Peer
			files bool
			to    *sample
		}{{files, true, &with[0]}, {s.peer, false, &bare[0]}, {s.peer, false, &bare[1]}, {files, true, &with[1]}} {
			if err := s.instead(ctx, m.p); err != nil {
				return err
			}
			if m.files {
				if err := s.awaitAll(ctx, 0); err != nil {
					return err
				}
			}
			c, err := s.dial(ctx, callers)
			if err != nil {
				return err
			}
			w := c.(peer.Writer)
			*m.to, err = s.closedLoop(ctx, callers, func(ctx context.Context, rng *rand.Rand) error {
				return w.Write(ctx, d.tenant(rng), d.entry(rng))
			})
			if err := errors.Join(err, c.Close()); err != nil {
				return err
			}
		}
		name := count(callers, "caller", "callers")
		s.report.rate(sec, name, s.peer, mean(with), "", nil)
		s.report.rate(sec, name, noSinks, mean(bare), "", nil)
	}
	return s.awaitAll(ctx, 0)
}

const loadedCallers = 64

func mean(s [2]sample) sample {
	return sample{rate: (s[0].rate + s[1].rate) / 2, p50: (s[0].p50 + s[1].p50) / 2, p99: (s[0].p99 + s[1].p99) / 2}
}

// parallel calls do n times, at most most at a time, and returns the rate.
func parallel(ctx context.Context, n, most int, do func(ctx context.Context, i int) error) (sample, error) {
	begun := time.Now()
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(most)
	for i := range n {
		g.Go(func() error { return do(ctx, i) })
	}
	err := g.Wait()
	return sample{rate: float64(n) / time.Since(begun).Seconds()}, err
}
