package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
)

// The checks of doctor that ask the gateway.

func checkGateway(ctx context.Context, p *patient) (string, string, error) {
	var err error
	if p.session, err = p.cli.connect(); err != nil {
		return "", "", errSkipped
	}
	if p.status, err = p.session.ledger.GetStatus(p.session.actFor(ctx), &stelev1.GetStatusRequest{}); err != nil {
		return "", "the address of the gRPC listener, and a token that the gateway trusts", err
	}
	return fmt.Sprintf("version %s knows you as %s", p.status.Version, principal(p.status.Principal)), "", nil
}

func checkTenant(ctx context.Context, p *patient) (string, string, error) {
	if p.status == nil {
		return "", "", errSkipped
	}
	tenant := p.status.Principal.GetTenant()
	if tenant == "" {
		return "", "-t TENANT, $STELE_TENANT, or a tenant in the context", errors.New("none is chosen")
	}
	head, err := p.session.ledger.GetHead(p.session.actFor(ctx), &stelev1.GetHeadRequest{})
	if err != nil {
		return "", "a tenant that you may read", err
	}
	return headLine(tenant, head), "", nil
}

// checkClock compares this machine's clock with the times that the gateway and
// the token's issuer have written.
func checkClock(_ context.Context, p *patient) (string, string, error) {
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
	return "no skew to be seen", "", nil
}

func checkReplica(_ context.Context, p *patient) (string, string, error) {
	const tooOld = 10 * time.Second
	if p.status == nil {
		return "", "", errSkipped
	}
	if p.status.Stopped != "" {
		return "", "stele status, and an operator's decision", fmt.Errorf("it follows the journal no longer: %s", p.status.Stopped)
	}
	var oldest time.Duration
	for _, sh := range p.status.Shards {
		oldest = max(oldest, sh.Age.AsDuration())
	}
	if oldest > tooOld {
		return "", "the gateway's way to the journal", fmt.Errorf("it was last known to be current %s ago", oldest.Round(time.Second))
	}
	return fmt.Sprintf("current %s ago", oldest.Round(time.Millisecond)), "", nil
}

func checkWrites(_ context.Context, p *patient) (string, string, error) {
	switch {
	case p.status == nil:
		return "", "", errSkipped
	case p.status.ReadOnly != "":
		return "", "stele status", fmt.Errorf("they are refused: %s", p.status.ReadOnly)
	}
	return "taken", "", nil
}
