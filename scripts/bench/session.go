package main

import (
	"context"
	"fmt"
	"log"
	"path/filepath"
	"syscall"

	"github.com/stelehq/stele/scripts/bench/peer"
	"golang.org/x/sync/errgroup"
)

const (
	// callersPerConn is how many callers, or streams, share a connection.
	callersPerConn = 64
	// loaders is how many callers load the data.
	loaders = 16
)

// theme is one thing to measure. It runs once for every peer, each time on a
// process of its own that starts without data.
type theme struct {
	name string
	// tenancies runs it once for every number of tenants, too.
	tenancies bool
	// alone runs it for Stele only, which is compared with itself or with what the
	// theme brings along.
	alone bool
	run   func(context.Context, *session) error
}

// session is one theme's time with one peer.
type session struct {
	opts   *options
	report *report
	peer   peer.Peer
	proc   *peer.Process
	data   dataset
	dir    string
}

// runSession starts the peer in a new folder, runs the theme and stops the peer.
func runSession(ctx context.Context, opts *options, r *report, t theme, p peer.Peer, tenants int) (err error) {
	s := &session{
		opts:   opts,
		report: r,
		peer:   p,
		data:   newDataset(opts.keys, tenants),
		dir:    filepath.Join(opts.dir, fmt.Sprintf("%s-%d-%s", t.name, tenants, p.Name())),
	}
	log.Printf("%s: %s, %s", t.name, p.Name(), tenancy(tenants))
	if s.proc, err = peer.Start(p, s.dir); err != nil {
		return err
	}
	// The files are thrown away: there is nothing to end in peace for.
	defer func() { _ = s.proc.Stop(syscall.SIGKILL); removeData(s.dir) }()
	if err := s.proc.Await(ctx, func(context.Context, peer.Client) error { return nil }); err != nil {
		return err
	}
	return t.run(ctx, s)
}

// instead stops the process and starts another in its place, on its files.
func (s *session) instead(ctx context.Context, p peer.Peer) (err error) {
	if err := s.proc.Stop(syscall.SIGTERM); err != nil {
		return err
	}
	proc, err := peer.Start(p, s.dir)
	if err != nil {
		return err
	}
	s.proc = proc
	return s.proc.Await(ctx, func(context.Context, peer.Client) error { return nil })
}

// tenancy says how many tenants, for a heading.
func tenancy(tenants int) string {
	return count(tenants, "tenant", "tenants")
}

func count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// dial opens the connections for so many callers or streams.
func (s *session) dial(ctx context.Context, callers int) (peer.Client, error) {
	return s.proc.Dial(ctx, (callers+callersPerConn-1)/callersPerConn)
}

// load writes every key once, if the peer keeps any.
func (s *session) load(ctx context.Context) error {
	if can, err := s.fill(ctx, s.data); !can || err != nil {
		return err
	}
	return s.rss(fmt.Sprintf("%d keys loaded, %s", len(s.data.keys)*len(s.data.tenants), tenancy(len(s.data.tenants))))
}

// fill writes every key of the data once; can says whether the peer keeps any.
func (s *session) fill(ctx context.Context, d dataset) (can bool, err error) {
	c, err := s.dial(ctx, loaders)
	if err != nil {
		return false, err
	}
	defer c.Close()
	w, ok := c.(peer.SetWriter)
	if !ok {
		return false, nil
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(loaders)
	rng := newRand(0)
	for at := 0; at < len(d.keys); at += setSize {
		for _, tenant := range d.tenants {
			set := entries(rng, d.keys[at:min(at+setSize, len(d.keys))])
			g.Go(func() error { return w.WriteSet(ctx, tenant, set) })
		}
	}
	if err := g.Wait(); err != nil {
		return false, fmt.Errorf("load %s: %w", s.peer.Name(), err)
	}
	return true, nil
}

// each calls measure for every number of callers, with a client that has as many
// connections as they need. A measurement that fails is an entry of the table,
// and the next goes on.
func (s *session) each(ctx context.Context, sec section, what string, measure func(c peer.Client, callers int) (sample, string, error)) error {
	for _, callers := range s.opts.callers {
		c, err := s.dial(ctx, callers)
		if err != nil {
			return err
		}
		sm, note, err := measure(c, callers)
		if closeErr := c.Close(); err == nil {
			err = closeErr
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		s.report.rate(sec, what+", "+count(callers, "caller", "callers"), s.peer, sm, note, err)
	}
	return nil
}

// rss records the process's memory now.
func (s *session) rss(when string) error {
	n, err := s.proc.RSS()
	if err != nil {
		return err
	}
	s.report.size(memory, when, s.peer, n)
	return nil
}

// These two gather results of all themes.
var (
	memory   = section{"Memory", "Resident memory of the peer's process. Less is better."}
	failures = section{"Failures", "Themes that ended early with a peer."}
)
