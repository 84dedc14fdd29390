package replication_test

import (
	"testing"
	"time"

	"github.com/stelehq/stele/internal/gateway/identity"
	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/ledgertest"
	"github.com/stelehq/stele/internal/ledger/replica"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
)

// Commits that are ahead, and the one that resets the clock, reach an edge, which then finds the
// same states by time as the core.
func TestFollow_ResetClock(t *testing.T) {
	w := startWorld(t)
	follows := w.edge(t, edgeConfig{upstreams: []string{w.core.address}, tenants: []ledger.Tenant{"acme"}})
	w.write(t, "acme", "a/b", "1")
	ledgertest.CommitAt(t, w.node, "acme", time.Now().Add(365*24*time.Hour))
	w.equal(t, follows, "acme")
	operator := w.as(t, identity.Claims{Tenant: "acme", Roles: []identity.Role{identity.Operator}})
	if _, err := w.core.ledger.ResetTenantClock(operator, &stelev1.ResetTenantClockRequest{Reason: "the clock was wrong"}); err != nil {
		t.Fatal(err)
	}
	w.write(t, "acme", "a/b", "2")
	w.equal(t, follows, "acme")
	late := w.edge(t, edgeConfig{upstreams: []string{w.core.address}, tenants: []ledger.Tenant{"acme"}}) // gets all of it at once
	w.equal(t, late, "acme")
	for name, g := range map[string]*gw{"the edge that followed": follows, "the edge that came late": late} {
		var v *replica.View
		until(t, name+" serves views", func() (served bool) { // a moment after it has the commits
			var err error
			v, err = g.replica.View("acme", replica.At{Time: time.Now()})
			return err == nil
		})
		if got := v.State().Revision; got != 4 {
			t.Errorf("%s: %s is in force now, want @4", name, got)
		}
		v.Close()
	}
}
