// Package projector makes sinks equal to the ledger: stores like DynamoDB hold the
// newest value of every key that is routed to them, and buses get every change.
//
// A projector reads commits from its process's replica. For each sink it keeps a
// position per tenant: the revision up to which every change is in the sink, or parked.
// Positions are stored in an auxiliary stream, so that any process can continue after a
// crash. Writes after the last stored position are repeated: for a store they have no
// effect, because every item carries its revision, and a bus gets them at least once.
//
// Several processes may run the same sinks. Each sink has a lease, a record that names
// the one process that writes to it; the others take it over within seconds of that one
// falling silent.
//
// A key that a sink rejects is parked with the reason: no other key waits for it. A
// store is swept repeatedly for items that were changed there, and the key's route
// determines whether that is only reported, repaired, or adopted as a commit.
package projector

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/journal"
	"github.com/stelehq/stele/internal/ledger/replica"
	"github.com/stelehq/stele/internal/ledger/routes"
)

// Config has the parts of a projector.
type Config struct {
	// Replica holds all tenants.
	Replica *replica.Replica
	Journal *journal.Journal
	// Conn is how processes hear each other.
	Conn *nats.Conn
	// Ledger accepts the commits that adopt manual changes.
	Ledger *ledger.Ledger
	Routes *routes.Source
	// Secrets decrypts values for sinks that keep secrets; without it such keys are
	// parked.
	Secrets Secrets
	// Kinds of sinks by name.
	Kinds map[string]Kind
	// Dir is a folder for local sinks.
	Dir string
	// Destinations says where sinks may send data.
	Destinations Destinations
	// Keys and PrivateAddresses are those of Settings.
	Keys             string
	PrivateAddresses bool
	// Alone is set if no other process can reach the journal: leases are those of an
	// earlier run, and are taken at once.
	Alone   bool
	Metrics *Metrics
	Log     *slog.Logger
}

// Projector runs until Close.
type Projector struct {
	cfg     Config
	bucket  *journal.Bucket // leases and positions
	parked  *journal.Bucket
	metrics *Metrics
	// owner names this run of this process in leases; host is for operators.
	owner, host string

	cancel context.CancelFunc
	done   chan struct{}

	mu      sync.Mutex // guards runners
	runners map[string]*running
}

type running struct {
	*runner
	stop func() // and waits
}

// lookAgain is how often the routes are looked at.
const lookAgain = 250 * time.Millisecond

// Start begins to write to the sinks. ctx applies to the start only.
func Start(ctx context.Context, cfg Config) (*Projector, error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	p := &Projector{cfg: cfg, metrics: cfg.Metrics, owner: rand.Text(), done: make(chan struct{}), runners: make(map[string]*running)}
	if p.metrics == nil {
		p.metrics = NewMetrics()
	}
	name, err := os.Hostname()
	if err != nil {
		name = "a process"
	}
	p.host = fmt.Sprintf("%s/%d", name, os.Getpid())
	if p.bucket, err = cfg.Journal.OpenBucket(ctx, journal.Sinks); err != nil {
		return nil, err
	}
	if p.parked, err = cfg.Journal.OpenBucket(ctx, journal.Parked); err != nil {
		return nil, err
	}
	p.metrics.of(p)
	run, cancel := context.WithCancel(context.Background())
	p.cancel = cancel
	go p.run(run)
	return p, nil
}

// Close keeps the positions, releases the leases, and returns when nothing runs any
// more.
func (p *Projector) Close() {
	p.cancel()
	<-p.done
}

// run keeps a runner for each sink that the routes name.
func (p *Projector) run(ctx context.Context) {
	defer close(p.done)
	defer p.route(ctx, &routes.Table{})
	tick := time.NewTicker(lookAgain)
	defer tick.Stop()
	var last *routes.Table
	for {
		// Without the replica there are no routes, and nothing to write.
		if t, rev, err := p.cfg.Routes.Table(); err == nil && t != last && p.cfg.Replica.Ready() {
			p.route(ctx, t)
			last = t
			if rev > 0 { // the routes of a file may differ between processes
				p.forget(ctx, t)
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// route makes the runners match the table. A runner whose sink or keys have changed is
// stopped, and another begins.
func (p *Projector) route(ctx context.Context, t *routes.Table) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var stopping sync.WaitGroup
	for name, r := range p.runners {
		if _, ok := t.Sinks[name]; !ok || r.routing != routing(t, name) {
			stopping.Go(r.stop)
			delete(p.runners, name)
		}
	}
	stopping.Wait()
	for name, spec := range t.Sinks {
		if r := p.runners[name]; r != nil {
			r.table.Store(t)
			continue
		}
		r := &runner{target: &target{p: p, name: name, spec: spec, routing: routing(t, name), log: p.cfg.Log.With("sink", name)}}
		r.table.Store(t)
		ctx, cancel := context.WithCancel(ctx)
		var done sync.WaitGroup
		done.Go(func() { r.run(ctx) })
		p.runners[name] = &running{r, func() { cancel(); done.Wait() }}
	}
}

// forget removes the dead letters of sinks that the table does not name.
func (p *Projector) forget(ctx context.Context, t *routes.Table) {
	var gone []ledger.Sequence
	var err error
	for l, broken := range readLetters(ctx, p.parked, "") {
		if err = broken; err != nil {
			break
		}
		if _, named := t.Sinks[l.Sink]; !named {
			gone = append(gone, l.seq)
		}
	}
	for _, seq := range gone {
		err = errors.Join(err, p.parked.Remove(ctx, seq))
	}
	if err != nil && ctx.Err() == nil {
		p.cfg.Log.Warn("remove the parked keys of sinks that the routes no longer name", "error", err)
	}
}

// routing is a digest of a sink's part of the table.
func routing(t *routes.Table, sink string) string {
	sum := sha256.Sum256([]byte(t.Routing(sink)))
	return hex.EncodeToString(sum[:8])
}
