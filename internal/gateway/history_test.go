package gateway_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stelehq/stele/internal/gateway/identity"
	"github.com/stelehq/stele/internal/ledger"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"
)

func atTime(at time.Time) *stelev1.At {
	return &stelev1.At{Point: &stelev1.At_Time{Time: timestamppb.New(at)}}
}

// past is a tenant with a short history:
//
//	@1 ann  a/x=1 a/y=1      first
//	@2 bob  a/x=2            Second
//	@3 ann  delete a/y       third
//	@4 bob  b=1              second again
func past(t testing.TB, f *fixture, tenant ledger.Tenant) (ctx context.Context, began time.Time) {
	t.Helper()
	as := func(who string) context.Context {
		return bearer(t.Context(), f.token(t, identity.Claims{Subject: who, Tenant: tenant, Roles: []identity.Role{identity.Writer}}))
	}
	write := func(who, message string, req *stelev1.CommitRequest) *stelev1.CommitResponse {
		req.Message = message
		return f.commit(t, as(who), req)
	}
	first := write("ann", "first", set("a/x", "1", "a/y", "1"))
	write("bob", "Second", set("a/x", "2"))
	write("ann", "third", &stelev1.CommitRequest{Changes: []*stelev1.Change{{Key: "a/y", Delete: true}}})
	write("bob", "second again", set("b", "1"))
	return as("ann"), first.Time.AsTime()
}

func TestListCommits_Filters(t *testing.T) {
	f := start(t)
	ctx, began := past(t, f, "acme")
	past(t, f, "other")
	for _, tc := range []struct {
		name string
		req  *stelev1.ListCommitsRequest
		want []uint64
	}{
		{"all", &stelev1.ListCommitsRequest{}, []uint64{4, 3, 2, 1}},
		{"a key", &stelev1.ListCommitsRequest{Keys: &stelev1.ListCommitsRequest_Key{Key: "a/x"}}, []uint64{2, 1}},
		{"a deleted key", &stelev1.ListCommitsRequest{Keys: &stelev1.ListCommitsRequest_Key{Key: "a/y"}}, []uint64{3, 1}},
		{"a key that never was", &stelev1.ListCommitsRequest{Keys: &stelev1.ListCommitsRequest_Key{Key: "a"}}, nil},
		{"a prefix", &stelev1.ListCommitsRequest{Keys: &stelev1.ListCommitsRequest_Prefix{Prefix: "a/"}}, []uint64{3, 2, 1}},
		{"the empty prefix", &stelev1.ListCommitsRequest{Keys: &stelev1.ListCommitsRequest_Prefix{}}, []uint64{4, 3, 2, 1}},
		{"an author", &stelev1.ListCommitsRequest{Author: "bob"}, []uint64{4, 2}},
		{"a message", &stelev1.ListCommitsRequest{Grep: "SECOND"}, []uint64{4, 2}},
		{"all of these", &stelev1.ListCommitsRequest{Author: "bob", Grep: "second", Keys: &stelev1.ListCommitsRequest_Prefix{Prefix: "a"}}, []uint64{2}},
		{"since a revision", &stelev1.ListCommitsRequest{Since: atRevision(3)}, []uint64{4, 3}},
		{"until a revision", &stelev1.ListCommitsRequest{Until: atRevision(3)}, []uint64{3, 2, 1}},
		{"one revision", &stelev1.ListCommitsRequest{Since: atRevision(2), Until: atRevision(2)}, []uint64{2}},
		{"until a time", &stelev1.ListCommitsRequest{Until: atTime(began)}, []uint64{1}},
		{"since a time", &stelev1.ListCommitsRequest{Since: atTime(began.Add(1))}, []uint64{4, 3, 2}},
		{"since before all", &stelev1.ListCommitsRequest{Since: atTime(time.Unix(0, 0))}, []uint64{4, 3, 2, 1}},
		{"since now", &stelev1.ListCommitsRequest{Since: atTime(time.Now())}, nil},
	} {
		for _, page := range []uint32{0, 1} {
			t.Run(fmt.Sprintf("%s, pages of %d", tc.name, page), func(t *testing.T) {
				var got []uint64
				tc.req.PageSize, tc.req.PageToken = page, ""
				for more := true; more; more = tc.req.PageToken != "" {
					resp, err := f.ledger.ListCommits(ctx, tc.req)
					if err != nil {
						t.Fatal(err)
					}
					for _, c := range resp.Commits {
						got = append(got, c.Commit.Revision)
					}
					tc.req.PageToken = resp.NextPageToken
				}
				if !slices.Equal(got, tc.want) {
					t.Errorf("%v, want %v", got, tc.want)
				}
			})
		}
	}
}

func TestCountCommits(t *testing.T) {
	f := start(t)
	ctx, _ := past(t, f, "acme")
	begun := time.Unix(1_700_000_000, 0)
	admin := f.as(t, "counted", identity.Admin, identity.Writer)
	if got, err := f.ledger.CountCommits(admin, &stelev1.CountCommitsRequest{}); err != nil || got.Until != nil || len(got.Revisions) != 0 {
		t.Errorf("without commits: %v, %v", got, err)
	}
	for i, minutes := range []int{0, 1, 1, 30, 90, 100} {
		req := set("a/x", fmt.Sprint(i))
		req.Import = &stelev1.Import{Time: timestamppb.New(begun.Add(time.Duration(minutes) * time.Minute)), Author: "ann"}
		f.commit(t, admin, req)
	}
	at := func(minutes int) *timestamppb.Timestamp {
		return timestamppb.New(begun.Add(time.Duration(minutes) * time.Minute))
	}
	for _, tc := range []struct {
		name   string
		req    *stelev1.CountCommitsRequest
		before uint64
		want   []uint64
	}{
		{"all", &stelev1.CountCommitsRequest{Spans: 4}, 0, []uint64{3, 4, 4, 6}},
		{"a part", &stelev1.CountCommitsRequest{Since: at(1), Until: at(91), Spans: 3}, 1, []uint64{4, 4, 5}},
		{"one instant", &stelev1.CountCommitsRequest{Since: at(1), Until: at(1), Spans: 1}, 1, []uint64{3}},
		{"before the first", &stelev1.CountCommitsRequest{Since: at(-60), Until: at(-30), Spans: 2}, 0, []uint64{0, 0}},
	} {
		got, err := f.ledger.CountCommits(admin, tc.req)
		if err != nil || got.Before != tc.before || !slices.Equal(got.Revisions, tc.want) || !got.First.AsTime().Equal(begun) {
			t.Errorf("%s: %v, %v", tc.name, got, err)
		}
	}
	if got, err := f.ledger.CountCommits(ctx, &stelev1.CountCommitsRequest{}); err != nil || len(got.Revisions) != 100 || got.Revisions[99] != 4 {
		t.Errorf("100 spans: %v, %v", got, err)
	}
	_, err := f.ledger.CountCommits(ctx, &stelev1.CountCommitsRequest{Since: at(2), Until: at(1)})
	if status.Code(err) != codes.InvalidArgument {
		t.Errorf("until before since: %v", err)
	}
}

func TestListCommits_PreviousValues(t *testing.T) {
	f := start(t)
	ctx, _ := past(t, f, "acme")
	resp, err := f.ledger.ListCommits(ctx, &stelev1.ListCommitsRequest{
		Keys: &stelev1.ListCommitsRequest_Key{Key: "a/y"}, OnlyMatchingChanges: true, PreviousValues: true, Encoded: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, c := range resp.Commits {
		if ledger.IDOf(c.Encoded) != ledger.CommitID(c.Id) {
			t.Errorf("the bytes of @%d are not those of its id", c.Commit.Revision)
		}
		for i, ch := range c.Commit.Changes {
			got = append(got, fmt.Sprintf("@%d %s %q was %q", c.Commit.Revision, ch.Key, ch.Value, c.PreviousValues[i]))
		}
	}
	if want := []string{`@3 a/y "" was "1"`, `@1 a/y "1" was ""`}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	one, err := f.ledger.GetCommit(ctx, &stelev1.GetCommitRequest{Commit: &stelev1.GetCommitRequest_Revision{Revision: 2}, PreviousValues: true})
	if err != nil || !slices.Equal(one.Info.PreviousValues, []string{"1"}) {
		t.Errorf("%v, %v", one, err)
	}
}

func TestDiffAndBlame(t *testing.T) {
	f := start(t)
	ctx, began := past(t, f, "acme")
	for _, tc := range []struct {
		name string
		req  *stelev1.DiffRequest
		want []string
	}{
		{"from nothing", &stelev1.DiffRequest{From: atRevision(0), To: atRevision(1)}, []string{`a/x "" @0 -> "1" @1`, `a/y "" @0 -> "1" @1`}},
		{"to the head", &stelev1.DiffRequest{From: atTime(began)}, []string{`a/x "1" @1 -> "2" @2`, `a/y "1" @1 -> "" @3`, `b "" @0 -> "1" @4`}},
		{"a prefix", &stelev1.DiffRequest{From: atRevision(1), Prefix: "a/x"}, []string{`a/x "1" @1 -> "2" @2`}},
		{"nothing there", &stelev1.DiffRequest{From: atRevision(3), Prefix: "a/"}, nil},
	} {
		for _, page := range []uint32{0, 1} {
			t.Run(fmt.Sprintf("%s, pages of %d", tc.name, page), func(t *testing.T) {
				var got []string
				tc.req.PageSize, tc.req.PageToken = page, ""
				for more := true; more; more = tc.req.PageToken != "" {
					resp, err := f.ledger.Diff(ctx, tc.req)
					if err != nil {
						t.Fatal(err)
					}
					for _, d := range resp.Diffs {
						got = append(got, fmt.Sprintf("%s %q @%d -> %q @%d", d.Key, d.FromValue, d.FromRevision, d.ToValue, d.ToRevision))
					}
					tc.req.PageToken = resp.NextPageToken
				}
				if !slices.Equal(got, tc.want) {
					t.Errorf("%q, want %q", got, tc.want)
				}
			})
		}
	}
	blame := func(req *stelev1.BlameRequest) (got []string) {
		req.PageSize = 1
		for more := true; more; more = req.PageToken != "" {
			resp, err := f.ledger.Blame(ctx, req)
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range resp.Entries {
				got = append(got, fmt.Sprintf("%s @%d %s %s", e.Key, e.Revision, e.Author, e.Message))
			}
			req.PageToken = resp.NextPageToken
		}
		return got
	}
	if got, want := blame(&stelev1.BlameRequest{}), []string{"a/x @2 bob Second", "b @4 bob second again"}; !slices.Equal(got, want) {
		t.Errorf("blame: %q, want %q", got, want)
	}
	if got, want := blame(&stelev1.BlameRequest{Prefix: "a", At: atRevision(1)}), []string{"a/x @1 ann first", "a/y @1 ann first"}; !slices.Equal(got, want) {
		t.Errorf("blame of @1: %q, want %q", got, want)
	}
}

func TestRollback(t *testing.T) {
	f := start(t)
	ctx, _ := past(t, f, "acme")
	head := uint64(4)
	rollback := func(req *stelev1.RollbackRequest) *stelev1.RollbackResponse {
		t.Helper()
		resp, err := f.ledger.Rollback(ctx, req)
		if err != nil {
			t.Fatal(err)
		}
		return resp
	}
	state := func() (got []string) {
		resp, err := f.config.List(ctx, &stelev1.ListRequest{})
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range resp.Entries {
			got = append(got, e.Key+"="+e.Value)
		}
		return got
	}

	preview := rollback(&stelev1.RollbackRequest{To: atRevision(1), DryRun: true})
	if preview.Head != head || preview.ToRevision != 1 || preview.Sets != 2 || preview.Deletes != 1 || len(preview.Changes) != 3 || preview.Commit != nil {
		t.Errorf("preview: %v", preview)
	}
	// Another writer commits between the preview and the rollback.
	f.commit(t, ctx, set("c", "1"))
	_, err := f.ledger.Rollback(ctx, &stelev1.RollbackRequest{To: atRevision(1), ExpectedHead: &head})
	if want := "precondition failed in acme: head: expected @4, found @5; c: expected absent, found @5"; status.Code(err) != codes.FailedPrecondition || status.Convert(err).Message() != want {
		t.Errorf("%v, want %s", err, want)
	}

	head = 5
	req := &stelev1.RollbackRequest{To: atRevision(1), ExpectedHead: &head, RequestId: "once"}
	done := rollback(req)
	if want := []string{"a/x=1", "a/y=1"}; done.Commit.Revision != 6 || !slices.Equal(state(), want) {
		t.Errorf("rolled back to %q by %v, want %q", state(), done, want)
	}
	if again := rollback(req); again.Commit.Revision != 6 || !again.Commit.RepeatedRequest {
		t.Errorf("the same request again: %v", again)
	}
	commit, err := f.ledger.GetCommit(ctx, &stelev1.GetCommitRequest{Commit: &stelev1.GetCommitRequest_Revision{Revision: 6}})
	if err != nil || commit.Info.Commit.Origin.GetRollback().GetRevision() != 1 || commit.Info.Commit.Message != "Roll back to acme@1" {
		t.Errorf("%v, %v", commit, err)
	}
	// A rollback of the rollback, of one key to before it was there, and of nothing.
	rollback(&stelev1.RollbackRequest{To: atRevision(5)})
	if want := []string{"a/x=2", "b=1", "c=1"}; !slices.Equal(state(), want) {
		t.Errorf("rolled forth to %q, want %q", state(), want)
	}
	rollback(&stelev1.RollbackRequest{To: atRevision(0), Prefix: "b"})
	if want := []string{"a/x=2", "c=1"}; !slices.Equal(state(), want) {
		t.Errorf("b rolled back to %q, want %q", state(), want)
	}
	if same := rollback(&stelev1.RollbackRequest{To: atRevision(8)}); same.Commit != nil || same.Head != 8 {
		t.Errorf("a rollback to what is: %v", same)
	}
}

func TestRollback_TooLargeForACommit(t *testing.T) {
	f := start(t)
	ctx := f.as(t, "acme", identity.Writer)
	for part := range 3 {
		req := &stelev1.CommitRequest{}
		for i := range 8000 {
			req.Changes = append(req.Changes, &stelev1.Change{Key: fmt.Sprintf("app/%d/%04d", part, i), Value: "1"})
		}
		f.commit(t, ctx, req)
	}
	_, err := f.ledger.Rollback(ctx, &stelev1.RollbackRequest{To: atRevision(0)})
	if status.Code(err) != codes.InvalidArgument || field(err) != "prefix" || !strings.Contains(err.Error(), "app/0/ (8000), app/1/ (8000), app/2/ (8000)") {
		t.Fatal(err)
	}
	for _, prefix := range []string{"app/0/", "app/1/"} {
		if _, err := f.ledger.Rollback(ctx, &stelev1.RollbackRequest{To: atRevision(0), Prefix: prefix}); err != nil {
			t.Error(err)
		}
	}
	if done, err := f.ledger.Rollback(ctx, &stelev1.RollbackRequest{To: atRevision(0)}); err != nil || done.Deletes != 8000 {
		t.Error(done, err)
	}
}

func TestRevert(t *testing.T) {
	f := start(t)
	ctx, _ := past(t, f, "acme")
	f.commit(t, ctx, set("a/x", "3"))
	_, err := f.ledger.Revert(ctx, &stelev1.RevertRequest{Revisions: []uint64{1, 3}})
	var later []string
	for _, d := range status.Convert(err).Details() {
		if fail, ok := d.(*errdetails.PreconditionFailure); ok {
			for _, v := range fail.Violations {
				later = append(later, v.Description)
			}
		}
	}
	if want := []string{"a/x: @5 changed it after @1"}; status.Code(err) != codes.FailedPrecondition || !slices.Equal(later, want) {
		t.Errorf("%v blames %q, want %q", err, later, want)
	}
	resp, err := f.ledger.Revert(ctx, &stelev1.RevertRequest{Revisions: []uint64{3}})
	if err != nil || resp.Commit.GetRevision() != 6 || resp.Sets != 1 || resp.Deletes != 0 {
		t.Fatal(resp, err)
	}
	commit, err := f.ledger.GetCommit(ctx, &stelev1.GetCommitRequest{Commit: &stelev1.GetCommitRequest_Revision{Revision: 6}})
	if err != nil || !slices.Equal(commit.Info.Commit.Origin.GetRevert().GetRevisions(), []uint64{3}) || commit.Info.Commit.Message != "Revert acme@3: third" {
		t.Errorf("%v, %v", commit, err)
	}
	if resp, err = f.ledger.Revert(ctx, &stelev1.RevertRequest{Revisions: []uint64{3, 6}}); err != nil || resp.Commit != nil {
		t.Errorf("a commit and its revert, which leave nothing to undo: %v, %v", resp, err)
	}
	if resp, err = f.ledger.Revert(ctx, &stelev1.RevertRequest{Revisions: []uint64{6}}); err != nil || resp.Commit.GetRevision() != 7 || resp.Deletes != 1 {
		t.Errorf("a revert of the revert: %v, %v", resp, err)
	}
}

func TestAt_OutsideOfTheHistory(t *testing.T) {
	f := start(t)
	ctx, _ := past(t, f, "acme")
	tomorrow := atTime(time.Now().Add(24 * time.Hour))
	diff := func(from, to *stelev1.At) func(context.Context) error {
		return func(ctx context.Context) error {
			_, err := f.ledger.Diff(ctx, &stelev1.DiffRequest{From: from, To: to})
			return err
		}
	}
	log := func(since, until *stelev1.At) func(context.Context) error {
		return func(ctx context.Context) error {
			_, err := f.ledger.ListCommits(ctx, &stelev1.ListCommitsRequest{Since: since, Until: until})
			return err
		}
	}
	rollback := func(to *stelev1.At, prefix string) func(context.Context) error {
		return func(ctx context.Context) error {
			_, err := f.ledger.Rollback(ctx, &stelev1.RollbackRequest{To: to, Prefix: prefix})
			return err
		}
	}
	revert := func(revisions ...uint64) func(context.Context) error {
		return func(ctx context.Context) error {
			_, err := f.ledger.Revert(ctx, &stelev1.RevertRequest{Revisions: revisions})
			return err
		}
	}
	blame := func(at *stelev1.At) func(context.Context) error {
		return func(ctx context.Context) error {
			_, err := f.ledger.Blame(ctx, &stelev1.BlameRequest{At: at})
			return err
		}
	}
	for _, tc := range []struct {
		name string
		call func(context.Context) error
		code codes.Code
		text string
	}{
		{"diff from a revision that is not there", diff(atRevision(9), nil), codes.OutOfRange, "acme@9 is in the future"},
		{"diff to a revision that is not there", diff(atRevision(1), atRevision(9)), codes.OutOfRange, "acme@9 is in the future"},
		{"diff the wrong way round", diff(atRevision(3), atRevision(1)), codes.InvalidArgument, "@3 is later than @1"},
		{"diff of one state", diff(atRevision(3), atRevision(3)), codes.OK, ""},
		{"diff from before the first commit", diff(atTime(time.Unix(1, 0)), nil), codes.OutOfRange, "its first is of"},
		{"diff from a time that no calendar of ours has", diff(atTime(time.Date(1, 1, 1, 0, 0, 0, 0, time.UTC)), nil), codes.OutOfRange, "its first is of"},
		{"diff to tomorrow", diff(atRevision(1), tomorrow), codes.OutOfRange, "in the future"},
		{"diff from neither a revision nor a time", diff(nil, nil), codes.InvalidArgument, "from"},
		{"log that ends before it begins", log(atRevision(3), atRevision(2)), codes.InvalidArgument, "range is empty"},
		{"log since tomorrow", log(tomorrow, nil), codes.OutOfRange, "in the future"},
		{"log since a revision that is not there", log(atRevision(5), nil), codes.OutOfRange, "acme@5 is in the future"},
		{"log until before the first commit", log(nil, atTime(time.Unix(1, 0))), codes.OutOfRange, "its first is of"},
		{"blame of tomorrow", blame(tomorrow), codes.OutOfRange, "in the future"},
		{"rollback to a revision that is not there", rollback(atRevision(5), ""), codes.OutOfRange, "acme@5 is in the future"},
		{"rollback to tomorrow", rollback(tomorrow, ""), codes.OutOfRange, "in the future"},
		{"rollback of a hostile prefix", rollback(atRevision(1), "a/>"), codes.InvalidArgument, "character 3"},
		{"revert of nothing", revert(), codes.InvalidArgument, "revisions"},
		{"revert of one commit twice", revert(1, 1), codes.InvalidArgument, "revisions"},
		{"revert of @0", revert(0), codes.InvalidArgument, "revisions"},
		{"revert of a revision that is not there", revert(1, 5), codes.OutOfRange, "acme@5 is in the future"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if err := tc.call(ctx); status.Code(err) != tc.code || !strings.Contains(status.Convert(err).Message(), tc.text) {
				t.Errorf("%v\nwant %s with %q", err, tc.code, tc.text)
			}
			// Another tenant's history does not answer.
			if err := tc.call(f.as(t, "other", identity.Writer)); err == nil || strings.Contains(err.Error(), "acme") {
				t.Errorf("for a tenant without a commit: %v", err)
			}
		})
	}
	reader := f.as(t, "acme", identity.Reader)
	for name, call := range map[string]func(context.Context) error{"rollback": rollback(atRevision(1), ""), "revert": revert(4)} {
		if err := call(reader); status.Code(err) != codes.PermissionDenied {
			t.Errorf("%s by a reader: %v", name, err)
		}
	}
	if head, err := f.ledger.GetHead(ctx, &stelev1.GetHeadRequest{}); err != nil || head.Snapshot.Head != 4 {
		t.Errorf("after all that the head is %v, %v; want @4", head, err)
	}
}

func TestListTenants_OperatorsOnly(t *testing.T) {
	f := start(t)
	for _, tenant := range []ledger.Tenant{"b", "a", "c"} {
		f.commit(t, f.as(t, tenant, identity.Writer), set("k", "1"))
	}
	token := f.token(t, identity.Claims{Roles: []identity.Role{identity.Operator}})
	f.commit(t, bearer(t.Context(), token, "as-tenant", "_system"), set("k", "1"))
	var got []string
	req := &stelev1.ListTenantsRequest{PageSize: 2}
	for more := true; more; more = req.PageToken != "" {
		resp, err := f.ledger.ListTenants(bearer(t.Context(), token), req)
		if err != nil {
			t.Fatal(err)
		}
		for _, h := range resp.Tenants {
			got = append(got, fmt.Sprintf("%s@%d", h.Tenant, h.Head))
		}
		req.PageToken = resp.NextPageToken
	}
	if want := []string{"a@1", "b@1", "c@1"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	if _, err := f.ledger.ListTenants(f.as(t, "a", identity.Admin), &stelev1.ListTenantsRequest{}); status.Code(err) != codes.PermissionDenied {
		t.Errorf("a tenant's admin: %v", err)
	}
}
