package gateway

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/stelehq/stele/internal/gateway/fleet"
	"github.com/stelehq/stele/internal/gateway/identity"
	"github.com/stelehq/stele/internal/gateway/policy"
	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/replica"
	"github.com/stelehq/stele/internal/text"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// maxAhead is how many tenants whose newest commits are ahead a status lists.
const maxAhead = 20

// GetStatus returns the status of this process.
func (s ledgerService) GetStatus(ctx context.Context, _ *stelev1.GetStatusRequest) (*stelev1.GetStatusResponse, error) {
	g, c := s.g, policy.CallerOf(ctx)
	epoch := g.cfg.Replica.Epoch()
	resp := &stelev1.GetStatusResponse{
		Version: g.cfg.Version,
		Roles:   g.cfg.Roles,
		Epoch:   epoch[:],
		Started: timestamppb.New(g.started),
		Principal: &stelev1.Principal{
			Subject: c.Subject,
			Tenant:  string(c.Tenant),
			Expires: timestamppb.New(c.Expires),
		},
	}
	for _, r := range c.Roles {
		resp.Principal.Roles = append(resp.Principal.Roles, string(r))
	}
	resp.Principal.Prefixes = policy.Scope(c.Prefixes).Strings()
	if c.Has(identity.Operator) { // the number of tenants is for operators only
		resp.Tenants = new(uint64(g.cfg.Replica.Tenants()))
		resp.MemoryUsed, resp.MemoryLimit = memoryUse()
		resp.JournalCopies = g.journalCopies()
		ahead := g.cfg.Replica.Ahead(time.Now().Add(ledger.ClockBound))
		resp.Ahead = uint64(len(ahead))
		for _, t := range ahead[:min(len(ahead), maxAhead)] {
			resp.AheadTenants = append(resp.AheadTenants, string(t))
		}
	}
	resp.Journal = g.journalStatus()
	if g.cfg.Upstream != nil {
		resp.Upstreams = g.cfg.Upstream.Status()
		for _, u := range resp.Upstreams {
			if u.Error != "" && !c.Has(identity.Operator) { // it can name any tenant that is replicated
				u.Error = operatorsSeeWhy
			}
		}
	}
	if c.Tenant != "" {
		// The journal's age shows that the replica is being built, and any other call
		// reports grants that cannot be read.
		if err := s.addTenantStatus(ctx, resp); err != nil && !errors.Is(err, ledger.ErrUnavailable) && !errors.Is(err, policy.ErrDenied) {
			return nil, err
		}
	}
	if err := g.cfg.Replica.Stopped(); err != nil {
		resp.Stopped = whyStopped(c, err)
	}
	if err := g.writable(); err != nil {
		resp.ReadOnly = whyStopped(c, err)
	}
	return resp, nil
}

// whyStopped is the text of an error for a caller. If the process has stopped following the
// journal, operators get the reason as well.
func whyStopped(c Caller, err error) string {
	if c.Has(identity.Operator) {
		return withReason(err)
	}
	return err.Error()
}

// withReason is the text of an error for operators.
func withReason(err error) string {
	var stopped *ledger.StoppedError
	if errors.As(err, &stopped) {
		return strings.Replace(err.Error(), stopped.Error(), stopped.Reason.Error(), 1)
	}
	return err.Error()
}

// addTenantStatus adds the caller's permissions and its tenant's unrouted keys to the status.
func (s ledgerService) addTenantStatus(ctx context.Context, resp *stelev1.GetStatusResponse) error {
	g, c := s.g, policy.CallerOf(ctx)
	scopes, err := g.policy.Scopes(c)
	if err != nil {
		return err
	}
	for i, s := range scopes {
		if len(s) > 0 {
			resp.Principal.Allowed = append(resp.Principal.Allowed, &stelev1.Allowed{Operation: string(policy.Operations[i]), Prefixes: s.Strings()})
		}
	}
	if resp.Unrouted, resp.UnroutedKeys, err = s.unrouted(c); err != nil || !c.Visits(c.Tenant) {
		return err
	}
	if g.policy.Record(ctx, c, policy.Methods[stelev1.Ledger_GetStatus_FullMethodName], c.Tenant, policy.Asked{Keys: resp.UnroutedKeys}, 0) != nil {
		resp.UnroutedKeys = nil // the rest is always returned, because it shows why nothing can be recorded
	}
	return nil
}

// maxUnrouted is how many keys without a route are named.
const maxUnrouted = 5

// unrouted counts the tenant's keys without a route, and names the first whose reads
// are not recorded: a status request must not be recorded for it. Keys that the caller
// may not read are left out. Without sinks, the count is 0.
func (s ledgerService) unrouted(c Caller) (n uint64, first []string, err error) {
	g, t := s.g, c.Tenant
	table, _, err := g.routes()
	if err != nil || len(table.Sinks) == 0 || t.Reserved() {
		return 0, nil, err
	}
	recorded, err := g.policy.RecordedBy(t)
	if err != nil {
		return 0, nil, err
	}
	sees, err := g.policy.Scope(c, policy.ToRead)
	if err != nil {
		return 0, nil, err
	}
	v, err := g.cfg.Replica.View(t, replica.At{})
	if err != nil {
		return 0, nil, err
	}
	defer v.Close()
	for from, more := ledger.Key(""), true; more; {
		more = false
		for e, err := range v.Keys("", from) {
			if err != nil {
				return 0, nil, fmt.Errorf("look for keys without a route: %w", err)
			}
			if r := table.Route(e.Key); r != nil {
				key, below := r.Prefix.Split()
				if e.Key == key {
					continue
				}
				from, more = ledger.Key(below)+"\x7f", true // no byte of a key is as large
				break
			}
			if e.Key.Reserved() || !sees.Key(e.Key) {
				continue
			}
			if n++; len(first) < maxUnrouted && (policy.Asked{Keys: []string{string(e.Key)}}).Under(recorded).Nothing() {
				first = append(first, string(e.Key))
			}
		}
	}
	return n, first, nil
}

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

// report is what this gateway says of itself to others.
func (g *Gateway) report() *stelev1.GatewayStatus {
	host, _ := os.Hostname() // empty is fine: the address stays
	r := &stelev1.GatewayStatus{
		Id: g.cfg.ID.Id, Host: host, Address: g.cfg.ID.Address, Version: g.cfg.Version, Roles: g.cfg.Roles, Started: timestamppb.New(g.started),
		Journal: g.journalStatus(),
	}
	for _, id := range g.path()[1:] {
		r.Path = append(r.Path, id.Address)
	}
	if err := g.cfg.Replica.Stopped(); err != nil {
		r.Stopped = text.Clip(withReason(err), maxStopped)
	} else if g.cfg.Tree != nil && g.cfg.Tree.Stopped() != nil {
		r.Stopped = text.Clip(withReason(g.cfg.Tree.Stopped()), maxStopped)
	}
	r.Damaged = text.Clip(g.damage(), maxStopped)
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
