package gateway

import (
	"context"
	"crypto/sha256"
	"os"
	"time"

	"github.com/stelehq/stele/internal/gateway/fleet"
	"github.com/stelehq/stele/internal/text"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// ListGateways returns the gateways of the ledger, as they have last reported themselves, and
// this one as it is now.
func (s ledgerService) ListGateways(context.Context, *stelev1.ListGatewaysRequest) (*stelev1.ListGatewaysResponse, error) {
	now := time.Now()
	s.g.fleet.FromPeer(now, s.g.report())
	return &stelev1.ListGatewaysResponse{Gateways: s.g.fleet.All(now)}, nil
}

// Fleet is what this gateway knows of the others.
func (g *Gateway) Fleet() *fleet.Registry { return &g.fleet }

// Reports are the reports of this gateway, and of the edges below it.
func (g *Gateway) Reports() []*stelev1.GatewayStatus {
	return append([]*stelev1.GatewayStatus{g.report()}, g.fleet.Below(time.Now())...)
}

// maxStopped is the longest reason, or description of damage, that a report has, in bytes.
const maxStopped = 500

// report is what this gateway reports about itself to others.
func (g *Gateway) report() *stelev1.GatewayStatus {
	host, _ := os.Hostname() // empty is fine: the address stays
	r := &stelev1.GatewayStatus{
		Id: g.cfg.ID.Id, Host: host, Address: g.cfg.ID.Address, Version: g.cfg.Version, Roles: g.cfg.Roles, Started: timestamppb.New(g.started),
		Journal: g.journalStatus(),
	}
	for _, id := range g.path()[1:] {
		r.Path = append(r.Path, id.Address)
	}
	if len(r.Path) == 0 && g.cfg.Upstream != nil { // no upstream has answered yet
		_, address, _ := g.cfg.Upstream.Conn() // the address is known also with an error
		r.Path = []string{address}
	}
	if err := g.cfg.Replica.Stopped(); err != nil {
		r.Stopped = text.Clip(withReason(err), maxStopped)
	} else if g.cfg.Tree != nil && g.cfg.Tree.Stopped() != nil {
		r.Stopped = text.Clip(withReason(g.cfg.Tree.Stopped()), maxStopped)
	}
	r.Damaged = text.Clip(g.damage(), maxStopped)
	// Before it has caught up, it may not know the ledger's routes yet.
	if table, rev, err := g.cfg.Routes.Table(); r.Journal.GetAge() != nil && err == nil && rev == 0 {
		sum := sha256.Sum256([]byte(table.String()))
		r.OwnRoutes = sum[:8]
	}
	return r
}

// journalStatus is how far the replica has followed the journal; nil while it is being opened.
func (g *Gateway) journalStatus() *stelev1.JournalStatus {
	p, ok := g.cfg.Replica.Progress()
	if !ok {
		return nil
	}
	st := &stelev1.JournalStatus{Position: uint64(p.Position), LastSequence: uint64(p.Last)}
	if !p.Current.IsZero() {
		st.Age = durationpb.New(time.Since(p.Current))
	}
	return st
}
