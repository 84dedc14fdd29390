package gateway_test

import (
	"bytes"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stelehq/stele/internal/gateway/identity"
	"github.com/stelehq/stele/internal/ledger"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// promoted is a commit that promotes values of a tenant.
func promoted(from string, kv ...string) *stelev1.CommitRequest {
	req := set(kv...)
	req.Promotion = &stelev1.PromotionOrigin{Tenant: from, Revision: 7, Id: bytes.Repeat([]byte{1}, 32), Prefix: "a/", Left: []string{"a/left"}}
	return req
}

func TestPromotion_Recorded(t *testing.T) {
	f := start(t)
	ctx := f.as(t, "acme", identity.Writer)
	f.commit(t, ctx, set("a/x", "1"))
	f.commit(t, ctx, promoted("staging", "a/x", "2"))
	f.commit(t, ctx, promoted("other", "a/x", "3"))
	f.commit(t, ctx, promoted("staging", "a/x", "3")) // is written although it changes nothing
	var got []uint64
	req := &stelev1.ListCommitsRequest{PromotedFrom: "staging", PageSize: 1}
	for more := true; more; more = req.PageToken != "" {
		resp, err := f.ledger.ListCommits(ctx, req)
		if err != nil {
			t.Fatal(err)
		}
		for _, info := range resp.Commits {
			got = append(got, info.Commit.Revision)
			want := promoted("staging").Promotion
			if diff := cmp.Diff(want, info.Commit.Origin.GetPromotion(), protocmp.Transform()); diff != "" {
				t.Errorf("the origin of @%d (-want +got):\n%s", info.Commit.Revision, diff)
			}
		}
		req.PageToken = resp.NextPageToken
	}
	if diff := cmp.Diff([]uint64{4, 2}, got); diff != "" {
		t.Errorf("promotions (-want +got):\n%s", diff)
	}
}

func TestPromotion_Invalid(t *testing.T) {
	f := start(t)
	ctx := f.as(t, "acme", identity.Admin)
	for name, change := range map[string]func(*stelev1.CommitRequest){
		"no tenant":     func(r *stelev1.CommitRequest) { r.Promotion.Tenant = "" },
		"no revision":   func(r *stelev1.CommitRequest) { r.Promotion.Revision = 0 },
		"a short id":    func(r *stelev1.CommitRequest) { r.Promotion.Id = []byte{1, 2, 3, 4} },
		"a short epoch": func(r *stelev1.CommitRequest) { r.Promotion.Epoch = []byte{1} },
		"a bad prefix":  func(r *stelev1.CommitRequest) { r.Promotion.Prefix = "a b" },
		"a bad key":     func(r *stelev1.CommitRequest) { r.Promotion.Left = []string{"a//b"} },
		"too many keys": func(r *stelev1.CommitRequest) { r.Promotion.Left = make([]string, ledger.MaxLeft+1) },
		"an import":     func(r *stelev1.CommitRequest) { r.Import = &stelev1.Import{Time: timestamppb.Now(), Author: "source"} },
	} {
		req := promoted("staging", "a/x", "1")
		change(req)
		_, err := f.ledger.Commit(ctx, req)
		if status.Code(err) != codes.InvalidArgument {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := f.ledger.Plan(ctx, &stelev1.PlanRequest{Commit: req}); status.Code(err) != codes.InvalidArgument {
			t.Errorf("a plan with %s: %v", name, err)
		}
	}
}

// A promotion is the writer's word, and gives it nothing that another write would not: no
// encrypted value of elsewhere is taken, and no origin is found that the caller may not see.
func TestPromotion_GivesNothing(t *testing.T) {
	f := startSecret(t)
	sealed := `{"$secret":"v1:0123456789abcdef:AAAA"}`
	if _, err := f.ledger.Commit(f.as(t, "acme", identity.Admin), promoted("staging", "s/x", sealed)); status.Code(err) != codes.InvalidArgument {
		t.Errorf("an encrypted value: %v", err)
	}

	f, alice, owner := startLimited(t)
	inside := promoted("staging", "open/b", "1")
	inside.Promotion.Left = []string{"open/left"}
	f.commit(t, owner, promoted("staging", "open/a", "1", "closed/hidden", "1"))
	left := f.commit(t, owner, promoted("staging", "open/b", "2")) // it leaves a key that alice may not read
	f.commit(t, owner, inside)
	resp, err := f.ledger.ListCommits(alice, &stelev1.ListCommitsRequest{PromotedFrom: "staging"})
	if err != nil || len(resp.Commits) != 1 || !proto.Equal(resp.Commits[0].Commit.Origin.GetPromotion(), inside.Promotion) {
		t.Errorf("alice finds %v, %v", resp, err)
	}
	got, err := f.ledger.GetCommit(alice, &stelev1.GetCommitRequest{Commit: &stelev1.GetCommitRequest_Revision{Revision: left.Revision}})
	if err != nil || !got.Info.Partial || got.Info.Commit.Origin != nil {
		t.Errorf("of a promotion that left another key, alice sees %v, %v", got, err)
	}
}
