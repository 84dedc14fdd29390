package gateway

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/stelehq/stele/internal/gateway/identity"
	"github.com/stelehq/stele/internal/gateway/policy"
	"github.com/stelehq/stele/internal/gateway/task"
	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/routes"
	sinkstatev1 "github.com/stelehq/stele/internal/projector/sinkstate/v1"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
)

// Sinks asks the processes that write to sinks.
type Sinks interface {
	// Ask sends an order to the process that writes to the sink, and returns its
	// answer. The error is ledger.ErrUnavailable when none does, or it does not
	// answer.
	Ask(ctx context.Context, sink string, order *sinkstatev1.Order) (*sinkstatev1.Reply, error)
	// Left is the known state of a sink that no process writes to now.
	Left(ctx context.Context, sink string, t ledger.Tenant) (*stelev1.SinkStatus, error)
	// Parked reads the parked keys, whichever process runs.
	Parked(ctx context.Context, sink string, t ledger.Tenant) (*stelev1.ListParkedResponse, error)
}

// sinksService serves the state of the sinks that the routes in force name. Every
// answer is about the caller's tenant, or about all of them for an operator without
// one.
type sinksService struct {
	stelev1.UnimplementedSinksServer
	g *Gateway
}

// routes are those in force.
func (g *Gateway) routes() (*routes.Table, ledger.Revision, error) {
	table, rev, err := g.cfg.Routes.Table()
	if err != nil {
		return nil, 0, fmt.Errorf("read the routes: %w", err)
	}
	return table, rev, nil
}

// sinks is the connection to the processes that write to sinks, or why there is none
// now.
func (s sinksService) sinks() (Sinks, error) {
	if s.g.cfg.Sinks == nil {
		return nil, fmt.Errorf("%w: this gateway has no journal, which is its way to the sinks", ledger.ErrUnavailable)
	}
	return s.g.cfg.Sinks()
}

// sink is the way to one that the routes name.
func (s sinksService) sink(name string) (Sinks, error) {
	table, _, err := s.g.routes()
	if err != nil {
		return nil, err
	}
	if _, named := table.Sinks[name]; !named {
		return nil, ledger.NotFound("the routes name no sink %q among %v", name, slices.Sorted(maps.Keys(table.Sinks)))
	}
	return s.sinks()
}

// ListSinks asks for all of them at once.
func (s sinksService) ListSinks(ctx context.Context, req *stelev1.ListSinksRequest) (*stelev1.ListSinksResponse, error) {
	table, _, err := s.g.routes()
	if err != nil {
		return nil, err
	}
	sinks, err := s.sinks()
	if err != nil {
		return nil, err
	}
	resp := &stelev1.ListSinksResponse{Sinks: make([]*stelev1.SinkStatus, len(table.Sinks))}
	group, asking := task.WithContext(ctx)
	for i, name := range slices.Sorted(maps.Keys(table.Sinks)) {
		group.Go(func() (err error) {
			if resp.Sinks[i], err = sinkStatus(asking, sinks, table.Sinks[name]); err == nil {
				err = s.limit(asking, sinks, resp.Sinks[i])
			}
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	if req.History && policy.CallerOf(ctx).Has(identity.Operator) { // it is of all tenants
		for _, st := range resp.Sinks {
			st.History = s.g.lags.of(st.Name)
		}
	}
	return resp, nil
}

// orderTimeout is how long a sink's process may take to answer, unless it has to
// compare all of the sink first.
const orderTimeout = 5 * time.Second

// anonymousOwner stands for a process whose name is for operators only.
const anonymousOwner = "a projector"

// askStatus asks how a sink is, for a tenant or, if that is empty, for all.
func askStatus(ctx context.Context, sinks Sinks, sink string, t ledger.Tenant) (*stelev1.SinkStatus, error) {
	order := &sinkstatev1.Order{Tenant: string(t), Order: &sinkstatev1.Order_Status{Status: &stelev1.ListSinksRequest{}}}
	bounded, cancel := context.WithTimeout(ctx, orderTimeout)
	defer cancel()
	reply, err := sinks.Ask(bounded, sink, order)
	st := reply.GetStatus()
	if errors.Is(err, ledger.ErrUnavailable) || err == nil && st == nil { // it has no owner, or is being handed over
		st, err = sinks.Left(ctx, sink, t)
	}
	if err != nil {
		return nil, fmt.Errorf("how the sink %s is: %w", sink, err)
	}
	return st, nil
}

func sinkStatus(ctx context.Context, sinks Sinks, sink routes.Sink) (*stelev1.SinkStatus, error) {
	c := policy.CallerOf(ctx)
	st, err := askStatus(ctx, sinks, sink.Name, c.Tenant)
	if err != nil {
		return nil, err
	}
	st.Name, st.Kind = sink.Name, sink.Kind
	if !c.Has(identity.Operator) { // they are of all tenants, and an error may name a key
		st.Writes, st.Failures, st.LastError, st.Failed = 0, 0, "", nil
		st.Failing, st.Warnings = "", nil
		if st.Stopped != "" {
			st.Stopped = operatorsSeeWhy
		}
		if st.Owner != "" {
			st.Owner = anonymousOwner
		}
	}
	return st, nil
}

// limit makes a status count only keys that a caller with prefixes may read.
func (s sinksService) limit(ctx context.Context, sinks Sinks, st *stelev1.SinkStatus) error {
	sees, err := s.g.policy.Scope(policy.CallerOf(ctx), policy.ToRead)
	if err != nil || sees.Everywhere() {
		return err
	}
	parked, err := s.parked(ctx, sinks, st.Name)
	if err != nil {
		return err
	}
	st.Parked, st.Drifted = 0, 0
	for _, p := range parked.Parked {
		if !p.Skipped {
			st.Parked++
		}
	}
	if st.Owner == "" { // drift is known only to the process that writes to the sink
		return nil
	}
	drift, err := s.drift(ctx, &stelev1.ListDriftRequest{Sink: st.Name})
	if errors.Is(err, ledger.ErrUnavailable) { // it is being handed over
		return nil
	}
	st.Drifted = uint32(len(drift.GetDrift()))
	return err
}

// parked are the keys of the caller's tenant that the caller may read, without those that are
// parked because of a key that it may not read.
func (s sinksService) parked(ctx context.Context, sinks Sinks, sink string) (*stelev1.ListParkedResponse, error) {
	resp, err := sinks.Parked(ctx, sink, policy.CallerOf(ctx).Tenant)
	if err != nil {
		return nil, fmt.Errorf("list what the sink %s has parked: %w", sink, err)
	}
	sees, err := s.g.policy.Scope(policy.CallerOf(ctx), policy.ToRead)
	if err != nil {
		return nil, err
	}
	resp.Parked = slices.DeleteFunc(resp.Parked, func(p *stelev1.Parked) bool {
		return !sees.Key(ledger.Key(p.Key)) || p.Other != "" && !sees.Key(ledger.Key(p.Other))
	})
	return resp, nil
}

// operatorsSeeWhy replaces a reason that may name other tenants' keys and items.
const operatorsSeeWhy = "operators see why"

// uncompared filters the items that a sweep could not compare by what the caller may
// see.
func (s sinksService) uncompared(ctx context.Context, all []*stelev1.Uncompared) ([]*stelev1.Uncompared, error) {
	c := policy.CallerOf(ctx)
	sees, err := s.g.policy.Scope(c, policy.ToRead)
	if err != nil {
		return nil, err
	}
	if !sees.Everywhere() { // an item's name is not a key, and may reveal one
		all = slices.DeleteFunc(all, func(u *stelev1.Uncompared) bool { return u.Name != "" })
	}
	if !c.Has(identity.Operator) {
		for _, u := range all {
			u.Reason = operatorsSeeWhy
		}
	}
	return all, nil
}

// ListParked returns the keys that a sink would reject.
func (s sinksService) ListParked(ctx context.Context, req *stelev1.ListParkedRequest) (*stelev1.ListParkedResponse, error) {
	sinks, err := s.sink(req.Sink)
	if err != nil {
		return nil, err
	}
	resp, err := s.parked(ctx, sinks, req.Sink)
	if err != nil {
		return nil, err
	}
	return resp, recordPerTenant(ctx, s.g, stelev1.Sinks_ListParked_FullMethodName, resp.Parked)
}

// ListDrift returns the drift of a sink.
func (s sinksService) ListDrift(ctx context.Context, req *stelev1.ListDriftRequest) (*stelev1.ListDriftResponse, error) {
	resp, err := s.drift(ctx, req)
	if err != nil {
		return nil, err
	}
	return resp, recordPerTenant(ctx, s.g, stelev1.Sinks_ListDrift_FullMethodName, resp.Drift)
}

// drift is the drift of a sink, of keys that the caller may read.
func (s sinksService) drift(ctx context.Context, req *stelev1.ListDriftRequest) (*stelev1.ListDriftResponse, error) {
	reply, err := s.ask(ctx, req.Sink, &sinkstatev1.Order{Order: &sinkstatev1.Order_Drift{Drift: req}})
	if err != nil {
		return nil, err
	}
	drift, err := filterReadable(ctx, s.g, reply.Drift.GetDrift())
	if err != nil {
		return nil, err
	}
	resp := &stelev1.ListDriftResponse{Drift: drift, More: reply.Drift.GetMore(), Checked: reply.Drift.GetChecked()}
	if resp.Uncompared, err = s.uncompared(ctx, reply.Drift.GetUncompared()); err != nil {
		return nil, err
	}
	return resp, nil
}

// Replay has a sink written again.
func (s sinksService) Replay(ctx context.Context, req *stelev1.ReplayRequest) (*stelev1.ReplayResponse, error) {
	reply, err := s.ask(ctx, req.Sink, &sinkstatev1.Order{Order: &sinkstatev1.Order_Replay{Replay: req}})
	return reply.GetReplay(), err
}

// Retry tries parked keys again.
func (s sinksService) Retry(ctx context.Context, req *stelev1.RetryRequest) (*stelev1.RetryResponse, error) {
	if err := keyOrAll(req.Key); err != nil {
		return nil, err
	}
	if seen, err := s.seesParked(ctx, req.Sink, req.Key); err != nil || !seen {
		return &stelev1.RetryResponse{}, err
	}
	reply, err := s.ask(ctx, req.Sink, &sinkstatev1.Order{Order: &sinkstatev1.Order_Retry{Retry: req}})
	return reply.GetRetry(), err
}

// Skip gives parked keys up.
func (s sinksService) Skip(ctx context.Context, req *stelev1.SkipRequest) (*stelev1.SkipResponse, error) {
	if err := keyOrAll(req.Key); err != nil {
		return nil, err
	}
	if seen, err := s.seesParked(ctx, req.Sink, req.Key); err != nil || !seen {
		return &stelev1.SkipResponse{}, err
	}
	reply, err := s.ask(ctx, req.Sink, &sinkstatev1.Order{Order: &sinkstatev1.Order_Skip{Skip: req}})
	return reply.GetSkip(), err
}

// CheckDrift has a sink, or an item in it, compared with the ledger.
func (s sinksService) CheckDrift(ctx context.Context, req *stelev1.CheckDriftRequest) (*stelev1.CheckDriftResponse, error) {
	reply, err := s.ask(ctx, req.Sink, &sinkstatev1.Order{Order: &sinkstatev1.Order_Check{Check: req}})
	if err != nil {
		return nil, err
	}
	resp := cmp.Or(reply.Check, &stelev1.CheckDriftResponse{})
	if resp.GetStopped() != "" && !policy.CallerOf(ctx).Has(identity.Operator) {
		resp.Stopped = operatorsSeeWhy
	}
	if resp.Uncompared, err = s.uncompared(ctx, resp.GetUncompared()); err != nil {
		return nil, err
	}
	redact, err := s.g.redaction.For(ctx, false)
	if err != nil {
		return nil, err
	}
	for _, d := range resp.Drift { // the projector may go by older routes
		d.Value = string(redact.Hide(ledger.Key(d.Key), ledger.Value(d.Value)))
	}
	return resp, recordPerTenant(ctx, s.g, stelev1.Sinks_CheckDrift_FullMethodName, resp.GetDrift())
}

// ResolveDrift adopts, repairs or prunes the drift of a sink.
func (s sinksService) ResolveDrift(ctx context.Context, req *stelev1.ResolveDriftRequest) (*stelev1.ResolveDriftResponse, error) {
	reply, err := s.ask(ctx, req.Sink, &sinkstatev1.Order{Order: &sinkstatev1.Order_Resolve{Resolve: req}})
	if err != nil {
		return nil, err
	}
	resp := cmp.Or(reply.Resolve, &stelev1.ResolveDriftResponse{})
	if resp.Uncompared, err = s.uncompared(ctx, resp.GetUncompared()); err != nil {
		return nil, err
	}
	return resp, recordPerTenant(ctx, s.g, stelev1.Sinks_ResolveDrift_FullMethodName, resp.GetDrift())
}

// GetRoutes returns the routes in force.
func (s sinksService) GetRoutes(context.Context, *stelev1.GetRoutesRequest) (*stelev1.GetRoutesResponse, error) {
	table, rev, err := s.g.routes()
	if err != nil {
		return nil, err
	}
	return &stelev1.GetRoutesResponse{Routes: table.String(), Revision: uint64(rev)}, nil
}

// ask sends an order for the caller's tenant to the owner of the sink.
func (s sinksService) ask(ctx context.Context, sink string, order *sinkstatev1.Order) (*sinkstatev1.Reply, error) {
	sinks, err := s.sink(sink)
	if err != nil {
		return nil, err
	}
	if order.GetCheck() == nil && order.GetResolve() == nil { // those compare all of the sink first
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, orderTimeout)
		defer cancel()
	}
	c := policy.CallerOf(ctx)
	order.Tenant = string(c.Tenant)
	reply, err := sinks.Ask(ctx, sink, order)
	switch {
	case err != nil:
		return nil, err
	case reply.Invalid:
		field, why, _ := strings.Cut(reply.Error, ": ")
		return nil, ledger.Invalid(field, why)
	case reply.Error != "" && !c.Has(identity.Operator): // it may name another tenant's key
		return nil, fmt.Errorf("%w: the sink %s has failed; operators see why", ledger.ErrUnavailable, sink)
	case reply.Error != "":
		why := strings.TrimPrefix(reply.Error, ledger.ErrUnavailable.Error()+": ")
		return nil, fmt.Errorf("%w: sink %s: %s", ledger.ErrUnavailable, sink, why)
	}
	return reply, nil
}

// seesParked reports whether the caller sees that a key is parked: a caller with prefixes does
// not see those that are blocked by a key that it may not read.
func (s sinksService) seesParked(ctx context.Context, sink, key string) (bool, error) {
	sees, err := s.g.policy.Scope(policy.CallerOf(ctx), policy.ToRead)
	if err != nil || sees.Everywhere() || key == "" {
		return err == nil, err
	}
	sinks, err := s.sink(sink)
	if err != nil {
		return false, err
	}
	resp, err := s.parked(ctx, sinks, sink)
	return slices.ContainsFunc(resp.GetParked(), func(p *stelev1.Parked) bool { return p.Key == key }), err
}

func keyOrAll(key string) error {
	if key == "" {
		return nil
	}
	if _, err := ledger.ParseKey(key); err != nil {
		return ledger.Invalid("key", err.Error())
	}
	return nil
}

// keyed is a message about one key of one tenant.
type keyed interface {
	GetTenant() string
	GetKey() string
}

// filterReadable keeps messages about keys that the caller may read.
func filterReadable[T keyed](ctx context.Context, g *Gateway, entries []T) ([]T, error) {
	sees, err := g.policy.Scope(policy.CallerOf(ctx), policy.ToRead)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(entries, func(x T) bool { return !sees.Key(ledger.Key(x.GetKey())) }), nil
}

// recordPerTenant records the keys that an operator lists without acting for their tenants,
// for each tenant as its policy requires.
func recordPerTenant[T keyed](ctx context.Context, g *Gateway, method string, entries []T) error {
	if policy.CallerOf(ctx).Tenant != "" {
		return nil // recorded as a read of that tenant's
	}
	keys := make(map[ledger.Tenant][]string)
	for _, x := range entries {
		t := ledger.Tenant(x.GetTenant())
		keys[t] = append(keys[t], x.GetKey())
	}
	for t, of := range keys {
		if err := g.policy.Record(ctx, policy.CallerOf(ctx), policy.Methods[method], t, policy.Asked{Keys: of}, 0); err != nil {
			return err
		}
	}
	return nil
}
