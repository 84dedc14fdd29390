package main

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"slices"
	"syscall"

	"github.com/stelehq/stele/scripts/bench/peer"
)

var growth = row{
	name:  "growth",
	about: "cost over the number of commits, tenants and keys (15 min; 15 more with -long)",
	run:   measureGrowth,
}

var growing = section{
	"Growth",
	"Each peer grows to a size, then: durable writes of one key by 64 callers, reads by one caller (p50), resident memory, the time from exec after SIGTERM until the last value is read, and disk. In parentheses: Stele divided by etcd. Commits grow with 10,000 keys of 100 tenants; tenants with 100,000 keys in all, written once and then 100,000 times; keys with 10 tenants, written once and then 100,000 times.",
}

// growthCallers write while the rate is measured.
const growthCallers = 64

// axis is what grows, and to which sizes.
type axis struct {
	name  string // of what is counted
	sizes []int
	// data is the keys at a size, and commits how many single writes are made after
	// each key has been written once. An axis whose data stays the same grows one
	// instance from size to size; the others start a new one for each.
	data    func(size int) dataset
	commits func(size int) int
	grows   bool
}

func (b *bench) axes() []axis {
	scaled := func(sizes, quick []int) []int {
		if b.opts.quick {
			return quick
		}
		return sizes
	}
	commits := scaled([]int{10_000, 100_000, 1_000_000}, []int{2000, 10_000})
	if b.opts.long {
		commits = append(commits, 5_000_000)
	}
	after := b.opts.scaled(100_000, 2000)
	constant := func(int) int { return after }
	return []axis{
		{
			name: "commits", sizes: commits, grows: true,
			data:    func(int) dataset { return spreadDataset(min(10_000, commits[0]/2), 100) },
			commits: func(size int) int { return size },
		},
		{
			name: "tenants", sizes: scaled([]int{10, 1000, 10_000}, []int{10, 100}),
			data:    func(tenants int) dataset { return spreadDataset(b.opts.scaled(100_000, 2000), tenants) },
			commits: constant,
		},
		{
			name: "keys", sizes: scaled([]int{1000, 10_000, 100_000, 1_000_000}, []int{1000, 5000}),
			data:    func(keys int) dataset { return spreadDataset(keys, 10) },
			commits: constant,
		},
	}
}

// metric is what is measured at a size.
type metric struct{ name, unit string }

var (
	commitRate  = metric{"commits", "commits/s"}
	getLatency  = metric{"get", "get p50, ms"}
	residentMem = metric{"memory", "memory, MB"}
	firstRead   = metric{"restart", "restart, s"}
	onDisk      = metric{"disk", "disk, MB"}
	metrics     = []metric{commitRate, getLatency, residentMem, firstRead, onDisk}
)

// growthPoint is a size on an axis.
type growthPoint struct {
	axis string
	size int
}

func (p growthPoint) String() string { return fmt.Sprintf("%s %s", sizeText(p.size), p.axis) }

// growthResults are the numbers of one peer, in the units of the metrics.
type growthResults map[growthPoint]map[metric]float64

func measureGrowth(ctx context.Context, b *bench) error {
	peers := slices.DeleteFunc(stores(b), func(p peer.Peer) bool { return p.Name() != "stele" && p.Name() != "etcd" })
	all := map[string]growthResults{}
	for _, p := range peers {
		all[p.Name()] = growthResults{}
	}
	axes := b.axes()
	for _, a := range axes {
		for _, p := range peers {
			if err := b.grow(ctx, a, p, all[p.Name()]); ctx.Err() != nil {
				return ctx.Err()
			} else if err != nil {
				b.report.fail(b.row+" of "+a.name, p, err)
			}
		}
	}
	b.report.tables[growing.title] = func(w io.Writer) { writeGrowth(w, axes, all) }
	if b.opts.plot == "" {
		return nil
	}
	f, err := os.Create(b.opts.plot)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := plotGrowth(f, axes, all); err != nil {
		return fmt.Errorf("plot %s: %w", b.opts.plot, err)
	}
	return f.Close()
}

// grow measures one peer along an axis.
func (b *bench) grow(ctx context.Context, a axis, p peer.Peer, into growthResults) error {
	var s *session
	defer func() {
		if s != nil {
			s.stop()
		}
	}()
	done := 0
	for _, size := range a.sizes {
		if s == nil || !a.grows {
			if s != nil {
				s.stop()
				s = nil
			}
			started, err := b.start(ctx, p, a.data(size))
			if err != nil {
				return err
			}
			s, done = started, 0
			if _, err := s.fill(ctx, s.data); err != nil {
				return err
			}
		}
		if _, err := s.writeMany(ctx, a.commits(size)-done); err != nil {
			return fmt.Errorf("grow to %d %s: %w", size, a.name, err)
		}
		done = a.commits(size)
		point := growthPoint{a.name, size}
		numbers, err := s.measureSize(ctx, point.String())
		if err != nil {
			return fmt.Errorf("measure %s: %w", point, err)
		}
		into[point] = numbers
	}
	return nil
}

// measureSize measures everything at the present size.
func (s *session) measureSize(ctx context.Context, at string) (map[metric]float64, error) {
	c, err := s.dial(ctx, growthCallers)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	rate, err := s.closedLoop(ctx, growthCallers, func(ctx context.Context, rng *rand.Rand) error {
		return c.(peer.Writer).Write(ctx, s.data.tenant(rng), s.data.entry(rng))
	})
	if err != nil {
		return nil, err
	}
	get, err := s.closedLoop(ctx, 1, func(ctx context.Context, rng *rand.Rand) error {
		_, err := c.(peer.Reader).Read(ctx, s.data.tenant(rng), s.data.key(rng))
		return err
	})
	if err != nil {
		return nil, err
	}
	mem, err := s.proc.Memory()
	if err != nil {
		return nil, err
	}
	if err := s.writeLast(ctx); err != nil {
		return nil, err
	}
	restart, err := s.restart(ctx, syscall.SIGTERM)
	if err != nil {
		return nil, err
	}
	_, bytes, err := s.onDisk()
	if err != nil {
		return nil, err
	}
	get.limits = nil // as in the row reads
	s.report.rate(growing, at+": "+commitRate.name, s.peer, rate, "", nil)
	s.report.latency(growing, at+": "+getLatency.name, s.peer, get, nil)
	s.report.size(growing, at+": "+residentMem.name, s.peer, mem.Resident)
	s.report.duration(growing, at+": "+firstRead.name, s.peer, restart)
	s.report.size(growing, at+": "+onDisk.name, s.peer, bytes)
	return map[metric]float64{
		commitRate:  rate.rate,
		getLatency:  get.p50.Seconds() * 1e3,
		residentMem: float64(mem.Resident) / 1e6,
		firstRead:   restart.Seconds(),
		onDisk:      float64(bytes) / 1e6,
	}, nil
}

// writeGrowth writes a row per size and a column per metric.
func writeGrowth(w io.Writer, axes []axis, all map[string]growthResults) {
	head := []string{""}
	for _, m := range metrics {
		head = append(head, m.unit)
	}
	writeRow(w, head)
	writeRow(w, slices.Repeat([]string{"---"}, len(head)))
	for _, a := range axes {
		for _, size := range a.sizes {
			p := growthPoint{a.name, size}
			cells := []string{p.String()}
			for _, m := range metrics {
				cells = append(cells, growthCell(all, p, m))
			}
			writeRow(w, cells)
		}
	}
}

// growthCell shows Stele's number and its ratio to etcd's, or etcd's where Stele was
// not measured.
func growthCell(all map[string]growthResults, p growthPoint, m metric) string {
	stele, ok := all["stele"][p][m]
	etcd, other := all["etcd"][p][m]
	switch {
	case ok && other:
		return fmt.Sprintf("%s (%.2f)", numberText(stele), stele/etcd)
	case ok:
		return numberText(stele)
	case other:
		return "etcd " + numberText(etcd)
	}
	return "-"
}

// numberText shows three digits.
func numberText(n float64) string {
	switch {
	case n >= 1000:
		return countText(n)
	case n >= 100:
		return fmt.Sprintf("%.0f", n)
	case n >= 10:
		return fmt.Sprintf("%.1f", n)
	}
	return fmt.Sprintf("%.2f", n)
}

// sizeText writes a round number short: 10k, 5M.
func sizeText(n int) string {
	switch {
	case n >= 1_000_000 && n%1_000_000 == 0:
		return fmt.Sprintf("%dM", n/1_000_000)
	case n >= 1000 && n%1000 == 0:
		return fmt.Sprintf("%dk", n/1000)
	}
	return fmt.Sprint(n)
}

// numberLabel writes a power of ten.
func numberLabel(v float64) string {
	if v >= 1 {
		return sizeText(int(v + 0.5))
	}
	return fmt.Sprintf("%g", v)
}
