package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"time"

	"github.com/stelehq/stele/internal/gateway/identity"
	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/scripts/bench/peer"
)

var token = row{
	name:  "token",
	about: "the check of a caller's token, as a part of a Get (1 min)",
	run:   apart([]int{1}, measureToken, justStele),
}

// tokenCallers is how many callers get, and tokenChecks how many checks are timed.
const (
	tokenCallers = 64
	tokenChecks  = 1_000_000
)

// measureToken compares what the check of a caller's token costs with what a whole
// Get costs the server. There is no Stele without the check to compare with, so it
// is timed here, by itself, with a token and keys of that server: verified tokens
// are remembered, and this one was verified before, like that of every call but
// the first.
func measureToken(ctx context.Context, s *session) error {
	c, err := s.dial(ctx, tokenCallers)
	if err != nil {
		return err
	}
	defer c.Close()
	r, ok := c.(peer.Reader)
	if !ok || s.peer.Name() != (peer.Stele{}).Name() {
		return nil
	}
	sec := section{
		"The token check's part of a Get",
		fmt.Sprintf("Processor time of the server, a unary Get of random keys by %d callers, and of the check of a token that was verified before, which is part of it; on one processor, %d times.", tokenCallers, tokenChecks),
	}
	if err := s.load(ctx); err != nil {
		return err
	}
	var used, gets float64
	for range 2 { // the first warms up
		before, err := s.cpu()
		if err != nil {
			return err
		}
		begun := time.Now()
		sm, err := s.closedLoop(ctx, tokenCallers, func(ctx context.Context, rng *rand.Rand) error {
			_, err := r.Read(ctx, s.data.tenant(rng), s.data.key(rng))
			return err
		})
		if err != nil {
			return err
		}
		after, err := s.cpu()
		if err != nil {
			return err
		}
		used, gets = (after - before).Seconds(), sm.rate*time.Since(begun).Seconds()
	}
	check, err := timeCheck(filepath.Join(s.dir, "identity"), s.data.tenants[0])
	if err != nil {
		return err
	}
	get := time.Duration(used / gets * float64(time.Second))
	s.report.duration(sec, "a Get", s.peer, get)
	s.report.duration(sec, "the check of a remembered token", s.peer, check)
	s.report.detail(sec, s.peer, fmt.Sprintf("checks tokens in %.1f %% of a Get's processor time: %.2f of %.1f µs (aim: below 3 %%)",
		100*check.Seconds()/get.Seconds(), check.Seconds()*1e6, get.Seconds()*1e6))
	return nil
}

// cpu is the processor time that all processes of the peer have used.
func (s *session) cpu() (sum time.Duration, err error) {
	times, err := s.proc.CPU()
	for _, t := range times {
		sum += t.Time
	}
	return sum, err
}

// timeCheck is how long the check of a token takes that was verified before.
func timeCheck(keys, tenant string) (time.Duration, error) {
	signer, err := identity.OpenSigner(keys)
	if err != nil {
		return 0, err
	}
	v, err := identity.NewVerifier(identity.Config{Keys: signer.Keys(), Issuer: identity.LocalIssuer, Audience: identity.LocalAudience})
	if err != nil {
		return 0, err
	}
	text, err := signer.Mint(identity.Claims{Subject: "bench", Tenant: ledger.Tenant(tenant), Roles: []identity.Role{identity.Admin}, TTL: time.Hour})
	if err != nil {
		return 0, err
	}
	if _, err := v.Verify(text); err != nil {
		return 0, err
	}
	begun := time.Now()
	for range tokenChecks {
		if _, err := v.Verify(text); err != nil {
			return 0, err
		}
	}
	return time.Since(begun) / tokenChecks, nil
}
