package client_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stelehq/stele/client"
	"github.com/stelehq/stele/client/clienttest"
	"github.com/stelehq/stele/internal/gateway/identity"
	"github.com/stelehq/stele/internal/ledger/ledgertest"
	"github.com/stelehq/stele/internal/porttest"
)

func TestFailover_NextGateway(t *testing.T) {
	t.Parallel()
	s := clienttest.Start(t)
	if _, err := s.StartGateway(porttest.Free(t, 1)[0]); err != nil {
		t.Fatal(err)
	}
	cfg := s.Config("acme")
	c := open(t, cfg)
	n := client.Bind(c, "a/n", 0)
	for i := range 4 {
		followed := c.Status().Gateway
		other := cfg.Addresses[0]
		if other == followed {
			other = cfg.Addresses[1]
		}
		s.StopGateway(followed)
		set(t, c, "a/n", i+1)
		eventually(t, "the other gateway is followed", func() bool { return c.Status().Gateway == other && n.Get() == i+1 })
		if _, err := s.StartGateway(followed); err != nil { // on the same port
			t.Fatal(err)
		}
	}
}

func TestFailover_CutConnectionMissesNothing(t *testing.T) {
	s := clienttest.Start(t)
	w := open(t, s.Config("acme"))
	cfg := s.Config("acme", "a/")
	net := newLink(t, cfg.Addresses[0])
	cfg.Addresses = []string{net.address}
	c := open(t, cfg)
	var last uint64
	var wrong atomic.Bool
	c.OnChange("a/", func(u client.Update) {
		if u.After.Revision() <= last || u.Before.Revision() < last {
			wrong.Store(true)
		}
		last = u.After.Revision()
	})
	for i := range 30 {
		if i%10 == 5 {
			net.cut()
		}
		set(t, w, fmt.Sprintf("a/k%d", i), i)
	}
	eventually(t, "all keys are there", func() bool { return len(c.Snapshot().List("a/")) == 30 })
	if wrong.Load() {
		t.Error("OnChange was called in the wrong order")
	}
}

// All clients of a gateway lose it at the same moment, and do not reconnect at once.
func TestReconnect_ClientsAreSpread(t *testing.T) {
	s := clienttest.Start(t)
	cfg := s.Config("acme")
	net := newLink(t, cfg.Addresses[0])
	cfg.Addresses = []string{net.address}
	const clients = 25
	var all []*client.Client
	for range clients {
		all = append(all, open(t, cfg))
	}
	net.cut()
	eventually(t, "all are back", func() bool { return len(net.connections()) >= 2*clients })
	back := net.connections()[clients:]
	// They come within half a second. That all of them are in a fifth of it by chance
	// happens once in 10^15 runs.
	if spread := back[clients-1].Sub(back[0]); spread < 100*time.Millisecond {
		t.Errorf("%d clients reconnected within %s", clients, spread)
	}
	w := open(t, s.Config("acme"))
	set(t, w, "a/b", 1)
	for _, c := range all {
		eventually(t, "every client follows again", func() bool { _, ok := c.Get("a/b"); return ok })
	}
}

// If packets are dropped without an error, the client's poll gets no answer.
func TestFailover_SilentGatewayIsLeft(t *testing.T) {
	if testing.Short() {
		t.Skip("it waits for a gateway to be silent for ten seconds")
	}
	t.Parallel()
	s := clienttest.Start(t)
	w := open(t, s.Config("acme"))
	cfg := s.Config("acme")
	net := newLink(t, cfg.Addresses[0])
	cfg.Addresses = []string{net.address}
	c := open(t, cfg)
	net.kill(true)
	began := time.Now()
	set(t, w, "a/b", 1)
	eventually(t, "the status says why no gateway is followed", func() bool {
		err := c.Status().Err
		return err != nil && strings.Contains(err.Error(), "said nothing")
	})
	if age, since := c.Age(), time.Since(began); age < since {
		t.Errorf("the age is %s, %s after the last word", age, since)
	}
	net.kill(false)
	eventually(t, "it continues", func() bool { _, ok := c.Get("a/b"); return ok && c.Age() < 5*time.Second })
}

// A client that cannot accept a message reports the outcome, over the same stream.
func TestClient_SlowReaderGetsTheNewestState(t *testing.T) {
	s := clienttest.Start(t)
	w := open(t, s.Config("acme", "none/"))
	set(t, w, "a/gone", "soon")
	cfg := s.Config("acme", "a/")
	net := newLink(t, cfg.Addresses[0])
	cfg.Addresses = []string{net.address}
	c := open(t, cfg)
	net.kill(true)
	began := time.Now()
	text := strings.Repeat("x", 500_000)
	var last client.Commit
	for i := range 50 { // more than a gateway keeps for one client
		last = set(t, w, fmt.Sprintf("a/k%d", i%3), fmt.Sprintf("%d %s", i, text))
	}
	last, err := w.Ledger().Commit(t.Context(), client.ChangeSet{Delete: []string{"a/gone"}})
	if err != nil {
		t.Fatal(err)
	}
	took := time.Since(began)
	net.kill(false)
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	if err := c.WaitRevision(ctx, last.Revision); err != nil {
		t.Fatal(err)
	}
	got := c.Snapshot().List("a/")
	if len(got) != 3 {
		t.Fatalf("%d keys are there", len(got))
	}
	for i, want := range []string{`"48 `, `"49 `, `"47 `} {
		if !strings.HasPrefix(got[i].Value, want) {
			t.Errorf("%s is %.5s, and not %s", got[i].Key, got[i].Value, want)
		}
	}
	if n := len(net.connections()); n != 1 && took < 5*time.Second { // later, the gateway counts as silent
		t.Errorf("it took %d connections", n)
	}
}

func TestToken_IsReadAgain(t *testing.T) {
	t.Parallel()
	signer := newSigner(t)
	n := ledgertest.Start(t, ledgertest.Server(t), ledgertest.Config{})
	address, _ := serve(t, n, signer)
	var asked atomic.Int32
	source := minted(signer, "acme", 2*time.Second, identity.Writer)
	c := open(t, client.Config{Addresses: []string{address}, Tenant: "acme", Token: func(ctx context.Context) (string, error) {
		asked.Add(1)
		return source(ctx)
	}})
	before := asked.Load()
	eventually(t, "two more tokens were asked for", func() bool { return asked.Load() >= before+4 })
	set(t, c, "a/b", 1)
	eventually(t, "the commit is there", func() bool { _, ok := c.Get("a/b"); return ok })
}

func TestOpen_DeniedFailsAtOnce(t *testing.T) {
	s := clienttest.Start(t)
	for name, change := range map[string]func(*client.Config){
		"no token":       func(cfg *client.Config) { cfg.Token = client.TokenFile("/no/such/file") },
		"another's":      func(cfg *client.Config) { cfg.Token = client.StaticToken("abc") },
		"another tenant": func(cfg *client.Config) { cfg.Tenant = "globex" },
		"no address":     func(cfg *client.Config) { cfg.Addresses = nil },
		"no port":        func(cfg *client.Config) { cfg.Addresses = []string{"localhost"} },
		"a bad prefix":   func(cfg *client.Config) { cfg.Prefixes = []string{"a b"} },
		"a nameless file": func(cfg *client.Config) {
			cfg.Tenant, cfg.File = "", "settings"
		},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := s.Config("acme")
			change(&cfg)
			c, err := client.Open(t.Context(), cfg) // without a deadline
			if err == nil {
				c.Close()
				t.Fatal("it is open")
			}
			t.Log(err)
		})
	}
	cfg := s.Config("acme")
	cfg.Addresses = []string{"127.0.0.1:1"}
	if err := openFails(t, cfg, "127.0.0.1:1"); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "127.0.0.1:1") {
		t.Errorf("the error is %v", err)
	}
}

// openFails returns the error of a client that does not open before its deadline. On a busy
// machine the deadline can come before the reason is known: then it gets a later one.
func openFails(t *testing.T, cfg client.Config, reason string) error {
	t.Helper()
	for timeout := 300 * time.Millisecond; ; timeout *= 2 {
		ctx, cancel := context.WithTimeout(t.Context(), timeout)
		c, err := client.Open(ctx, cfg)
		cancel()
		if err == nil {
			c.Close()
			t.Fatal("it is open")
		}
		if strings.Contains(err.Error(), reason) || timeout > 30*time.Second {
			return err
		}
	}
}

// A gateway that is behind is worse than none: the client stays where it is.
func TestClient_NeverRewinds(t *testing.T) {
	t.Parallel()
	signer, nats := newSigner(t), ledgertest.Server(t)
	ahead, behind := ledgertest.Start(t, nats, ledgertest.Config{}), ledgertest.Start(t, nats, ledgertest.Config{})
	a, stopA := serve(t, ahead, signer)
	b, _ := serve(t, behind, signer)
	token := minted(signer, "acme", time.Hour, identity.Writer)
	c := open(t, client.Config{Addresses: []string{a}, Tenant: "acme", Token: token})
	set(t, c, "a/b", 1)
	both := open(t, client.Config{Addresses: []string{a, b}, Tenant: "acme", Token: token})
	behind.Conn.Close() // from now on it hears nothing
	done := set(t, c, "a/b", 2)
	// Wherever it was, it comes to the gateway that has the commit, when it must.
	if both.Status().Gateway == b {
		eventually(t, "it leaves the gateway that is cut off", func() bool { return both.Status().Gateway == a })
	}
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	if err := both.WaitRevision(ctx, done.Revision); err != nil {
		t.Fatal(err)
	}
	stopA()
	eventually(t, "the gateway that is behind was asked", func() bool {
		err := both.Status().Err
		return err != nil && strings.Contains(err.Error(), b) && strings.Contains(err.Error(), "the gateway is behind: it holds acme@1 and has waited for @2")
	})
	if e, _ := both.Get("a/b"); e.Value != "2" || both.Status().Revision != done.Revision {
		t.Errorf("it has %+v at %d", e, both.Status().Revision)
	}
	if at := both.Status().HistoryChanged; !at.IsZero() {
		t.Errorf("the client reports a changed history at %s", at)
	}
}

func TestOpen_AnotherLedger(t *testing.T) {
	t.Parallel()
	signer := newSigner(t)
	one := ledgertest.Start(t, ledgertest.Server(t), ledgertest.Config{})
	two := ledgertest.Start(t, ledgertest.Server(t), ledgertest.Config{})
	a, stopA := serve(t, one, signer)
	b, _ := serve(t, two, signer)
	token := minted(signer, "acme", time.Hour, identity.Writer)
	other := open(t, client.Config{Addresses: []string{b}, Token: token})
	for i := range 5 { // further than the first ledger
		set(t, other, "a/b", fmt.Sprint("other ", i))
	}
	cfg := client.Config{Addresses: []string{a}, Tenant: "acme", Token: token, File: t.TempDir() + "/settings"}
	c := open(t, cfg)
	set(t, c, "a/b", "mine")
	c.Close()

	// One that runs stays with its ledger, also when it has only heard of it by the file.
	cfg.Addresses = []string{"127.0.0.1:1"}
	c = open(t, cfg)
	if e, _ := c.Get("a/b"); e.Value != `"mine"` {
		t.Errorf("the file has %+v", e)
	}
	c.Close()

	stopA()
	// One that starts goes by what its gateways say, and never mixes the two.
	cfg.Addresses = []string{b}
	c = open(t, cfg)
	if e, _ := c.Get("a/b"); e.Value != `"other 4"` {
		t.Errorf("it has %+v", e)
	}
}

func TestClient_StaysWithItsLedger(t *testing.T) {
	signer := newSigner(t)
	one := ledgertest.Start(t, ledgertest.Server(t), ledgertest.Config{})
	two := ledgertest.Start(t, ledgertest.Server(t), ledgertest.Config{})
	a, stopA := serve(t, one, signer)
	b, _ := serve(t, two, signer)
	net := newLink(t, a)
	c := open(t, client.Config{Addresses: []string{net.address}, Token: minted(signer, "acme", time.Hour, identity.Writer)})
	set(t, c, "a/b", "mine")
	net.redirect(b)
	net.cut()
	stopA()
	eventually(t, "it says so", func() bool {
		err := c.Status().Err
		return err != nil && strings.Contains(err.Error(), "other ledger")
	})
	if e, _ := c.Get("a/b"); e.Value != `"mine"` {
		t.Errorf("it has %+v", e)
	}
}
