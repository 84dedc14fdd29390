package gateway_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/stelehq/stele/internal/gateway/identity"
	"github.com/stelehq/stele/internal/ledger"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// A gateway that has stopped following reports this to the callers of a tenant, and the
// reason, which names another tenant, only to operators.
func TestStopped_NamesNoOtherTenant(t *testing.T) {
	p := startProving(t)
	acme := p.as(t, "acme", identity.Admin)
	p.commit(t, acme, set("a", "1"))
	epoch := p.node.Journal.Epoch()
	encoded, err := proto.Marshal(&stelev1.Commit{
		Epoch: epoch[:], Tenant: "umbrella", Revision: 7, Parent: bytes.Repeat([]byte{1}, 32), Time: timestamppb.Now(),
		Changes: []*stelev1.Change{{Key: "a", Value: "1"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.node.Journal.Append(t.Context(), p.node.Replica.Position(), append(ledger.AppendRecordItem(nil, len(encoded)), encoded...)); err != nil {
		t.Fatal(err)
	}
	until(t, func() bool { return p.node.Replica.Stopped() != nil })

	const reason = "umbrella@7"
	reported := make(map[string]string)
	st, err := p.ledger.GetStatus(acme, &stelev1.GetStatusRequest{})
	if err != nil || st.Stopped == "" || st.ReadOnly == "" {
		t.Fatalf("status: %v, %v", st, err)
	}
	reported["GetStatus"] = st.String()
	_, err = p.ledger.Commit(acme, set("a", "2"))
	if status.Code(err) != codes.FailedPrecondition {
		t.Errorf("a write: %v", err)
	}
	reported["Commit"] = err.Error()
	_, err = p.proof.GetCheckpoint(acme, &stelev1.GetCheckpointRequest{CoversRevision: 1, Cosignatures: 0})
	if err != nil {
		reported["GetCheckpoint"] = err.Error()
	}
	follow, err := stelev1.NewReplicationClient(p.conn).Follow(p.edge(t, "acme"))
	if err != nil {
		t.Fatal(err)
	}
	for _, req := range []*stelev1.FollowRequest{
		{Request: &stelev1.FollowRequest_Start{Start: &stelev1.FollowStart{Tenants: []string{"acme"}}}},
		{Request: &stelev1.FollowRequest_Poll{Poll: &stelev1.FollowPoll{Id: 1}}},
	} {
		if err := follow.Send(req); err != nil {
			t.Fatal(err)
		}
	}
	for reported["Follow"] == "" {
		resp, err := follow.Recv()
		if err != nil {
			t.Fatal(err)
		}
		reported["Follow"] = resp.GetProgress().GetStopped()
	}
	for method, text := range reported {
		if strings.Contains(text, "umbrella") {
			t.Errorf("%s names another tenant: %s", method, text)
		}
	}
	st, err = p.ledger.GetStatus(p.operator(t), &stelev1.GetStatusRequest{})
	if err != nil || !strings.Contains(st.Stopped, reason) || !strings.Contains(st.ReadOnly, reason) {
		t.Errorf("an operator's status: %v, %v", st, err)
	}
	all, err := p.ledger.ListGateways(p.operator(t), &stelev1.ListGatewaysRequest{})
	if err != nil || !strings.Contains(all.Gateways[0].Stopped, reason) {
		t.Errorf("an operator's list: %v, %v", all, err)
	}
}
