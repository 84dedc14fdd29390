package node

import (
	"context"
	"crypto/rand"
	"fmt"
	"iter"
	"os"
	"strings"
	"time"

	"github.com/stelehq/stele/cmd/stele/internal/certs"
	"github.com/stelehq/stele/cmd/stele/internal/conn"
	"github.com/stelehq/stele/internal/gateway/policy"
	"github.com/stelehq/stele/internal/gateway/replication"
	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/journal"
	"github.com/stelehq/stele/internal/ledger/replica"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/grpc"
)

// Upstream says which gateways an edge replicates from.
type Upstream struct {
	// Addresses, host:port, in the order in which they are tried.
	Addresses []string
	// TokenFile holds the edge's token; it is read again for every connection.
	TokenFile string
	// TLS shows upstreams a certificate, and says whose CA theirs are of.
	TLS certs.Files
	// Plaintext connects without TLS if TLS has no files: something between does it.
	Plaintext bool
	// ForwardWrites sends writes to the upstream with the caller's token.
	ForwardWrites bool
	// History is how much of it to keep.
	History replica.History
}

// history is what the replica keeps: all, unless the process is an edge.
func (c Config) history() replica.History {
	if c.Upstream == nil {
		return replica.History{}
	}
	return c.Upstream.History
}

// upstreams are the addresses to name to callers that ask for history that is not kept.
func (c Config) upstreams() string {
	if c.Upstream == nil {
		return ""
	}
	return strings.Join(c.Upstream.Addresses, " or ")
}

// newID names this process to other gateways.
func newID(listen string) *stelev1.GatewayID {
	id := make([]byte, 16)
	rand.Read(id)
	return &stelev1.GatewayID{Id: id, Address: listen}
}

// replicate makes the client that the replica follows.
func (n *Node) replicate(id *stelev1.GatewayID) *replication.Client {
	u := n.cfg.Upstream
	token := func() (string, error) {
		b, err := os.ReadFile(u.TokenFile)
		if err != nil {
			return "", fmt.Errorf("read the token for the upstream: %w", err)
		}
		return strings.TrimSpace(string(b)), nil
	}
	dial := func(token func() (string, error)) func(string) (*grpc.ClientConn, error) {
		return func(address string) (*grpc.ClientConn, error) {
			if u.Plaintext && u.TLS == (certs.Files{}) {
				return conn.DialPlaintext(address, token)
			}
			return conn.Dial(address, u.TLS, token)
		}
	}
	return replication.NewClient(replication.Config{
		Addresses: u.Addresses, Dial: dial(token), Forward: dial(func() (string, error) { return "", nil }),
		Tenants: n.cfg.Tenants, Self: id, Reports: func() []*stelev1.GatewayStatus { return n.gateway.Reports() }, Pin: replication.Pin(n.cfg.Data), Witnesses: n.cfg.Witnesses, Log: n.cfg.Log,
	})
}

// edgeReads has an edge's reads recorded by its upstream.
type edgeReads struct{ *replication.Client }

// ScanBack is not for an edge: its gateway sends the calls that need it to the upstream.
func (edgeReads) ScanBack(context.Context, string, ledger.Sequence, time.Time) iter.Seq2[journal.Message, error] {
	return func(yield func(journal.Message, error) bool) { yield(journal.Message{}, errEdge) }
}

// errEdge: the call needs what only processes with NATS have.
var errEdge = fmt.Errorf("%w: this gateway is an edge; ask its upstream", ledger.ErrUnavailable)

var _ policy.ReadLog = edgeReads{}
