package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/stelehq/stele/scripts/bench/peer"
)

var (
	replication = row{
		name:  "replication",
		about: "from a write at the core to the last of 60 edges in two levels, with 10,000 watches (3 min)",
		run:   measureReplication,
	}
	catchUp = row{
		name:  "catchup",
		about: "an edge that starts with 100,000 commits to fetch (3 min)",
		run:   measureCatchUp,
	}
)

const (
	// edgeTenant is the tenant that the edges replicate.
	edgeTenant = "acme"
	// edgesPerUpstream is how many edges follow each of those that follow the core.
	edgesPerUpstream = 9
)

// edgesMissing logs that the row is skipped and returns true when this Stele has no
// edges.
func (b *bench) edgesMissing(ctx context.Context) (bool, error) {
	has, err := b.stele.HasFlag(ctx, peer.EdgeFlag)
	if err == nil && !has {
		log.Printf("%s: skipped: \"stele serve\" of this tree has no flag %s", b.row, peer.EdgeFlag)
	}
	return !has, err
}

// startCore runs the ledger that the edges replicate, and connects a client to it.
func (b *bench) startCore(ctx context.Context) (*session, peer.Client, error) {
	data := newDataset(1000, 1)
	data.tenants = []string{edgeTenant}
	core, err := b.start(ctx, b.stele, data)
	if err != nil {
		return nil, nil, err
	}
	c, err := core.dial(ctx, historyWriters)
	if err != nil {
		core.stop()
		return nil, nil, err
	}
	return core, c, nil
}

// edge describes an edge of the core that replicates from an address.
func (b *bench) edge(core *session, upstream, history string) peer.Edge {
	return peer.Edge{Stele: b.stele, Core: core.dir, Upstream: upstream, History: history, Tenant: edgeTenant}
}

// upstreamsOf places n edges in two levels: for each edge the index of the edge that
// it replicates from, or -1 for the core. Upstreams come before their followers.
func upstreamsOf(n int) []int {
	first := (n + edgesPerUpstream) / (edgesPerUpstream + 1)
	upstreams := make([]int, n)
	for i := range upstreams {
		upstreams[i] = -1
		if i >= first {
			upstreams[i] = (i - first) % first
		}
	}
	return upstreams
}

func measureReplication(ctx context.Context, b *bench) error {
	if missing, err := b.edgesMissing(ctx); missing || err != nil {
		return err
	}
	core, c, err := b.startCore(ctx)
	if err != nil {
		return err
	}
	defer core.stop()
	defer c.Close()
	if _, err := core.fill(ctx, core.data); err != nil {
		return err
	}
	upstreams := upstreamsOf(b.opts.edges)
	var edges []*session
	defer func() {
		for _, e := range slices.Backward(edges) {
			e.stop()
		}
	}()
	first := 0
	for _, at := range upstreams {
		upstream := core.proc.Addrs()[0]
		if at >= 0 {
			upstream = edges[at].proc.Addrs()[0]
		} else {
			first++
		}
		e, err := b.start(ctx, b.edge(core, upstream, "none"), core.data)
		if err != nil {
			return err
		}
		edges = append(edges, e)
	}

	watches := max(slices.Max(b.opts.watchers), len(edges))
	f := newFanOut(c.(peer.Writer), edgeTenant, core.data.keys[0], watches)
	var stops []func() error
	stopAll := func() (err error) {
		for _, stop := range stops {
			err = errors.Join(err, stop())
		}
		stops = nil
		return err
	}
	defer stopAll()
	for i, e := range edges {
		share := watches / len(edges)
		if i < watches%len(edges) {
			share++
		}
		streams := (share + watchesPerStream - 1) / watchesPerStream
		w, err := e.dial(ctx, streams)
		if err != nil {
			return err
		}
		defer w.Close()
		stop, err := w.(peer.Watcher).Watch(ctx, edgeTenant, f.key, share, streams, f.got)
		if err != nil {
			return fmt.Errorf("open watches at edge %d: %w", i, err)
		}
		stops = append(stops, stop)
	}
	m, err := measureLimits(func() ([]peer.CPUTime, error) {
		times, err := core.proc.CPU()
		if err != nil {
			return nil, err
		}
		all := peer.CPUTime{Process: "edges"}
		for _, e := range edges {
			used, err := e.cpu()
			if err != nil {
				return nil, err
			}
			all.Time += used
		}
		return append(times, all), nil
	}, core.dir)
	if err != nil {
		return err
	}
	if err := f.run(ctx); err != nil {
		return err
	}
	l, err := m.stop()
	if err != nil {
		return err
	}
	if err := stopAll(); err != nil {
		return err
	}
	sec := section{
		"Replication to edges",
		fmt.Sprintf("%d watches of one key, spread over %d edges: %d follow the core, the others follow these. The key is written at the core %d times, each time after all watches have seen the write before; p50 and p99 from before the write.",
			watches, len(edges), first, watchWrites),
	}
	each, last := quantiles(f.each), quantiles(f.last)
	last.limits = l
	b.report.latency(sec, "a watch", b.stele, each, nil)
	b.report.latency(sec, "the last watch of the last edge", b.stele, last, nil)
	var sum int64
	for _, e := range edges {
		m, err := e.proc.Memory()
		if err != nil {
			return err
		}
		sum += m.Resident
	}
	b.report.size(sec, "resident memory of an edge, mean", b.stele, sum/int64(len(edges)))
	return nil
}

func measureCatchUp(ctx context.Context, b *bench) error {
	if missing, err := b.edgesMissing(ctx); missing || err != nil {
		return err
	}
	core, c, err := b.startCore(ctx)
	if err != nil {
		return err
	}
	defer core.stop()
	defer c.Close()
	commits := b.opts.scaled(100_000, 2000)
	if _, err := core.writeMany(ctx, commits); err != nil {
		return err
	}
	if err := core.writeLast(ctx); err != nil {
		return err
	}
	sec := section{
		"An edge that starts",
		fmt.Sprintf("An edge without data and %d commits of one tenant to fetch, %d keys: from exec until it answers with the last value, and what it receives from its upstream.", commits, len(core.data.keys)),
	}
	for _, history := range []string{"all", "none"} {
		if err := b.measureStart(ctx, sec, core, history); ctx.Err() != nil {
			return ctx.Err()
		} else if err != nil {
			b.report.fail(b.row, column("--history "+history), err)
		}
	}
	return nil
}

// measureStart starts one edge that keeps so much history.
func (b *bench) measureStart(ctx context.Context, sec section, core *session, history string) error {
	p, err := newByteCounter(core.proc.Addrs()[0])
	if err != nil {
		return err
	}
	defer p.close()
	dir := filepath.Join(b.opts.dir, "edge-"+history)
	defer removeData(dir)
	begun := time.Now()
	in, err := peer.Start(ctx, b.edge(core, p.addr(), history), dir)
	if err != nil {
		return err
	}
	defer func() { _ = in.Stop(syscall.SIGKILL) }()
	err = in.Await(ctx, func(ctx context.Context, c peer.Client) error {
		v, err := c.(peer.Reader).Read(ctx, edgeTenant, core.data.keys[0])
		if err == nil && v != lastValue {
			err = fmt.Errorf("read %s, not the last value", v)
		}
		return err
	})
	if err != nil {
		return err
	}
	took, received := time.Since(begun), p.received.Load()
	m, err := in.Memory()
	if err != nil {
		return err
	}
	edge := session{proc: in}
	_, onDisk, err := edge.onDisk()
	if err != nil {
		return err
	}
	col := column("--history " + history)
	b.report.baselines[sec.title] = "--history all"
	b.report.duration(sec, "until the last value", col, took)
	b.report.size(sec, "received", col, received)
	b.report.size(sec, "on disk", col, onDisk)
	b.report.size(sec, "resident memory", col, m.Resident)
	return nil
}

// byteCounter is a TCP proxy that counts what it sends to its clients.
type byteCounter struct {
	listener net.Listener
	upstream string
	received atomic.Int64
	group    sync.WaitGroup

	mu    sync.Mutex // guards the fields below
	conns []net.Conn
	done  bool
}

func newByteCounter(upstream string) (*byteCounter, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &byteCounter{listener: l, upstream: upstream}
	p.group.Go(p.serve)
	return p, nil
}

func (p *byteCounter) addr() string { return p.listener.Addr().String() }

func (p *byteCounter) serve() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return // closed
		}
		server, err := net.Dial("tcp", p.upstream)
		if err != nil {
			client.Close()
			continue
		}
		if !p.keep(client, server) {
			return
		}
		p.group.Go(func() { p.pipe(server, client, nil) })
		p.group.Go(func() { p.pipe(client, server, &p.received) })
	}
}

// keep registers connections for close; false after it.
func (p *byteCounter) keep(conns ...net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.done {
		for _, c := range conns {
			c.Close()
		}
		return false
	}
	p.conns = append(p.conns, conns...)
	return true
}

// pipe copies until one side ends, then closes both.
func (p *byteCounter) pipe(to, from net.Conn, count *atomic.Int64) {
	defer to.Close()
	defer from.Close()
	b := make([]byte, 64<<10)
	for {
		n, err := from.Read(b)
		if count != nil {
			count.Add(int64(n))
		}
		if _, failed := to.Write(b[:n]); failed != nil || err != nil {
			return
		}
	}
}

// close ends all connections and waits for them.
func (p *byteCounter) close() {
	p.listener.Close()
	p.mu.Lock()
	p.done = true
	for _, c := range p.conns {
		c.Close()
	}
	p.mu.Unlock()
	p.group.Wait()
}
