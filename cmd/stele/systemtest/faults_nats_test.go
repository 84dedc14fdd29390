//go:build faults

package systemtest

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stelehq/stele/internal/gateway/identity"
	"github.com/stelehq/stele/internal/porttest"
)

// cluster is nats-server processes that hold a journal.
type cluster struct {
	binary  string
	key     string // file of the checkpoint key
	servers []*natsServer
	// observer is the host that the test asks the servers from; nil for this machine.
	observer *host
}

// natsServer is one of them; its process is replaced when it is started again.
type natsServer struct {
	*process
	host            *host // that it runs on; nil for this machine
	name, file      string
	store           string // the folder of its streams
	client, monitor string // host:port
}

// startCluster builds nats-server from the version in go.mod and runs that many
// of it, each with its own folder.
func startCluster(t *testing.T, size int) *cluster {
	t.Helper()
	return runCluster(t, nil, porttest.Free(t, 3*size))
}

// startClusterIn runs that many nats-servers, each on a host of its own.
func startClusterIn(t *testing.T, l *lab, size int) *cluster {
	t.Helper()
	var addresses []string
	for range size {
		h := l.host()
		for _, port := range []string{"6222", "4222", "8222"} {
			addresses = append(addresses, net.JoinHostPort(h.address, port))
		}
	}
	return runCluster(t, l, addresses)
}

// runCluster has for each server the addresses for the other servers, for clients and for
// monitoring. The servers are on the hosts of the lab, if there is one.
func runCluster(t *testing.T, l *lab, addresses []string) *cluster {
	t.Helper()
	size := len(addresses) / 3
	c := &cluster{binary: filepath.Join(t.TempDir(), "nats-server"), key: filepath.Join(t.TempDir(), "checkpoint.key")}
	build := exec.Command("go", "build", "-o", c.binary, "github.com/nats-io/nats-server/v2")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build nats-server: %v\n%s", err, out)
	}
	var routes []string // a cluster's members must know each other before they run
	for i := range size {
		routes = append(routes, fmt.Sprintf("%q", "nats://"+addresses[3*i]))
	}
	for i := range size {
		s := &natsServer{
			name: fmt.Sprintf("node-%d", i), file: filepath.Join(t.TempDir(), "nats.conf"),
			client: addresses[3*i+1], monitor: addresses[3*i+2], store: t.TempDir(),
		}
		if l != nil {
			s.host = l.hosts[i]
		}
		settings := fmt.Sprintf("server_name: %s\nlisten: %q\nhttp: %q\nmax_payload: 8MB\njetstream { store_dir: %q, sync_interval: always }\n",
			s.name, s.client, s.monitor, s.store)
		if size > 1 {
			settings += fmt.Sprintf("cluster { name: stele, listen: %q, routes: [%s] }\n", addresses[3*i], strings.Join(routes, ", "))
		}
		if err := os.WriteFile(s.file, []byte(settings), 0o600); err != nil {
			t.Fatal(err)
		}
		c.servers = append(c.servers, s)
	}
	if l != nil {
		c.observer = l.host()
	}
	c.start(t)
	return c
}

// start runs the servers that do not run, and waits until all are well.
func (c *cluster) start(t *testing.T) {
	t.Helper()
	for _, s := range c.servers {
		if s.process == nil {
			program, args := s.host.run(c.binary, []string{"--config", s.file})
			s.process = launch(t, os.Environ(), program, args...)
		}
	}
	asking := &http.Client{Transport: &http.Transport{DialContext: c.observer.dial}, Timeout: callTimeout}
	defer asking.CloseIdleConnections()
	for _, s := range c.servers {
		await(t, s.name+" is healthy", func() bool {
			resp, err := asking.Get("http://" + s.monitor + "/healthz")
			if err != nil {
				return false
			}
			resp.Body.Close()
			return resp.StatusCode == http.StatusOK
		})
	}
}

func (s *natsServer) kill() {
	s.process.kill()
	s.process = nil
}

// leader is the server that leads the journal's stream.
func (c *cluster) leader(t *testing.T) (leader *natsServer) {
	t.Helper()
	c.awaitStream(t, "it has a leader", nil, func(is *jetstream.ClusterInfo) bool {
		for _, s := range c.servers {
			if len(c.servers) == 1 || s.name == is.Leader {
				leader = s
			}
		}
		return leader != nil
	})
	return leader
}

// awaitStream asks the servers, all or without one, about the journal's stream until done says
// yes.
func (c *cluster) awaitStream(t *testing.T, what string, without *natsServer, done func(*jetstream.ClusterInfo) bool) {
	t.Helper()
	var urls []string
	for _, s := range c.servers {
		if s != without {
			urls = append(urls, "nats://"+s.client)
		}
	}
	nc, err := nats.Connect(strings.Join(urls, ","), nats.IgnoreDiscoveredServers(), nats.SetCustomDialer(observed{c.observer}))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	await(t, "the journal's stream: "+what, func() bool {
		stream, err := js.Stream(t.Context(), "STELE")
		return err == nil && done(stream.CachedInfo().Cluster)
	})
}

// observed connects from a host.
type observed struct{ *host }

func (o observed) Dial(network, address string) (net.Conn, error) {
	return o.dial(context.Background(), network, address)
}

func (c *cluster) clients() string {
	var urls []string
	for _, s := range c.servers {
		urls = append(urls, "nats://"+s.client)
	}
	return strings.Join(urls, ",")
}

// member is a "stele serve" on the cluster; its process is replaced when it is
// started again.
type member struct {
	*gateway
	host     *host // that it runs on; nil for this machine
	data     string
	args     []string
	contexts string
	token    string
}

// join runs a stele with these roles, and more flags, on the cluster.
func (c *cluster) join(t *testing.T, roles string, more ...string) *member {
	t.Helper()
	dir := t.TempDir()
	signer, err := identity.OpenSigner(filepath.Join(dir, "identity"))
	if err != nil {
		t.Fatal(err)
	}
	m := &member{data: filepath.Join(dir, "data"), contexts: filepath.Join(dir, "config.yaml")}
	m.token, err = signer.Mint(identity.Claims{Subject: "faults", Tenant: acme, Roles: []identity.Role{identity.Operator}, TTL: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	var monitors []string
	for _, s := range c.servers {
		monitors = append(monitors, "http://"+s.monitor)
	}
	m.args = []string{
		"serve", "--data", m.data, "--roles", roles, "--checkpoint-key", c.key, "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0", "--web", "127.0.0.1:0",
		"--nats-url", c.clients(), "--nats-monitor", strings.Join(monitors, ","), "--replicas", fmt.Sprint(len(c.servers)),
		"--jwks", filepath.Join(dir, "identity", "jwks.json"), "--issuer", identity.LocalIssuer, "--audience", identity.LocalAudience,
	}
	m.args = append(m.args, more...)
	if c.observer != nil {
		m.host = c.observer.lab.host()
		m.args = append(m.args, "--plaintext")
	}
	m.start(t)
	return m
}

func (m *member) start(t *testing.T) {
	t.Helper()
	program, args := m.host.run("stele", m.args)
	m.gateway = servingOn(t, m.host, launch(t, environment(m.contexts), program, args...), func() (string, error) { return m.token, nil })
}
