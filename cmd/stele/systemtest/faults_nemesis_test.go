//go:build faults

package systemtest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
)

// nemesis disturbs two ledgers and a gateway on three NATS servers, each on a host of its
// own. Each disturbance begins once all servers have recovered from the one before it.
type nemesis struct {
	t       *testing.T
	random  *rand.Rand
	lab     *lab
	nodes   *cluster
	clients *clients
	members []*member // the ledgers come first

	// took is the time from the beginning of each disturbance to the next write that was
	// acknowledged to any client.
	took map[string][]time.Duration
}

const ledgers = 2

// disturbance begins, and is ended by what it returns.
type disturbance struct {
	name  string
	begin func(n *nemesis) (end func())
}

var disturbances = []disturbance{
	{"the leader is killed", func(n *nemesis) func() {
		n.nodes.leader(n.t).kill()
		return func() { n.nodes.start(n.t) }
	}},
	{"the leader is stopped", func(n *nemesis) func() { return pause(n.t, n.nodes.leader(n.t).process) }},
	{"the leader is cut off", func(n *nemesis) func() {
		s := n.nodes.leader(n.t)
		n.cut([]*host{s.host}, n.others(s.host))
		n.cut(n.others(s.host), []*host{s.host})
		return n.lab.heal
	}},
	{"the leader cannot send", func(n *nemesis) func() {
		s := n.nodes.leader(n.t)
		n.cut([]*host{s.host}, n.others(s.host))
		return n.lab.heal
	}},
	{"the leader cannot receive", func(n *nemesis) func() {
		s := n.nodes.leader(n.t)
		n.cut(n.others(s.host), []*host{s.host})
		return n.lab.heal
	}},
	{"a nats-server is killed", func(n *nemesis) func() {
		n.server().kill()
		return func() { n.nodes.start(n.t) }
	}},
	{"a nats-server is stopped", func(n *nemesis) func() { return pause(n.t, n.server().process) }},
	{"a ledger is killed", func(n *nemesis) func() {
		i := n.random.IntN(ledgers)
		n.members[i].kill()
		return func() {
			n.members[i].start(n.t)
			n.clients.replace(i, n.members[i].gateway)
		}
	}},
	{"a ledger is stopped", func(n *nemesis) func() { return pause(n.t, n.members[n.random.IntN(ledgers)].process) }},
	{"a ledger is cut off from all servers", func(n *nemesis) func() {
		var servers []*host
		for _, s := range n.nodes.servers {
			servers = append(servers, s.host)
		}
		ledger := []*host{n.members[n.random.IntN(ledgers)].host}
		n.cut(ledger, servers)
		n.cut(servers, ledger)
		return n.lab.heal
	}},
}

func pause(t *testing.T, p *process) (resume func()) {
	t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := p.cmd.Process.Signal(syscall.SIGCONT); err != nil {
			t.Fatal(err)
		}
	}
}

func (n *nemesis) server() *natsServer { return n.nodes.servers[n.random.IntN(len(n.nodes.servers))] }

// others returns all hosts except one, and except the test's host.
func (n *nemesis) others(than *host) []*host {
	return slices.DeleteFunc(slices.Clone(n.lab.hosts), func(h *host) bool { return h == than || h == n.nodes.observer })
}

func (n *nemesis) cut(from, to []*host) {
	for _, a := range from {
		for _, b := range to {
			n.lab.cut(a, b)
		}
	}
}

// bound is how long a disturbance may keep all clients from writing: a majority of the
// servers and one ledger always work.
const bound = 30 * time.Second

// disturb runs the disturbances in a random order, each at least once if there are so many.
func (n *nemesis) disturb(rounds int) {
	order := n.random.Perm(len(disturbances))
	for round := range rounds {
		d := disturbances[order[round%len(order)]]
		n.clients.settle(n.t)
		began := time.Now()
		n.t.Logf("%s: %s", began.UTC().Format("15:04:05.000"), d.name)
		end := d.begin(n)
		before := n.clients.acknowledged.Load()
		await(n.t, "a write while "+d.name, func() bool { return n.clients.acknowledged.Load() > before || n.clients.failed() != nil })
		took := time.Since(began)
		n.took[d.name] = append(n.took[d.name], took)
		if took > bound {
			n.t.Errorf("%s: the next write took %s, more than %s", d.name, took.Round(time.Millisecond), bound)
		}
		time.Sleep(time.Duration(n.random.Int64N(int64(3 * time.Second)))) // the disturbance lasts
		n.t.Logf("%s: it ends", time.Now().UTC().Format("15:04:05.000"))
		end()
		n.nodes.start(n.t) // a server that is behind cannot replace one that fails: the bound would not hold
		if err := n.clients.failed(); err != nil {
			n.t.Fatalf("%s: %v", d.name, err)
		}
	}
	n.clients.settle(n.t)
}

// TestNemesis disturbs clients that write, read and watch, and then compares all answers
// with the ledger.
func TestNemesis(t *testing.T) {
	begun := time.Now()
	n := &nemesis{t: t, random: seeded(t), lab: newLab(t), took: make(map[string][]time.Duration)}
	n.nodes = startClusterIn(t, n.lab, 3)
	n.clients = newClients(n.random.Uint64())
	for i := range ledgers + 1 {
		roles := "ledger,gateway"
		if i == ledgers {
			roles = "gateway"
		}
		m := n.nodes.join(t, roles)
		n.members = append(n.members, m)
		n.clients.gateways = append(n.clients.gateways, m.gateway)
	}
	ctx, cancel := context.WithCancel(acting(t, acme))
	defer cancel()
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	n.clients.run(ctx, &running)

	n.disturb(number(t, "STELE_FAULTS_DISTURBANCES", 2*len(disturbances)))
	n.clients.stop()
	n.clients.writing.Wait()
	chain := n.chain()
	n.clients.watchedAll(t, uint64(len(chain)))
	cancel()
	running.Wait()
	if err := n.clients.failed(); err != nil {
		t.Fatal(err)
	}
	n.clients.check(t, chain)

	var times []string
	for _, d := range disturbances {
		if took := n.took[d.name]; len(took) > 0 {
			slices.Sort(took)
			times = append(times, fmt.Sprintf("  %-36s %2d times, next write after %s (median), %s (longest)",
				d.name, len(took), took[len(took)/2].Round(10*time.Millisecond), took[len(took)-1].Round(10*time.Millisecond)))
		}
	}
	fmt.Printf("2 ledgers and a gateway on 3 nats-servers: %d writes of %d clients acknowledged or refused (%d outcomes unknown at first), linearizable; "+
		"%d reads equal the history; %d watches of %d sessions in order, whole, without a gap; %s\n%s\n",
		len(n.clients.operations), nemesisWriters, n.clients.unknown.Load(), len(n.clients.reads), nemesisWatchers, n.clients.sessions(),
		time.Since(begun).Round(time.Second), strings.Join(times, "\n"))
}

// chain is the tenant's history, which all gateways must agree on.
func (n *nemesis) chain() []recorded {
	t := n.t
	head := untilUp(t, acting(t, acme), n.members[0].ledger.GetHead, &stelev1.GetHeadRequest{MinRevision: n.clients.newest.Load()})
	length := head.Snapshot.Revision
	var links []link
	for i, m := range n.members {
		other := walk(t, m.gateway, acme, length)
		if i > 0 && !slices.Equal(links, other) {
			t.Fatalf("gateway %d has another history of %d commits than gateway 0 of %d", i, len(other), len(links))
		}
		links = other
	}
	chain := make([]recorded, len(links))
	req := &stelev1.ListCommitsRequest{PageSize: 1000, MinRevision: length}
	for {
		page := untilUp(t, acting(t, acme), n.members[0].ledger.ListCommits, req)
		for _, c := range page.Commits {
			if c.Commit.Revision <= uint64(len(chain)) {
				chain[c.Commit.Revision-1] = recorded{string(c.Id), changesOf(c.Commit.Changes)}
			}
		}
		if req.PageToken = page.NextPageToken; req.PageToken == "" {
			return chain
		}
	}
}

func changesOf(changes []*stelev1.Change) (texts []string) {
	for _, c := range changes {
		texts = append(texts, c.Key+"="+c.Value)
	}
	return texts
}

// counted is a counter that many goroutines raise to a value.
type counted struct{ atomic.Uint64 }

func (c *counted) raise(to uint64) {
	for {
		if old := c.Load(); to <= old || c.CompareAndSwap(old, to) {
			return
		}
	}
}
