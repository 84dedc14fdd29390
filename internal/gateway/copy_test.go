package gateway_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stelehq/stele/internal/gateway/identity"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// logOf lists the commits of a key or prefix with the changes that they are listed for.
func (f *fixture) logOf(t *testing.T, ctx context.Context, name string, page uint32, noFollow bool) (got []string) {
	t.Helper()
	req := &stelev1.ListCommitsRequest{PageSize: page, NoFollow: noFollow, OnlyMatchingChanges: true, Keys: &stelev1.ListCommitsRequest_Prefix{Prefix: name}}
	if !strings.HasSuffix(name, "/") {
		req.Keys = &stelev1.ListCommitsRequest_Key{Key: name}
	}
	for {
		resp, err := f.ledger.ListCommits(ctx, req)
		if err != nil {
			t.Fatal(err)
		}
		for _, info := range resp.Commits {
			line := fmt.Sprint(info.Commit.Revision)
			for _, ch := range info.Commit.Changes {
				line += " " + map[bool]string{true: "-"}[ch.Delete] + ch.Key
			}
			got = append(got, line)
		}
		if req.PageToken = resp.NextPageToken; req.PageToken == "" {
			return got
		}
	}
}

func (f *fixture) copy(t *testing.T, ctx context.Context, from, to string, rename bool) {
	t.Helper()
	if _, err := f.ledger.Copy(ctx, &stelev1.CopyRequest{From: from, To: to, Rename: rename}); err != nil {
		t.Fatal(err)
	}
}

// A log continues with the old names on every page, from where the keys were copied on.
func TestCopy_LogFollows(t *testing.T) {
	f := start(t)
	ctx := f.as(t, "acme", identity.Admin)
	f.commit(t, ctx, set("old/a", "1", "old/b", "1"))                                                  // 1
	f.commit(t, ctx, set("new/a", "0"))                                                                // 2: another key of that name
	f.commit(t, ctx, &stelev1.CommitRequest{Changes: []*stelev1.Change{{Key: "new/a", Delete: true}}}) // 3
	f.copy(t, ctx, "old/a", "new/a", true)                                                             // 4
	f.commit(t, ctx, set("old/a", "2"))                                                                // 5: another key of the old name
	f.commit(t, ctx, set("new/a", "3"))                                                                // 6
	f.copy(t, ctx, "new/", "end/", false)                                                              // 7
	f.commit(t, ctx, set("new/a", "4"))                                                                // 8
	f.copy(t, ctx, "old/b", "end/b", true)                                                             // 9
	for _, tc := range []struct {
		name     string
		noFollow bool
		want     []string
	}{
		{"new/a", false, []string{"8 new/a", "6 new/a", "4 new/a", "3 -new/a", "2 new/a", "1 old/a"}},
		{"new/a", true, []string{"8 new/a", "6 new/a", "4 new/a", "3 -new/a", "2 new/a"}},
		{"end/a", false, []string{"7 end/a", "6 new/a", "4 new/a", "3 -new/a", "2 new/a", "1 old/a"}},
		{"end/", false, []string{"9 end/b", "7 end/a", "6 new/a", "4 new/a", "3 -new/a", "2 new/a", "1 old/a old/b"}},
		{"end/", true, []string{"9 end/b", "7 end/a"}},
		{"old/a", false, []string{"5 old/a", "4 -old/a", "1 old/a"}},
	} {
		for _, page := range []uint32{0, 1, 2} {
			if diff := cmp.Diff(tc.want, f.logOf(t, ctx, tc.name, page, tc.noFollow)); diff != "" {
				t.Errorf("the log of %s in pages of %d, no_follow %t (-want +got):\n%s", tc.name, page, tc.noFollow, diff)
			}
		}
	}
}

// Names that a caller may not read are not followed, nor named; what is followed is recorded.
func TestCopy_OldNamesOfOthers(t *testing.T) {
	f, alice, owner := startLimited(t)
	f.setPolicy(t, "acme", `{"record":["closed/"]}`)
	f.copy(t, owner, "closed/hidden", "open/new", false)
	if diff := cmp.Diff([]string{"5 open/new"}, f.logOf(t, alice, "open/new", 1, false)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	page, err := f.ledger.ListCommits(alice, &stelev1.ListCommitsRequest{PageSize: 1, Keys: &stelev1.ListCommitsRequest_Key{Key: "open/new"}})
	if err != nil || page.NextPageToken != "" { // which would name what is followed
		t.Errorf("after the first commit alice gets %v, %v", page, err)
	}
	blame := func(ctx context.Context) *stelev1.BlameEntry {
		resp, err := f.ledger.Blame(ctx, &stelev1.BlameRequest{Prefix: "open/new"})
		if err != nil || len(resp.Entries) != 1 {
			t.Fatal(resp, err)
		}
		return resp.Entries[0]
	}
	if e := blame(alice); e.Source != nil || e.Origin != nil || e.Message != "" {
		t.Errorf("blame shows alice %v", e)
	}
	before := len(f.recorded(t, owner))
	if e := blame(owner); e.Source.GetKey() != "closed/hidden" || e.Source.GetRevision() != 4 || e.Origin.GetCopy().GetFrom() != "closed/hidden" {
		t.Errorf("blame shows the owner %v", e)
	}
	if diff := cmp.Diff([]string{"5 open/new", "4 closed/hidden", "2 closed/hidden"}, f.logOf(t, owner, "open/new", 0, false)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	var got []string
	for _, r := range f.recorded(t, owner)[before:] {
		got = append(got, formatRead(r))
	}
	if diff := cmp.Diff([]string{"Blame closed/hidden @5", "ListCommits closed/hidden @5"}, got); diff != "" {
		t.Errorf("records (-want +got):\n%s", diff)
	}
}

// A copy gives no caller a secret that it may not reveal, and is recorded as a reveal.
func TestCopy_Secrets(t *testing.T) {
	f := startSecret(t)
	f.setGrants(t, "acme", `{"grants":[{"subjects":["alice"],"operations":["read","write"]},{"subjects":["alice"],"operations":["reveal"],"prefixes":["s/mine/"]},{"subjects":["owner"],"roles":["admin"]}]}`)
	alice := f.as(t, "acme", identity.Admin)
	owner := bearer(t.Context(), f.token(t, identity.Claims{Subject: "owner", Tenant: "acme", Roles: []identity.Role{identity.Admin}}))
	f.commit(t, owner, set("s/theirs", `"hunter2"`, "plain", "1"))
	for _, tc := range []struct {
		who      context.Context
		from, to string
		want     codes.Code
	}{
		{alice, "s/theirs", "s/mine/x", codes.PermissionDenied},
		{owner, "s/theirs", "plain2", codes.InvalidArgument},
		{owner, "s/theirs", "s/mine/x", codes.OK},
		{alice, "s/mine/x", "s/mine/y", codes.OK},
		{alice, "plain", "s/mine/z", codes.OK},
	} {
		for _, dry := range []bool{true, false} {
			resp, err := f.ledger.Copy(tc.who, &stelev1.CopyRequest{From: tc.from, To: tc.to, DryRun: dry})
			if status.Code(err) != tc.want || strings.Contains(fmt.Sprint(resp, err), "hunter2") {
				t.Errorf("copy %s to %s, dry run %t: %v, %v, want %s", tc.from, tc.to, dry, resp, err, tc.want)
			}
		}
	}
	got, err := f.config.BatchGet(alice, &stelev1.BatchGetRequest{Keys: []string{"s/mine/x", "s/mine/y", "s/mine/z"}, Reveal: true})
	if err != nil {
		t.Fatal(err)
	}
	var values []string
	for _, e := range got.Entries {
		values = append(values, e.Value)
	}
	if diff := cmp.Diff([]string{`"hunter2"`, `"hunter2"`, "1"}, values); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if all := f.recorded(t, owner); !slices.ContainsFunc(all, func(r *stelev1.ReadRecord) bool {
		return r.Subject == "owner" && strings.HasSuffix(r.Method, "/Copy") && r.Revealed && slices.Equal(r.Keys, []string{"s/theirs"})
	}) {
		t.Errorf("no record of the copied secret: %v", all)
	}
}

// At most 20 of the new keys that are set are named, and nothing is written.
func TestCopy_Conflicts(t *testing.T) {
	f := start(t)
	ctx := f.as(t, "acme", identity.Admin)
	var kv []string
	for i := range 30 {
		kv = append(kv, fmt.Sprintf("a/%02d", i), "1", fmt.Sprintf("b/%02d", i), "2")
	}
	f.commit(t, ctx, set(kv...))
	_, err := f.ledger.Copy(ctx, &stelev1.CopyRequest{From: "a/", To: "b/", Rename: true})
	named := 0
	for _, d := range status.Convert(err).Details() {
		if p, ok := d.(*errdetails.PreconditionFailure); ok {
			named = len(p.Violations)
		}
	}
	if status.Code(err) != codes.FailedPrecondition || named != 20 {
		t.Errorf("%v, which names %d keys", err, named)
	}
	head, err := f.ledger.GetHead(ctx, &stelev1.GetHeadRequest{})
	if err != nil || head.Snapshot.Head != 1 {
		t.Errorf("head %v, %v", head, err)
	}
}

// The old prefix may have had more keys than a log merges one by one.
func TestCopy_LogFollowsManyKeys(t *testing.T) {
	f := start(t)
	ctx := f.as(t, "acme", identity.Admin)
	var kv []string
	gone := &stelev1.CommitRequest{}
	for i := range 300 {
		kv = append(kv, fmt.Sprintf("big/%03d", i), "1")
		if i > 0 {
			gone.Changes = append(gone.Changes, &stelev1.Change{Key: fmt.Sprintf("big/%03d", i), Delete: true})
		}
	}
	f.commit(t, ctx, set(kv...))          // 1
	f.commit(t, ctx, set("other", "1"))   // 2
	f.commit(t, ctx, gone)                // 3
	f.copy(t, ctx, "big/", "tiny/", true) // 4
	f.commit(t, ctx, set("tiny/000", "2"))
	for _, page := range []uint32{0, 1} {
		var got []string
		for _, line := range f.logOf(t, ctx, "tiny/", page, false) {
			got = append(got, strings.Fields(line)[0])
		}
		if diff := cmp.Diff([]string{"5", "4", "3", "1"}, got); diff != "" {
			t.Errorf("in pages of %d (-want +got):\n%s", page, diff)
		}
	}
}
