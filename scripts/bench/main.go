// Command bench measures Stele next to etcd, NATS KV and a bare gRPC echo on one
// machine with the same data, and prints Markdown tables of what each does and of
// the ratios between them.
//
// Every peer runs in processes of its own; this program makes the load. A row (a
// file of this directory: reads, writes, ...) is one theme of measurements. It
// starts each peer fresh, so rows do not disturb each other. A peer is a file of
// the directory peer.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/stelehq/stele/scripts/bench/peer"
)

// row is one theme of measurements.
type row struct {
	name string
	// about says what the row measures, and how long that takes with the defaults.
	about string
	run   func(context.Context, *bench) error
}

var rows = []row{
	writes, cluster, ledgers, fairness, reads, batches, streams, changeSets, watch, memoryRow, disk, history,
	replication, catchUp, growth, sinks, token, schemas,
}

// options are the flags.
type options struct {
	rows, peers []string
	// callers and tenants are nil for the defaults of each row.
	callers, tenants    []int
	watchers            []int
	rounds              int
	keys, writes, edges int
	warmup, duration    time.Duration
	quick, long         bool
	root, jsonFile, dir string
	history, plot       string
}

func main() {
	log.SetFlags(log.Ltime)
	if len(os.Args) > 1 && os.Args[1] == "peer" {
		if err := peer.Serve(os.Args[2:]); err != nil {
			log.Fatal(err)
		}
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	opts, err := parse(os.Args[1:])
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err == nil {
		err = run(ctx, opts)
	}
	if err != nil {
		stop()
		log.Fatal(err)
	}
}

func parse(args []string) (*options, error) {
	o := &options{}
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	words := func(p *[]string, name string, def, known []string, usage string) {
		*p = def
		f.Func(name, usage, func(s string) error {
			*p = strings.Split(s, ",")
			for _, w := range *p {
				if !slices.Contains(known, w) {
					return fmt.Errorf("%q is not one of %s", w, strings.Join(known, ","))
				}
			}
			return nil
		})
	}
	numbers := func(p *[]int, name string, def []int, usage string) {
		*p = def
		f.Func(name, usage, func(s string) error {
			*p = nil
			for _, w := range strings.Split(s, ",") {
				n, err := strconv.Atoi(w)
				if err != nil || n < 1 {
					return fmt.Errorf("%q is not a positive number", w)
				}
				*p = append(*p, n)
			}
			return nil
		})
	}
	names := make([]string, len(rows))
	for i, r := range rows {
		names[i] = r.name
	}
	usual := []string{"stele", "etcd", "nats", "echo"}
	words(&o.rows, "rows", names, names, "`rows` to measure, for example writes,reads (default all)")
	words(&o.peers, "peers", usual, append(slices.Clone(usual), "nats-nosync"), "`peers` to run (default "+strings.Join(usual, ",")+"; also nats-nosync)")
	numbers(&o.callers, "callers", nil, "concurrent `callers` (default 1,16,64,256; ledgers 16,64,256)")
	numbers(&o.tenants, "tenants", nil, "`tenants` that share the keys, in the rows that measure several numbers of them (default 1,100; writes and cluster also 1000)")
	numbers(&o.watchers, "watchers", []int{1, 1000, 10_000}, "`watches` of one key (default 1,1000,10000); replication uses the last")
	f.IntVar(&o.rounds, "rounds", 3, "how often each cell is measured in the rows writes, cluster, ledgers, fairness, reads, batches, streams and changesets; the tables show medians")
	f.BoolVar(&o.quick, "quick", false, "a short run with little data, to try the harness; its figures mean nothing")
	f.BoolVar(&o.long, "long", false, "growth: also 5,000,000 commits, about 15 minutes more")
	f.IntVar(&o.edges, "edges", 60, "edges of the row replication, a tenth of which follow the core")
	f.IntVar(&o.keys, "keys", 100_000, "keys that are loaded")
	f.IntVar(&o.writes, "writes", 1_000_000, "writes before disk and restart are measured, and commits of the history")
	f.DurationVar(&o.duration, "duration", 5*time.Second, "length of a measurement")
	f.DurationVar(&o.warmup, "warmup", time.Second, "time before a measurement in which the callers already work")
	f.StringVar(&o.root, "root", "../..", "source `tree` that Stele is built from")
	f.StringVar(&o.history, "history", "", "gzipped change `log` for the row history (default shared/data/govuk-settings.jsonl.gz next to the tree)")
	f.StringVar(&o.jsonFile, "json", "", "also write all results, round by round, to this `file`")
	f.StringVar(&o.plot, "plot", "", "growth: also write a plot as SVG to this `file`, for example docs/images/growth.svg")
	f.StringVar(&o.dir, "dir", os.TempDir(), "`directory` on the file system to be measured")
	f.Usage = func() {
		fmt.Fprint(f.Output(), "Usage: run [flags]\n\nRows, with the minutes that each takes on two cores, estimated from the lengths of its measurements; all take about 2.5 hours:\n\n")
		for _, r := range rows {
			fmt.Fprintf(f.Output(), "  %-12s %s\n", r.name, r.about)
		}
		fmt.Fprint(f.Output(), "\nFlags:\n\n")
		f.PrintDefaults()
	}
	if err := f.Parse(args); err != nil {
		return nil, err
	}
	if f.NArg() > 0 {
		return nil, fmt.Errorf("unknown argument %q", f.Arg(0))
	}
	if o.rounds < 1 || o.edges < 1 || o.keys < 1 || o.writes < 1 {
		return nil, errors.New("-rounds, -edges, -keys and -writes must be positive")
	}
	if o.quick {
		given := map[string]bool{}
		f.Visit(func(g *flag.Flag) { given[g.Name] = true })
		quick(o, given)
	}
	return o, nil
}

// quick makes the options that were not given small.
func quick(o *options, given map[string]bool) {
	for name, set := range map[string]func(){
		"rounds":   func() { o.rounds = 2 },
		"edges":    func() { o.edges = 10 },
		"keys":     func() { o.keys = 5000 },
		"writes":   func() { o.writes = 20_000 },
		"duration": func() { o.duration = time.Second },
		"warmup":   func() { o.warmup = 200 * time.Millisecond },
		"watchers": func() { o.watchers = []int{1, 200} },
	} {
		if !given[name] {
			set()
		}
	}
}

// scaled is n, or the quick run's number.
func (o *options) scaled(n, quick int) int {
	if o.quick {
		return quick
	}
	return n
}

func run(ctx context.Context, opts *options) (err error) {
	if opts.dir, err = os.MkdirTemp(opts.dir, "stele-bench-"); err != nil {
		return err
	}
	defer removeData(opts.dir)
	b := &bench{opts: opts, report: newReport(opts.peers)}
	if b.stele, err = buildStele(ctx, opts); err != nil {
		return err
	}
	b.peers = choosePeers(opts, b.stele)
	if b.report.Machine, err = probeMachine(opts.dir); err != nil {
		return err
	}
	if b.report.Machine.Stele, err = b.stele.Version(ctx); err != nil {
		return err
	}
	fmt.Print("# Benchmark\n\n")
	b.report.Machine.write(os.Stdout)
	for _, r := range rows {
		if !slices.Contains(opts.rows, r.name) {
			continue
		}
		printed := len(b.report.sections)
		b.row = r.name
		begun := time.Now()
		if err := r.run(ctx, b); ctx.Err() != nil {
			return ctx.Err()
		} else if err != nil {
			b.report.fail(r.name, column("row"), err)
		}
		log.Printf("%s took %s", r.name, time.Since(begun).Round(time.Second))
		for _, sec := range b.report.sections[printed:] {
			if sec != memory && sec != failures {
				b.report.writeTable(os.Stdout, sec)
			}
		}
	}
	for _, sec := range []section{memory, failures} {
		if slices.Contains(b.report.sections, sec) {
			b.report.writeTable(os.Stdout, sec)
		}
	}
	if opts.jsonFile != "" {
		if err := b.report.writeJSON(opts.jsonFile); err != nil {
			return err
		}
	}
	if b.report.failed {
		return errors.New("some measurements failed")
	}
	return nil
}

// noRoutes send no key to a sink: the other peers write no files of their keys.
// The row sinks measures what those cost.
const noRoutes = `{"sinks": {}, "routes": []}`

// buildStele compiles Stele from the tree.
func buildStele(ctx context.Context, opts *options) (peer.Stele, error) {
	s := peer.Stele{Binary: filepath.Join(opts.dir, "stele"), Routes: filepath.Join(opts.dir, "routes.json")}
	log.Print("building stele")
	if err := peer.BuildStele(ctx, opts.root, s.Binary); err != nil {
		return s, err
	}
	return s, os.WriteFile(s.Routes, []byte(noRoutes), 0o600)
}

// choosePeers lists the peers of the flags, in their order.
func choosePeers(opts *options, stele peer.Stele) []peer.Peer {
	var peers []peer.Peer
	for _, name := range opts.peers {
		switch name {
		case "stele":
			peers = append(peers, stele)
		case "etcd":
			peers = append(peers, peer.Etcd{})
		case "nats":
			peers = append(peers, peer.NATS{})
		case "nats-nosync":
			peers = append(peers, peer.NATS{NoSync: true})
		case "echo":
			peers = append(peers, peer.Echo{})
		}
	}
	return peers
}

// removeData deletes the files of a peer.
func removeData(dir string) {
	if err := os.RemoveAll(dir); err != nil {
		log.Printf("remove %s: %v", dir, err)
	}
}
