package fleet

import (
	"fmt"
	"testing"
	"time"

	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
)

func gateway(address string) *stelev1.GatewayStatus { return &stelev1.GatewayStatus{Address: address} }

// A gateway is passed on while it reports, listed for an hour, and replaced when it restarts.
func TestRegistry_Ages(t *testing.T) {
	var r Registry
	now := time.Now()
	r.FromPeer(now, gateway("core"))
	r.FromEdge("edge-token", now, []*stelev1.GatewayStatus{gateway("edge"), gateway("below")})
	r.FromEdge("edge-token", now, []*stelev1.GatewayStatus{gateway("edge")}) // a restart
	for _, tc := range []struct {
		after      time.Duration
		all, below int
	}{{0, 3, 2}, {Silent, 3, 0}, {remembered, 0, 0}} {
		at := now.Add(tc.after)
		if all, below := len(r.All(at)), len(r.Below(at)); all != tc.all || below != tc.below {
			t.Errorf("after %s: %d gateways, %d of them below, want %d and %d", tc.after, all, below, tc.all, tc.below)
		}
	}
	if got := r.Below(now)[0]; got.Subject != "edge-token" || !got.Seen.AsTime().Equal(now) {
		t.Errorf("an edge is listed as %v", got)
	}
}

// An edge cannot replace the report of another gateway, nor push others out with made-up ones.
func TestRegistry_HostileEdge(t *testing.T) {
	var r Registry
	now := time.Now()
	r.FromPeer(now, &stelev1.GatewayStatus{Address: "core", Version: "true"})
	r.FromEdge("honest", now, []*stelev1.GatewayStatus{gateway("edge")})
	for i := range 50 {
		var forged []*stelev1.GatewayStatus
		for j := range 2 * maxOfSubject {
			forged = append(forged, gateway(fmt.Sprint(i, "-", j)))
		}
		r.FromEdge("hostile", now.Add(time.Second), append(forged[:1], &stelev1.GatewayStatus{Address: "core", Version: "forged", Subject: "honest"}))
		r.FromEdge("hostile", now.Add(time.Second), forged)
	}
	of := make(map[string]int)
	for _, g := range r.All(now) {
		of[g.Subject]++
		if g.Address == "core" && g.Subject == "" && g.Version != "true" {
			t.Error("the report of the core was replaced")
		}
	}
	if of[""] != 1 || of["honest"] != 1 || of["hostile"] != maxOfSubject {
		t.Errorf("gateways by subject: %v", of)
	}
}
