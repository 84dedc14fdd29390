// Command bench runs Stele, etcd, NATS KV and a bare gRPC echo in turn on one
// machine with the same data, and prints tables of what each does and of the
// ratios between them.
//
// Every peer runs in a process of its own, one at a time; this program makes the
// load. Each theme (a file of this folder: reads, writes, ...) starts each peer
// afresh, so themes do not disturb each other. A peer is a file of folder peer.
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

var themes = []theme{reads, writes, changeSets, watch, disk, history, sinks, token, schemas}

// options are the flags.
type options struct {
	only, peers         []string
	callers, tenants    []int
	watchers            []int
	keys, writes        int
	warmup, duration    time.Duration
	root, jsonFile, dir string
	history             string
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
	words := func(p *[]string, name, def, usage string) {
		*p = strings.Split(def, ",")
		f.Func(name, fmt.Sprintf("%s (default %s)", usage, def), func(s string) error {
			*p = strings.Split(s, ",")
			for _, w := range *p {
				if !slices.Contains(strings.Split(def, ","), w) {
					return fmt.Errorf("%q is not one of %s", w, def)
				}
			}
			return nil
		})
	}
	numbers := func(p *[]int, name string, def []int, usage string) {
		*p = def
		f.Func(name, fmt.Sprintf("%s (default %s)", usage, strings.Trim(fmt.Sprint(def), "[]")), func(s string) error {
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
	names := make([]string, len(themes))
	for i, t := range themes {
		names[i] = t.name
	}
	words(&o.only, "only", strings.Join(names, ","), "`themes` to measure")
	words(&o.peers, "peers", "stele,etcd,nats,nats-nosync,echo", "`peers` to run")
	numbers(&o.callers, "callers", []int{1, 16, 64, 256}, "concurrent `callers`")
	numbers(&o.tenants, "tenants", []int{1, 100}, "`tenants` that share the keys")
	numbers(&o.watchers, "watchers", []int{1, 1000, 10000}, "`watches` of one key")
	f.IntVar(&o.keys, "keys", 100_000, "keys that are loaded")
	f.IntVar(&o.writes, "writes", 1_000_000, "writes before disk and restart are measured, and commits of the history")
	f.DurationVar(&o.duration, "duration", 5*time.Second, "length of a measurement")
	f.DurationVar(&o.warmup, "warmup", time.Second, "time before a measurement in which the callers already work")
	f.StringVar(&o.root, "root", "../..", "source `tree` that Stele is built from")
	f.StringVar(&o.history, "history", "", "change `log` that is travelled through, gzipped (default shared/data/govuk-settings.jsonl.gz beside the tree)")
	f.StringVar(&o.jsonFile, "json", "", "also write the results to this `file`")
	f.StringVar(&o.dir, "dir", os.TempDir(), "`folder` on the file system to be measured")
	if err := f.Parse(args); err != nil {
		return nil, err
	}
	if f.NArg() > 0 {
		return nil, fmt.Errorf("unknown argument %q", f.Arg(0))
	}
	return o, nil
}

func run(ctx context.Context, opts *options) (err error) {
	if opts.dir, err = os.MkdirTemp(opts.dir, "stele-bench-"); err != nil {
		return err
	}
	defer removeData(opts.dir)
	peers, err := choosePeers(ctx, opts)
	if err != nil {
		return err
	}
	r := &report{Started: time.Now(), Args: os.Args[1:], Peers: opts.peers, Details: map[string][]string{}}
	if r.Machine, err = probeMachine(opts.dir); err != nil {
		return err
	}
	fmt.Print("# Benchmark\n\n")
	r.Machine.write(os.Stdout)
	for _, t := range themes {
		if !slices.Contains(opts.only, t.name) {
			continue
		}
		tenants := []int{1}
		if t.tenancies {
			tenants = opts.tenants
		}
		printed := len(r.sections)
		for _, n := range tenants {
			for _, p := range peers {
				if _, is := p.(peer.Stele); t.alone && !is {
					continue
				}
				if err := runSession(ctx, opts, r, t, p, n); ctx.Err() != nil {
					return ctx.Err()
				} else if err != nil {
					r.fail(t, p, err)
				}
			}
		}
		for _, sec := range r.sections[printed:] {
			if sec != memory && sec != failures {
				r.writeTable(os.Stdout, sec)
			}
		}
	}
	for _, sec := range []section{memory, failures} {
		if slices.Contains(r.sections, sec) {
			r.writeTable(os.Stdout, sec)
		}
	}
	if opts.jsonFile != "" {
		if err := r.writeJSON(opts.jsonFile); err != nil {
			return err
		}
	}
	if r.failed {
		return errors.New("some measurements failed")
	}
	return nil
}

// noRoutes send no key to a sink: the others make no files of what they are sent.
// What those cost is measured by the theme sinks.
const noRoutes = `{"sinks": {}, "routes": []}`

// choosePeers makes the peers that were asked for, in that order, and builds
// Stele when it is one of them.
func choosePeers(ctx context.Context, opts *options) ([]peer.Peer, error) {
	var peers []peer.Peer
	for _, name := range opts.peers {
		switch name {
		case "stele":
			binary := filepath.Join(opts.dir, "stele")
			log.Print("building stele")
			if err := peer.BuildStele(ctx, opts.root, binary); err != nil {
				return nil, err
			}
			routes := filepath.Join(opts.dir, "routes.json")
			if err := os.WriteFile(routes, []byte(noRoutes), 0o600); err != nil {
				return nil, err
			}
			peers = append(peers, peer.Stele{Binary: binary, Routes: routes})
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
	return peers, nil
}

// removeData deletes what a peer has left.
func removeData(dir string) {
	if err := os.RemoveAll(dir); err != nil {
		log.Printf("remove %s: %v", dir, err)
	}
}
