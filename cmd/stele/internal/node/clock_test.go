package node_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stelehq/stele/cmd/stele/internal/conn"
	"github.com/stelehq/stele/cmd/stele/internal/node"
	"github.com/stelehq/stele/internal/ledger/journal"
	"github.com/stelehq/stele/internal/ledger/ledgertest"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// A process whose clock jumps refuses writes, says so everywhere, and serves reads. Processes with
// a right clock write meanwhile. It accepts writes again when its clock is back.
func TestClock_JumpWhileRunning(t *testing.T) {
	var clock ledgertest.Clock
	run := processes(t, startNATS(t))
	roles := []string{node.RoleLedger, node.RoleGateway}
	jumps := run(node.Config{Roles: roles, Journal: journal.Config{Now: clock.Now}})
	defer func() { jumps.stop() }()
	right := run(node.Config{Roles: roles})
	defer func() { right.stop() }()
	acme := conn.AsTenant(t.Context(), "acme")
	commit := func(ctx context.Context, p *process, value string) (*stelev1.CommitResponse, error) {
		return p.ledger.Commit(ctx, &stelev1.CommitRequest{Changes: []*stelev1.Change{{Key: "a/b", Value: value}}})
	}
	for i, p := range []*process{jumps, right} {
		until(t, "a process that accepts writes", func() bool {
			_, err := commit(acme, p, fmt.Sprint(i))
			return err == nil
		})
	}
	ready := func() int {
		resp, err := http.Get("http://" + jumps.http + "/readyz?writes")
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		return resp.StatusCode
	}
	if got := ready(); got != http.StatusOK {
		t.Fatalf("readyz?writes answers %d before the jump", got)
	}

	clock.Jump(365 * 24 * time.Hour)
	_, err := commit(acme, jumps, `"ahead"`)
	var reason string
	for _, d := range status.Convert(err).Details() {
		if info, ok := d.(*errdetails.ErrorInfo); ok {
			reason = info.Reason
		}
	}
	if status.Code(err) != codes.Unavailable || reason != "CLOCK" || !strings.Contains(err.Error(), "ahead of the clocks of the journal's servers: synchronize") {
		t.Errorf("a write after the jump: %v (%s), want UNAVAILABLE (CLOCK)", err, reason)
	}
	st, err := jumps.ledger.GetStatus(acme, &stelev1.GetStatusRequest{})
	if err != nil || !strings.Contains(st.ReadOnly, "this process's clock is ") {
		t.Errorf("the status says %q, %v", st.GetReadOnly(), err)
	}
	if got := ready(); got != http.StatusServiceUnavailable {
		t.Errorf("readyz?writes answers %d after the jump", got)
	}
	if _, err := jumps.config.Get(acme, &stelev1.GetRequest{Key: "a/b"}); err != nil {
		t.Errorf("a read after the jump: %v", err)
	}
	if made, err := commit(acme, right, `"right"`); err != nil || made.Time.AsTime().After(time.Now().Add(time.Minute)) {
		t.Errorf("a write to the other process: %s, %v", made.GetTime().AsTime(), err)
	}
	clock.Jump(0)
	if _, err := commit(acme, jumps, `"back"`); err != nil {
		t.Errorf("a write after the clock is back: %v", err)
	}
}
