package health

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/stelehq/stele/cmd/stele/internal/output"
	"github.com/stelehq/stele/internal/diagnosis"
	"github.com/stelehq/stele/internal/gateway/identity"
	"github.com/stelehq/stele/internal/gateway/policy"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// The checks of doctor that ask the gateway.

func checkGateway(ctx context.Context, p *subject) (string, string, error) {
	var err error
	if p.session, err = p.cli.Connect(); err != nil {
		return "", "", errSkipped
	}
	if p.status, err = p.session.Ledger.GetStatus(p.session.ActFor(ctx), &stelev1.GetStatusRequest{}); err != nil {
		return "", "the address of the gRPC listener, and a token that the gateway trusts", err
	}
	return fmt.Sprintf("version %s knows you as %q, roles %v", p.status.Version, p.status.Principal.GetSubject(), p.status.Principal.GetRoles()), "", nil
}

func checkTenant(ctx context.Context, p *subject) (string, string, error) {
	if p.status == nil {
		return "", "", errSkipped
	}
	tenant := p.status.Principal.GetTenant()
	if tenant == "" && slices.Contains(p.status.Principal.GetRoles(), string(identity.Operator)) {
		return "none is chosen; operators choose one with -t TENANT", "", nil
	}
	if tenant == "" {
		return "", "-t TENANT, $STELE_TENANT, or a tenant in the context", errors.New("none is chosen")
	}
	head, err := p.session.Ledger.GetHead(p.session.ActFor(ctx), &stelev1.GetHeadRequest{})
	switch status.Code(err) {
	case codes.OK:
		return headLine(tenant, head), "", nil
	case codes.PermissionDenied:
		return "", "", errDenied
	case codes.Unavailable:
		return "", diagnosis.Journal, err
	default:
		return "", "a tenant that you may read", err
	}
}

// checkClock compares this machine's clock with the times that the gateway and
// the token's issuer have written.
func checkClock(_ context.Context, p *subject) (string, string, error) {
	const tolerance = 5 * time.Second
	const try = "set the clocks by NTP"
	if p.status == nil {
		return "", "", errSkipped
	}
	now := time.Now()
	times := []time.Time{p.status.Started.AsTime()}
	if p.claims != nil {
		times = append(times, p.claims.Issued)
	}
	for _, t := range times {
		if ahead := t.Sub(now); ahead > tolerance {
			return "", try, fmt.Errorf("this machine's is at least %s behind the gateway's", ahead.Round(time.Second))
		}
	}
	if p.claims != nil && !p.claims.Expires.IsZero() && now.After(p.claims.Expires) {
		return "", try, errors.New("the gateway takes a token that has expired by this machine's")
	}
	return "not behind the gateway's start and the token (a clock that is ahead is not detected)", "", nil
}

func checkReplica(_ context.Context, p *subject) (string, string, error) {
	if p.status == nil {
		return "", "", errSkipped
	}
	problem := diagnosis.Replica(p.status.Stopped, p.status.Journal)
	if problem != nil && len(p.status.Upstreams) > 0 {
		problem = diagnosis.Upstreams(problem, p.status.Upstreams)
	}
	if problem != nil {
		return "", problem.Try, errors.New(output.Plain(problem.What))
	}
	return fmt.Sprintf("current %s ago", p.status.Journal.Age.AsDuration().Round(time.Millisecond)), "", nil
}

// checkWrites reports what the gateway knows; it does not write.
func checkWrites(_ context.Context, p *subject) (string, string, error) {
	if p.status == nil {
		return "", "", errSkipped
	}
	if len(p.status.Upstreams) > 0 && p.status.ReadOnly != "" {
		return "not accepted here, because the gateway is an edge: write to its upstream " + p.status.Upstreams[0].Address, "", nil
	}
	if problem := diagnosis.Writes(p.status); problem != nil {
		return "", problem.Try, errors.New(output.Plain(problem.What))
	}
	if problem := diagnosis.Ahead(p.status); problem != nil {
		return "", problem.Try, errors.New(problem.What)
	}
	mayWrite := func(a *stelev1.Allowed) bool { return a.Operation == string(policy.ToWrite) }
	if p.status.Principal.GetTenant() != "" && !slices.ContainsFunc(p.status.Principal.Allowed, mayWrite) {
		return "", "", errDenied
	}
	return "the gateway accepts them (no write was tried; stele can write KEY checks your permission)", "", nil
}

// checkSinks finds problems of the sinks. The advice is for the first of them.
func checkSinks(ctx context.Context, p *subject) (found, try string, err error) {
	if p.status == nil {
		return "", "", errSkipped
	}
	resp, err := p.session.Sinks.ListSinks(p.session.ActFor(ctx), &stelev1.ListSinksRequest{})
	if status.Code(err) == codes.PermissionDenied {
		return "", "", errDenied
	}
	if err != nil {
		return "", diagnosis.Journal, err
	}
	var names, wrong []string
	warnings := ""
	for _, st := range resp.Sinks {
		names = append(names, st.Name)
		for _, w := range st.Warnings {
			warnings += fmt.Sprintf("; warning of %s: %s", st.Name, output.Plain(w))
		}
	}
	for _, problem := range diagnosis.Sinks(resp.Sinks) {
		wrong, try = append(wrong, output.Plain(problem.What)), cmp.Or(try, problem.Try)
	}
	switch {
	case len(wrong) > 0:
		return "", try, errors.New(strings.Join(wrong, "; "))
	case len(names) == 0:
		return "the routes name none", "", nil
	}
	return strings.Join(names, ", ") + ": nothing is late, parked or drifted" + warnings, "", nil
}
