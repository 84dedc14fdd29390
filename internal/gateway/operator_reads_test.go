package gateway_test

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stelehq/stele/internal/gateway/identity"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// actingOperator is a context of an operator who acts for a tenant that is not its own.
func (f *fixture) actingOperator(t testing.TB) context.Context {
	return bearer(t.Context(), f.token(t, identity.Claims{Subject: "olga", Roles: []identity.Role{identity.Operator}}), "as-tenant", "acme")
}

// Everything that an operator does for a tenant is in that tenant's own log, without a
// policy, except calls that reveal nothing of it, and commits, which are their own
// record.
func TestOperator_CallsForATenantAreRecorded(t *testing.T) {
	f := startRecorded(t)
	acting, auditor := f.actingOperator(t), f.as(t, "acme", identity.Auditor)
	f.twoCommits(t, f.as(t, "acme", identity.Writer))
	before := len(f.recorded(t, auditor))
	for _, tc := range f.recordCases(t) {
		err := tc.call(acting) // failures are also recorded
		var got []string
		all := f.recorded(t, auditor)
		for _, r := range all[before:] {
			got = append(got, r.Subject+" "+r.Method)
		}
		before = len(all)
		want := []string{"olga " + tc.full()}
		switch tc.method {
		case "Ledger/Commit", "Ledger/GetStatus", "Ledger/CheckAccess", "Ledger/ListTenants", "Ledger/ListGateways", "Sinks/GetRoutes", "Sinks/PlanRoutes":
			want = nil
		case "Ledger/Rollback", "Ledger/Revert", "Ledger/Copy":
			if tc.what == "done" {
				want = nil
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s of %s, answered with %v (-want +got):\n%s", tc.method, tc.what, err, diff)
		}
	}
	if got := f.recorded(t, auditor)[0]; formatRead(got) != "Get secrets/a @1" || !slices.Equal(got.Roles, []string{"operator"}) {
		t.Errorf("the first record is %v", got)
	}
}

// A commit records that an operator made it, whatever the method; a commit of the
// tenant's own callers does not, not even of one who is an operator elsewhere.
func TestOperator_CommitNamesTheRole(t *testing.T) {
	f := startRecorded(t)
	acting := f.actingOperator(t)
	stream := func(ctx context.Context) {
		s, err := f.ledger.CommitStream(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Send(&stelev1.CommitStreamRequest{Commit: set("a", "3")}); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Recv(); err != nil {
			t.Fatal(err)
		}
	}
	f.commit(t, f.as(t, "acme", identity.Writer), set("a", "1"))
	f.commit(t, f.as(t, "acme", identity.Operator), set("a", "1.5"))
	f.commit(t, acting, set("a", "2"))
	stream(acting)
	if _, err := f.ledger.Rollback(acting, &stelev1.RollbackRequest{To: atRevision(1)}); err != nil {
		t.Fatal(err)
	}
	if _, err := f.ledger.Revert(acting, &stelev1.RevertRequest{Revisions: []uint64{5}}); err != nil {
		t.Fatal(err)
	}
	list, err := f.ledger.ListCommits(f.as(t, "acme", identity.Reader), &stelev1.ListCommitsRequest{})
	if err != nil {
		t.Fatal(err)
	}
	slices.Reverse(list.Commits)
	var got []string
	for _, info := range list.Commits {
		if who := info.Commit.Author; info.Commit.ByOperator {
			got = append(got, who+" (operator)")
		} else {
			got = append(got, who)
		}
	}
	if diff := cmp.Diff([]string{"alice", "alice", "olga (operator)", "olga (operator)", "olga (operator)", "olga (operator)"}, got); diff != "" {
		t.Error(diff)
	}
}

// Without its journal a gateway cannot record, and so does nothing for an operator;
// the tenant's own callers read on.
func TestOperator_UnrecordedCallIsRejected(t *testing.T) {
	f := startRecorded(t)
	acme := f.as(t, "acme", identity.Writer)
	f.commit(t, acme, set("a", "1"))
	f.node.Conn.Close()
	acting := f.actingOperator(t)
	get := func(ctx context.Context) error {
		_, err := f.config.Get(ctx, &stelev1.GetRequest{Key: "a"})
		return err
	}
	err := get(acting)
	if status.Code(err) != codes.Unavailable {
		t.Fatalf("Get by an operator: %v", err)
	}
	for _, part := range []string{"must be recorded for acme, because an operator makes it", "the record cannot be written: ", "use a token of acme itself"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("the error of a Get by an operator does not say %q: %v", part, err)
		}
	}
	stream, err := f.ledger.CommitStream(acting)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), "must be recorded") {
		t.Errorf("CommitStream by an operator: %v", err)
	}
	if err := get(acme); err != nil {
		t.Errorf("Get by the tenant's own: %v", err)
	}
	if _, err := f.ledger.GetStatus(acting, &stelev1.GetStatusRequest{}); err != nil {
		t.Errorf("GetStatus by an operator: %v", err)
	}
}

// Who makes a tenant the base of another one can read its values there, and so can others. The
// tenant has a record of that, made before its values can be read.
func TestAttach_IsRecordedForTheBase(t *testing.T) {
	f := startRecorded(t)
	f.commit(t, f.as(t, "acme", identity.Writer), set("secrets/a", "1"))
	auditor := f.as(t, "acme", identity.Auditor)
	elsewhere := bearer(t.Context(), f.token(t, identity.Claims{Subject: "olga", Roles: []identity.Role{identity.Operator}}), "as-tenant", "globex")
	attached, pinned := set("_bases/list", `[{"tenant":"acme","revision":1}]`), set("_bases/list", `[{"tenant":"acme","revision":1,"follow":true}]`)
	detached := &stelev1.CommitRequest{Changes: []*stelev1.Change{{Key: "_bases/list", Delete: true}}}
	stream := func() error {
		s, err := f.ledger.CommitStream(elsewhere)
		if err != nil {
			return err
		}
		if err := s.Send(&stelev1.CommitStreamRequest{Commit: pinned}); err != nil {
			return err
		}
		_, err = s.Recv()
		return err
	}
	for _, tc := range []struct {
		name, method string // the method of the record, empty for none
		call         func() error
	}{
		{"attach", "Commit", func() error { return failure(f.ledger.Commit(elsewhere, attached)) }},
		{"pin", "", func() error { return failure(f.ledger.Commit(elsewhere, pinned)) }},
		{"detach", "", func() error { return failure(f.ledger.Commit(elsewhere, detached)) }},
		{"attach in a stream", "CommitStream", stream},
		{"detach again", "", func() error { return failure(f.ledger.Commit(elsewhere, detached)) }},
		{"attach by a rollback", "Rollback", func() error {
			return failure(f.ledger.Rollback(elsewhere, &stelev1.RollbackRequest{To: atRevision(1)}))
		}},
		{"detach by a rollback", "", func() error {
			return failure(f.ledger.Rollback(elsewhere, &stelev1.RollbackRequest{To: atRevision(0)}))
		}},
		{"attach by a revert", "Revert", func() error {
			return failure(f.ledger.Revert(elsewhere, &stelev1.RevertRequest{Revisions: []uint64{7}}))
		}},
	} {
		before := len(f.recorded(t, auditor))
		if err := tc.call(); err != nil {
			t.Fatalf("%s: %v", tc.name, err)
		}
		got := f.recorded(t, auditor)[before:]
		switch {
		case tc.method == "" && len(got) == 0:
		case tc.method != "" && len(got) == 1 && got[0].Subject == "olga" && got[0].Method == "/stele.v1.Ledger/"+tc.method && got[0].Revealed && slices.Equal(got[0].Prefixes, []string{""}):
		default:
			t.Errorf("%s: the records of acme are %v", tc.name, got)
		}
	}
}
