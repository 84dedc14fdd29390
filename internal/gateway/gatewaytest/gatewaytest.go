// Package gatewaytest starts gateways with ledgers of their own for tests, and mints the
// tokens of their callers.
package gatewaytest

import (
	"context"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stelehq/stele/internal/budget"
	"github.com/stelehq/stele/internal/gateway"
	"github.com/stelehq/stele/internal/gateway/conn"
	"github.com/stelehq/stele/internal/gateway/identity"
	"github.com/stelehq/stele/internal/gateway/policy"
	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/journal"
	"github.com/stelehq/stele/internal/ledger/ledgertest"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

// Issuer mints tokens, and verifies them with a clock that tests move.
type Issuer struct {
	Signer   *identity.Signer
	Verifier *identity.Verifier
	// Later is added to the verifier's clock, in nanoseconds.
	Later atomic.Int64
}

// NewIssuer makes an issuer with a key of its own.
func NewIssuer(tb testing.TB) *Issuer {
	tb.Helper()
	i := new(Issuer)
	var err error
	if i.Signer, err = identity.OpenSigner(tb.TempDir()); err != nil {
		tb.Fatal(err)
	}
	i.Verifier, err = identity.NewVerifier(identity.Config{Keys: i.Signer.Keys(), Issuer: identity.LocalIssuer, Audience: identity.LocalAudience,
		Now: func() time.Time { return time.Now().Add(time.Duration(i.Later.Load())) }})
	if err != nil {
		tb.Fatal(err)
	}
	return i
}

// Token mints a token. Without a subject it is alice's, and without a TTL it is valid for
// an hour.
func (i *Issuer) Token(tb testing.TB, c identity.Claims) string {
	tb.Helper()
	if c.Subject == "" {
		c.Subject = "alice"
	}
	if c.TTL == 0 {
		c.TTL = time.Hour
	}
	token, err := i.Signer.Mint(c)
	if err != nil {
		tb.Fatal(err)
	}
	return token
}

// Gateway is a gateway that reads and writes a ledger of its own.
type Gateway struct {
	*gateway.Gateway
	*Issuer
	Node *ledgertest.Node
}

// Start starts a gateway that does not listen yet; change adapts its configuration. The
// test's end closes it.
func Start(tb testing.TB, change func(*ledgertest.Node, *gateway.Config)) *Gateway {
	tb.Helper()
	g := &Gateway{Issuer: NewIssuer(tb), Node: ledgertest.Start(tb, ledgertest.Server(tb), ledgertest.Config{})}
	cfg := gateway.Config{
		Replica: g.Node.Replica, Verifier: g.Verifier, Reads: true, Roles: []string{"ledger", "gateway"}, Version: "test",
		Ledger: func() (*ledger.Ledger, error) { return g.Node.Ledger, nil },
	}
	if change != nil {
		change(g.Node, &cfg)
	}
	var err error
	if g.Gateway, err = gateway.New(cfg); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(g.Close)
	return g
}

// ReadLog opens the stream of recorded reads of a node's journal, once.
func ReadLog(n *ledgertest.Node) func() (policy.ReadLog, error) {
	return sync.OnceValues(func() (policy.ReadLog, error) { return n.Journal.OpenAuxStream(context.Background(), journal.Reads) })
}

// Dial serves the gateway on a loopback address and connects to it.
func (g *Gateway) Dial(tb testing.TB) *grpc.ClientConn {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- g.Serve(l) }()
	client, err := grpc.NewClient(l.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(2*conn.MaxMessage), grpc.MaxCallSendMsgSize(4*conn.MaxMessage)))
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		client.Close()
		g.Close()
		if err := <-served; err != nil {
			tb.Error(err)
		}
	})
	return client
}

// DialInProcess connects to the gateway without a network.
func (g *Gateway) DialInProcess(tb testing.TB) *grpc.ClientConn {
	tb.Helper()
	client, err := g.Front().Connect()
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { client.Close() })
	return client
}

// Exhaust takes all of a share until the test ends: an owner has what all can have together, and as
// many others as there can be hold the reserve.
func Exhaust(tb testing.TB, d *budget.Divided) {
	tb.Helper()
	hold := func(owner string, n int64) {
		if err := d.Acquire(tb.Context(), owner, n); err != nil {
			tb.Fatal(err)
		}
		tb.Cleanup(func() { d.Release(owner, n) })
	}
	hold("first", d.Size())
	for left := d.Total.Size() - d.Size(); left > 1; left -= left / 2 {
		hold(fmt.Sprint("with ", left), left/2)
	}
}
