package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"path/filepath"
	"slices"
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

// bench is a run.
type bench struct {
	opts   *options
	report *report
	peers  []peer.Peer
	stele  peer.Stele
	row    string // that is measured
	starts int    // of sessions, for the names of their directories
}

// session is a running peer and the data that it is measured with.
type session struct {
	opts   *options
	report *report
	peer   peer.Peer
	proc   *peer.Instance
	data   dataset
	dir    string
}

// start runs the peer in a new directory.
func (b *bench) start(ctx context.Context, p peer.Peer, data dataset) (*session, error) {
	b.starts++
	s := &session{
		opts: b.opts, report: b.report, peer: p, data: data,
		dir: filepath.Join(b.opts.dir, fmt.Sprintf("%d-%s-%s", b.starts, b.row, p.Name())),
	}
	log.Printf("%s: %s, %s", b.row, p.Name(), tenancy(len(data.tenants)))
	var err error
	s.proc, err = peer.Run(ctx, p, s.dir)
	return s, err
}

// stop ends the peer and deletes its files.
func (s *session) stop() {
	_ = s.proc.Stop(syscall.SIGKILL) // no file of it is needed
	removeData(s.dir)
}

// apart returns a row that measures the peers one after the other, each while no
// other runs, for each number of tenants.
func apart(tenants []int, measure func(context.Context, *session) error, peers func(*bench) []peer.Peer) func(context.Context, *bench) error {
	return func(ctx context.Context, b *bench) error {
		for _, n := range b.tenantsOr(tenants) {
			for _, p := range peers(b) {
				if err := b.alone(ctx, p, newDataset(b.opts.keys, n), measure); ctx.Err() != nil {
					return ctx.Err()
				} else if err != nil {
					b.report.fail(b.row, p, err)
				}
			}
		}
		return nil
	}
}

// alone measures one peer.
func (b *bench) alone(ctx context.Context, p peer.Peer, data dataset, measure func(context.Context, *session) error) error {
	s, err := b.start(ctx, p, data)
	if err != nil {
		return err
	}
	defer s.stop()
	return measure(ctx, s)
}

func allPeers(b *bench) []peer.Peer { return b.peers }

// justStele is for rows that compare Stele with itself or with what they bring
// along.
func justStele(b *bench) []peer.Peer {
	return slices.DeleteFunc(slices.Clone(b.peers), func(p peer.Peer) bool { return p.Name() != b.stele.Name() })
}

// stores are the peers that keep data.
func stores(b *bench) []peer.Peer {
	return slices.DeleteFunc(slices.Clone(b.peers), func(p peer.Peer) bool { return p == peer.Echo{} })
}

// together returns a row that runs the peers at the same time and loads each with
// the data, for each number of tenants. measure lets them take turns, so that what
// else happens on the machine falls on all of them; a peer that waits for its turn
// uses next to no processor time.
func together(tenants []int, measure func(context.Context, *bench, []*session) error, peers func(*bench) []peer.Peer) func(context.Context, *bench) error {
	return func(ctx context.Context, b *bench) error {
		for _, n := range b.tenantsOr(tenants) {
			if err := b.inTurn(ctx, peers(b), newDataset(b.opts.keys, n), measure); ctx.Err() != nil {
				return ctx.Err()
			} else if err != nil {
				b.report.fail(b.row, column(tenancy(n)), err)
			}
		}
		return nil
	}
}

func (b *bench) inTurn(ctx context.Context, peers []peer.Peer, data dataset, measure func(context.Context, *bench, []*session) error) error {
	var sessions []*session
	for _, p := range peers {
		s, err := b.start(ctx, p, data)
		if err == nil {
			defer s.stop()
			_, err = s.fill(ctx, data)
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			b.report.fail(b.row, p, err)
			continue
		}
		sessions = append(sessions, s)
	}
	return measure(ctx, b, sessions)
}

// tenantsOr are the numbers of tenants that a row measures: the flag's, unless
// the row is about one number only.
func (b *bench) tenantsOr(usual []int) []int {
	if b.opts.tenants != nil && len(usual) > 1 {
		return b.opts.tenants
	}
	return usual
}

// callersOr are the callers of the flag, or the usual ones.
func (o *options) callersOr(usual ...int) []int {
	if o.callers != nil {
		return o.callers
	}
	return usual
}

// inRounds calls turn for every session in every round. The order changes from
// round to round, so that no peer is always the one after the same other.
func (b *bench) inRounds(ctx context.Context, sessions []*session, turn func(*session) error) error {
	defer func() { b.report.round = 0 }()
	for round := range b.opts.rounds {
		b.report.round = round
		for i := range sessions {
			if err := turn(sessions[(i+round)%len(sessions)]); err != nil {
				return err
			}
		}
	}
	return nil
}

// alternate measures a case for every number of callers in every round, with a
// client that has as many connections as the callers need. A measurement that
// fails is an entry of the table, and the next one starts.
func (b *bench) alternate(ctx context.Context, sec section, what string, sessions []*session, callers []int,
	measure func(s *session, c peer.Client, callers int) (sample, error)) error {
	for _, n := range callers {
		err := b.inRounds(ctx, sessions, func(s *session) error {
			c, err := s.dial(ctx, n)
			if err != nil {
				return err
			}
			sm, err := measure(s, c, n)
			if closeErr := c.Close(); err == nil {
				err = closeErr
			}
			b.report.rate(sec, what+count(n, "caller", "callers"), s.peer, sm, "", err)
			return ctx.Err()
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// instead stops the peer and starts another in its place, on its files.
func (s *session) instead(ctx context.Context, p peer.Peer) (err error) {
	if err := s.proc.Stop(syscall.SIGTERM); err != nil {
		return err
	}
	proc, err := peer.Start(ctx, p, s.dir)
	if err != nil {
		return err
	}
	s.proc = proc
	return s.proc.Await(ctx, func(context.Context, peer.Client) error { return nil })
}

// tenancy is the number of tenants, for a heading.
func tenancy(tenants int) string {
	return count(tenants, "tenant", "tenants")
}

func count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// dial opens the connections for a number of callers or streams.
func (s *session) dial(ctx context.Context, callers int) (peer.Client, error) {
	return s.proc.Dial(ctx, (callers+callersPerConn-1)/callersPerConn)
}

// load writes every key once, if the peer keeps any, and records the memory.
func (s *session) load(ctx context.Context) error {
	if can, err := s.fill(ctx, s.data); !can || err != nil {
		return err
	}
	return s.rss(fmt.Sprintf("%d keys loaded, %s", len(s.data.keys)*len(s.data.tenants), tenancy(len(s.data.tenants))))
}

// fill writes every key of the data once; can reports whether the peer keeps any.
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

// errCannot is the error of a measurement of an operation that the peer does not
// have; the table shows "-".
var errCannot = errors.New("-")

// rss records the memory of the peer now.
func (s *session) rss(when string) error {
	m, err := s.proc.Memory()
	if err != nil {
		return err
	}
	s.report.size(memory, when, s.peer, m.Resident)
	return nil
}

// These two gather results of all rows.
var (
	memory   = section{"Memory", "Resident memory of the peer's processes. Lower is better."}
	failures = section{"Failures", "Rows that ended early with a peer."}
)
