package replication_test

import (
	"path/filepath"
	"testing"

	"github.com/stelehq/stele/internal/gateway/identity"
	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/replica"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// value is what a tenant's readers see at a replica; "" while the key is not set or cannot be
// read yet.
func value(t *testing.T, r *replica.Replica, tenant ledger.Tenant, key ledger.Key) ledger.Value {
	t.Helper()
	v, err := r.View(tenant, replica.At{})
	if err != nil {
		return ""
	}
	defer v.Close()
	e, _, err := v.Get(key)
	if err != nil {
		return ""
	}
	return e.Value
}

// TestFollow_Bases replicates one tenant over two levels: its bases come along, also one that
// is attached later, and no reader at the edge can read them directly.
func TestFollow_Bases(t *testing.T) {
	w := startWorld(t)
	for _, base := range []string{"defaults", "plan"} {
		w.write(t, ledger.System, "policy/"+base+"/attach", `{"tenants":["*"]}`)
	}
	w.fill(t, 20, "defaults", "plan", "other")
	w.write(t, "acme", string(ledger.BasesKey), `[{"tenant":"defaults","revision":3,"follow":true}]`)
	middle := w.edge(t, edgeConfig{upstreams: []string{w.core.address}, tenants: []ledger.Tenant{"acme"}})
	edge := w.edge(t, edgeConfig{upstreams: []string{middle.address}, tenants: []ledger.Tenant{"acme"}})
	w.equal(t, edge, "acme", "defaults", ledger.System)
	want := value(t, w.node.Replica, "acme", "a/0")
	until(t, "the inherited value at the edge", func() bool { return want != "" && value(t, edge.replica, "acme", "a/0") == want })

	w.write(t, "plan", "a/plan", `"first"`)
	w.write(t, "acme", string(ledger.BasesKey), `[{"tenant":"plan","revision":8},{"tenant":"defaults","revision":3}]`)
	w.equal(t, edge, "acme", "plan")
	until(t, "the value of the new base", func() bool { return value(t, edge.replica, "acme", "a/plan") == `"first"` })
	w.write(t, "plan", "a/plan", `"second"`)
	w.write(t, "acme", string(ledger.BasesKey), `[{"tenant":"plan","revision":9}]`)
	until(t, "the moved pin", func() bool { return value(t, edge.replica, "acme", "a/plan") == `"second"` })
	if n := len(history(edge.replica, "other")); n > 0 {
		t.Errorf("the edge has %d commits of a tenant that is not a base", n)
	}

	conn, err := dial(edge.address, func() string {
		return w.Token(t, identity.Claims{Tenant: "plan", Roles: []identity.Role{identity.Admin}})
	})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := stelev1.NewConfigClient(conn).Get(t.Context(), &stelev1.GetRequest{Key: "a/plan"}); status.Code(err) != codes.FailedPrecondition {
		t.Errorf("the base itself is readable at the edge: %v", err)
	}
}

// TestPrune_KeepsPins drops all history but the pinned states of bases.
func TestPrune_KeepsPins(t *testing.T) {
	w := startWorld(t)
	w.write(t, ledger.System, "policy/defaults/attach", `{"tenants":["acme"]}`)
	for _, v := range []string{"1", "2", "3"} {
		w.write(t, "defaults", "a/b", v)
	}
	w.write(t, "acme", string(ledger.BasesKey), `[{"tenant":"defaults","revision":2}]`)
	edge := w.edge(t, edgeConfig{upstreams: []string{w.core.address}, tenants: []ledger.Tenant{"acme"}, history: replica.History{HeadOnly: true}})
	until(t, "the first revision of the base dropped", func() bool {
		v, err := edge.replica.View("defaults", replica.At{})
		if err != nil {
			return false
		}
		defer v.Close()
		start, _, ok, err := v.HistoryStart()
		return err == nil && ok && start == 2
	})
	if got := value(t, edge.replica, "acme", "a/b"); got != "2" {
		t.Errorf("acme inherits %q, want the pinned 2", got)
	}

	// A pin that moves to a revision that was dropped has the file built again, from the upstream.
	w.write(t, "acme", string(ledger.BasesKey), `[{"tenant":"defaults","revision":1}]`)
	until(t, "the value of the dropped revision", func() bool { return value(t, edge.replica, "acme", "a/b") == "1" })
	w.write(t, "acme", string(ledger.BasesKey), `[{"tenant":"defaults","revision":3}]`)
	until(t, "the value of the newest revision", func() bool { return value(t, edge.replica, "acme", "a/b") == "3" })
	if aside, err := filepath.Glob(filepath.Join(edge.dir, "*.damaged-*")); err != nil || len(aside) > 0 {
		t.Errorf("files that are not damaged were set aside: %v, %v", aside, err)
	}
}
