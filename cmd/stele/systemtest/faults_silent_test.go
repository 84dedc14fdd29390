//go:build faults && linux

package systemtest

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// outage is what happens to a NATS server, and how it ends.
type outage struct {
	name       string
	begin, end func(*testing.T, *natsServer)
}

var outages = []outage{
	{"kill -9", func(_ *testing.T, s *natsServer) { s.kill() }, func(*testing.T, *natsServer) {}},
	{"SIGSTOP", func(t *testing.T, s *natsServer) { send(t, s, syscall.SIGSTOP) }, func(t *testing.T, s *natsServer) { send(t, s, syscall.SIGCONT) }},
}

func send(t *testing.T, s *natsServer, signal syscall.Signal) {
	t.Helper()
	if err := s.cmd.Process.Signal(signal); err != nil {
		t.Fatal(err)
	}
}

// TestSilentServer kills and stops NATS servers of three: the leader of the journal's stream, which
// may have the ledger's connection, and then each in turn. It measures how long the next write takes, and how
// much of that NATS takes to elect a leader.
func TestSilentServer(t *testing.T) {
	const bound = 10 * time.Second // without the election, whose length only NATS decides
	nodes := startCluster(t, 3)
	m := nodes.join(t, "ledger,gateway")
	ctx := acting(t, acme)
	untilUp(t, ctx, m.ledger.Commit, settingOf(`"begin"`))
	nodes.measure(t, ctx, m, outages, bound)
}

// TestSilentServer_CutOffFromTheOthers is the same for a server that the other servers do not
// reach, and the ledger does: it answers pings, and serves no write.
func TestSilentServer_CutOffFromTheOthers(t *testing.T) {
	const bound = 10 * time.Second // without the election; the ledger leaves a server that serves nothing after 3 s
	l := newLab(t)
	nodes := startClusterIn(t, l, 3)
	m := nodes.join(t, "ledger,gateway")
	ctx := acting(t, acme)
	untilUp(t, ctx, m.ledger.Commit, settingOf(`"begin"`))
	nodes.measure(t, ctx, m, []outage{{"isolation", func(_ *testing.T, s *natsServer) { nodes.isolate(l, s) }, func(*testing.T, *natsServer) { l.heal() }}}, bound)
}

// isolate cuts a server off from the other servers.
func (c *cluster) isolate(l *lab, s *natsServer) {
	for _, other := range c.servers {
		if other != s {
			l.cut(s.host, other.host)
			l.cut(other.host, s.host)
		}
	}
}

// TestSilentServer_IsolatedLeader is the same for the leader that the ledger is connected to. It
// believes for 10 to 20 s that it still leads.
func TestSilentServer_IsolatedLeader(t *testing.T) {
	const rounds, bound = 5, 5 * time.Second // without the election
	l := newLab(t)
	nodes := startClusterIn(t, l, 3)
	m := nodes.join(t, "ledger,gateway")
	ctx := acting(t, acme)
	var times []string
	for range rounds {
		leader := nodes.leader(t)
		for !nodes.connected(t, leader) { // it chooses a server by chance
			m.kill()
			m.start(t)
		}
		untilUp(t, ctx, m.ledger.Commit, settingOf(fmt.Sprint(time.Now().UnixNano())))
		began := time.Now()
		nodes.isolate(l, leader)
		untilUp(t, ctx, m.ledger.Commit, settingOf(fmt.Sprint(time.Now().UnixNano())))
		took := time.Since(began)
		election := nodes.election(t, leader, began)
		if took > election+bound {
			t.Errorf("isolation of %s: the first write took %s, and the election %s of it", leader.name, took, election)
		}
		times = append(times, fmt.Sprintf("%.1f s (election %.1f s)", took.Seconds(), election.Seconds()))
		l.heal()
		nodes.start(t)
	}
	fmt.Printf("isolation of the leader that the ledger is connected to, until the next write: %s\n", strings.Join(times, ", "))
}

// connected reports whether a ledger is connected to the server.
func (c *cluster) connected(t *testing.T, s *natsServer) bool {
	t.Helper()
	asking := &http.Client{Transport: &http.Transport{DialContext: c.observer.dial}, Timeout: callTimeout}
	defer asking.CloseIdleConnections()
	resp, err := asking.Get("http://" + s.monitor + "/connz")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var info struct{ Connections []struct{ Name string } }
	if err := json.NewDecoder(resp.Body).Decode(&info); err != nil {
		t.Fatal(err)
	}
	for _, conn := range info.Connections {
		if conn.Name == "stele" {
			return true
		}
	}
	return false
}

// measure has the leader fail a few times, and then each server, and measures how long the next
// write takes.
func (c *cluster) measure(t *testing.T, ctx context.Context, m *member, outages []outage, bound time.Duration) {
	t.Helper()
	for _, f := range outages {
		var leaders, others []string
		for i := range 3 + len(c.servers) {
			leader := c.leader(t)
			s := leader
			if i >= 3 {
				s = c.servers[i-3]
			}
			began := time.Now()
			f.begin(t, s)
			untilUp(t, ctx, m.ledger.Commit, settingOf(fmt.Sprint(time.Now().UnixNano())))
			took := time.Since(began)
			election := c.election(t, s, began)
			if took > election+bound {
				t.Errorf("%s of %s: the first write took %s, and the election %s of it", f.name, s.name, took, election)
			}
			if s == leader {
				leaders = append(leaders, fmt.Sprintf("%.1f s (election %.1f s)", took.Seconds(), election.Seconds()))
			} else {
				others = append(others, took.Round(10*time.Millisecond).String())
			}
			f.end(t, s)
			c.start(t)
		}
		fmt.Printf("%s of one of 3 nats-servers, until the next write: the leader %s; another one %s\n", f.name, strings.Join(leaders, ", "), strings.Join(others, ", "))
	}
}

// election is how long after a time the servers other than this one elected the stream's leader,
// zero if they have not elected one since.
func (c *cluster) election(t *testing.T, failing *natsServer, began time.Time) (took time.Duration) {
	t.Helper()
	c.awaitStream(t, "its leader says since when it leads", failing, func(is *jetstream.ClusterInfo) bool {
		if is.LeaderSince != nil {
			took = max(is.LeaderSince.Sub(began), 0)
		}
		return is.LeaderSince != nil
	})
	return took
}
