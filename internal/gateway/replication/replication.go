// Package replication keeps the replica of a gateway, the edge, equal to another one's,
// its upstream, for some tenants or for all.
//
// The upstream sends raw commits: for each tenant first those after the newest that the
// edge has, then new ones as they become visible. The edge checks the epoch, each
// tenant's chain, and from time to time that its newest commits are in the tree of a
// signed checkpoint. So an upstream can delay history but not alter, reorder or drop
// any of it unnoticed; the edge leaves one that tries. An edge does not start from a
// snapshot of a head: also one that keeps little history receives every commit, and drops what
// it does not keep.
//
// Twice a second the edge polls the upstream's progress. The age of the edge's answers
// is the age that the upstream reports plus the time since the poll. That age is an
// unverified claim: a checkpoint proves what was written, not that nothing was written
// since.
//
// Upstreams form a tree of any depth. Every gateway reports the path from it to the one
// that follows the journal, and a gateway that finds itself on the path of its upstream
// rejects it.
package replication

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/stelehq/stele/internal/ledger"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/grpc/metadata"
)

var (
	// ErrHistoryChanged: the edge has commits that the upstream's ledger has not.
	ErrHistoryChanged = errors.New("the edge's history is not the upstream's")
	// ErrCycle: the edge is on the path of its upstream.
	ErrCycle = errors.New("gateways replicate from each other in a cycle")
	// ErrBehind: the edge has commits that the upstream does not have yet.
	ErrBehind = fmt.Errorf("%w: this gateway is behind the edge", ledger.ErrUnavailable)
	// ErrPruned: the upstream no longer has commits that the edge lacks.
	ErrPruned = errors.New("the upstream does not keep the history that is needed")
)

// errContradiction: an upstream contradicts itself, or breaks the protocol.
var errContradiction = errors.New("the upstream contradicts itself")

// Path is the gateways from one up to the one that follows the journal.
type Path []*stelev1.GatewayID

// String joins the addresses.
func (p Path) String() string { return strings.Join(p.addresses(), " > ") }

func (p Path) addresses() []string {
	var names []string
	for _, id := range p {
		names = append(names, id.Address)
	}
	return names
}

func (p Path) contains(id *stelev1.GatewayID) bool {
	return slices.ContainsFunc(p, func(on *stelev1.GatewayID) bool { return bytes.Equal(on.Id, id.Id) })
}

// held are the tenants whose commits travel: the wanted ones, and the ledger's own; nil
// stands for all.
func held(wanted []ledger.Tenant) map[ledger.Tenant]bool {
	if len(wanted) == 0 {
		return nil
	}
	all := map[ledger.Tenant]bool{ledger.System: true}
	for _, t := range wanted {
		all[t] = true
	}
	return all
}

// viaHeader names the edges that a forwarded call has passed. Its values are hexadecimal
// gateway ids.
const viaHeader = "stele-via"

// Via adds the gateway to the edges that the call has passed. The result is for calls to
// an upstream on behalf of ctx's caller.
func Via(ctx context.Context, self *stelev1.GatewayID) context.Context {
	var pairs []string
	for _, id := range append(metadata.ValueFromIncomingContext(ctx, viaHeader), hex.EncodeToString(self.GetId())) {
		pairs = append(pairs, viaHeader, id)
	}
	return metadata.AppendToOutgoingContext(ctx, pairs...)
}

// CheckVia returns ErrCycle if the call has passed this gateway before.
func CheckVia(ctx context.Context, self *stelev1.GatewayID) error {
	if slices.Contains(metadata.ValueFromIncomingContext(ctx, viaHeader), hex.EncodeToString(self.GetId())) {
		return fmt.Errorf("%w: a call that %s forwarded returned to it", ErrCycle, self.GetAddress())
	}
	return nil
}
