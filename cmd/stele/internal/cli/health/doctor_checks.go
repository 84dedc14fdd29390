package health

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/stelehq/stele/cmd/stele/internal/cli/render"
	"github.com/stelehq/stele/cmd/stele/internal/output"
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
		return "", tryJournal, err
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

// tooOld is the age of the gateway's data above which its way to the journal is a problem,
// and tryJournal what to look at then.
const (
	tooOld     = 5 * time.Second
	tryJournal = "the gateway's connection to the journal"
)

func checkReplica(_ context.Context, p *subject) (string, string, error) {
	if p.status == nil {
		return "", "", errSkipped
	}
	if p.status.Stopped != "" {
		return "", "stele status, and an operator's decision", fmt.Errorf("it follows the journal no longer: %s", p.status.Stopped)
	}
	j := p.status.Journal
	switch age := j.GetAge().AsDuration(); {
	case j.GetAge() == nil:
		return "", "stele status, until it has caught up", errors.New("it has not caught up with the journal yet")
	case age > tooOld:
		return "", tryJournal, fmt.Errorf("it was last known to be current %s ago", age.Round(time.Second))
	default:
		return fmt.Sprintf("current %s ago", age.Round(time.Millisecond)), "", nil
	}
}

// checkWrites reports what the gateway knows; it does not write.
func checkWrites(_ context.Context, p *subject) (string, string, error) {
	switch {
	case p.status == nil:
		return "", "", errSkipped
	case p.status.ReadOnly != "":
		return "", "stele status", fmt.Errorf("the gateway rejects them: %s", output.Plain(p.status.ReadOnly))
	}
	if j := p.status.Journal; j.GetAge() == nil || j.Age.AsDuration() > tooOld {
		return "", tryJournal, errors.New("unknown: the gateway does not reach the journal")
	}
	mayWrite := func(a *stelev1.Allowed) bool { return a.Operation == string(policy.ToWrite) }
	if p.status.Principal.GetTenant() != "" && !slices.ContainsFunc(p.status.Principal.Allowed, mayWrite) {
		return "", "", errDenied
	}
	return "the gateway accepts them (no write was tried; stele can write KEY checks your permission)", "", nil
}

// checkSinks finds problems of the sinks. The advice is for the first of them.
func checkSinks(ctx context.Context, p *subject) (found, try string, err error) {
	const late = time.Minute
	if p.status == nil {
		return "", "", errSkipped
	}
	resp, err := p.session.Sinks.ListSinks(p.session.ActFor(ctx), &stelev1.ListSinksRequest{})
	if status.Code(err) == codes.PermissionDenied {
		return "", "", errDenied
	}
	if err != nil {
		return "", tryJournal, err
	}
	var names, wrong []string
	warnings := ""
	note := func(what, remedy string) {
		wrong = append(wrong, what)
		try = cmp.Or(try, remedy)
	}
	for _, st := range resp.Sinks {
		names = append(names, st.Name)
		if st.Owner == "" {
			note(fmt.Sprintf("no process writes to %s", st.Name), "stele serve --roles=projector, or its log")
		}
		if st.Stopped != "" {
			note(fmt.Sprintf("%s has stopped: %s", st.Name, output.Plain(st.Stopped)), fmt.Sprintf("stele sinks drift %s, and then stele sinks adopt or stele sinks repair", st.Name))
		}
		if st.Parked > 0 {
			note(fmt.Sprintf("%s has parked %s", st.Name, output.Count(int(st.Parked), "key")), "stele sinks parked "+st.Name)
		}
		if st.Drifted > 0 {
			note(fmt.Sprintf("%s has %s that drifted", st.Name, output.Count(int(st.Drifted), "item")), "stele sinks drift "+st.Name)
		}
		if st.FailingSince != nil {
			note(fmt.Sprintf("%s has failed since %s: %s", st.Name, render.Clock(st.FailingSince), cmp.Or(output.Plain(st.Failing), "operators see why")), "stele sinks")
		}
		if st.Uncompared > 0 {
			note(fmt.Sprintf("%s could not be compared with the ledger in %s", st.Name, output.Count(int(st.Uncompared), "place")), "stele sinks drift "+st.Name)
		}
		for _, w := range st.Warnings {
			warnings += fmt.Sprintf("; warning of %s: %s", st.Name, output.Plain(w))
		}
		if lag := st.Lag.AsDuration(); lag > late {
			note(fmt.Sprintf("%s is %s and %s behind", st.Name, output.Count(int(st.LagRevisions), "revision"), lag.Round(time.Second)), "stele sinks")
		}
	}
	switch {
	case len(wrong) > 0:
		return "", try, errors.New(strings.Join(wrong, "; "))
	case len(names) == 0:
		return "the routes name none", "", nil
	}
	return strings.Join(names, ", ") + ": nothing is late, parked or drifted" + warnings, "", nil
}
