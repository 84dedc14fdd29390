package gateway_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stelehq/stele/internal/gateway/identity"
	"github.com/stelehq/stele/internal/ledger"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// Clients with the default limits of gRPC can read every commit, also one of the largest
// size between others.
func TestCommits_FitDefaultMessageLimit(t *testing.T) {
	f := startRecorded(t)
	conn, err := grpc.NewClient(f.conn.Target(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	raw := *f
	raw.conn, raw.config, raw.ledger = conn, stelev1.NewConfigClient(conn), stelev1.NewLedgerClient(conn)
	ctx := f.actingOperator(t)

	medium := set("m/1", `"`+strings.Repeat("x", ledger.MaxValue-100)+`"`, "m/2", `"`+strings.Repeat("x", ledger.MaxValue-100)+`"`)
	largest := func(id string) *stelev1.CommitRequest {
		req := &stelev1.CommitRequest{
			Message: strings.Repeat("m", ledger.MaxMessage), RequestId: strings.Repeat(id, ledger.MaxRequestID), AllowEmpty: true,
			Import: &stelev1.Import{Time: timestamppb.Now(), Author: strings.Repeat("a", ledger.MaxAuthor)},
		}
		left := ledger.MaxChangeSet
		for i := range ledger.MaxChanges {
			key := fmt.Sprintf("a/%05d", i)
			size := left/(ledger.MaxChanges-i) - len(key)
			req.Changes = append(req.Changes, &stelev1.Change{Key: key, Value: `"` + strings.Repeat("x", size-len(`""`)) + `"`})
			left -= len(key) + size
		}
		return req
	}
	f.commit(t, ctx, medium)
	f.commit(t, ctx, largest("r"))
	f.commit(t, ctx, largest("s"))
	medium.AllowEmpty = true
	const head = 4
	if rev := f.commit(t, ctx, medium).Revision; rev != head {
		t.Fatalf("the head is @%d", rev)
	}

	for rev := uint64(1); rev <= head; rev++ {
		if _, err := raw.ledger.GetCommit(ctx, &stelev1.GetCommitRequest{Commit: &stelev1.GetCommitRequest_Revision{Revision: rev}}); err != nil {
			t.Errorf("GetCommit of @%d: %v", rev, err)
		}
	}
	listed := 0
	for req := (&stelev1.ListCommitsRequest{}); ; {
		resp, err := raw.ledger.ListCommits(ctx, req)
		if err != nil {
			t.Fatalf("ListCommits: %v", err)
		}
		listed += len(resp.Commits)
		if req.PageToken = resp.NextPageToken; req.PageToken == "" {
			break
		}
	}
	if listed != head {
		t.Errorf("ListCommits lists %d commits of %d", listed, head)
	}
	operator := f.as(t, "", identity.Operator)
	listed = 0
	for req := (&stelev1.ListAllCommitsRequest{}); ; {
		resp, err := raw.ledger.ListAllCommits(operator, req)
		if err != nil {
			t.Fatalf("ListAllCommits: %v", err)
		}
		listed += len(resp.Commits)
		if req.PageToken = resp.NextPageToken; req.PageToken == "" {
			break
		}
	}
	if listed != head {
		t.Errorf("ListAllCommits lists %d commits of %d", listed, head)
	}
	start := uint64(0)
	takeAll(t, raw.watchAll(t, operator, &stelev1.WatchAllCommitsRequest{AfterPosition: &start}), head)
	watch := raw.watch(t, ctx, &stelev1.CreateWatch{Id: 1, Prefixes: []string{""}, FromRevision: 1})
	recv(t, watch) // created
	for rev := uint64(1); rev <= head; rev++ {
		if c := recv(t, watch).GetCommit(); c.GetRevision() != rev || c.More {
			t.Fatalf("the watch received %d of @%d, and @%d is next", len(c.GetChanges()), c.GetRevision(), rev)
		}
	}
}

// A log lists what fits of a commit that changes many large inherited values.
func TestListCommits_LargeBase(t *testing.T) {
	f := startRecorded(t)
	conn, err := grpc.NewClient(f.conn.Target(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	client := stelev1.NewLedgerClient(conn) // with the default limit of an answer
	defaults, acme := f.as(t, "defaults", identity.Writer), f.as(t, "acme", identity.Operator)
	const values, perCommit = 42, 7
	value := `"` + strings.Repeat("x", ledger.MaxValue-100) + `"`
	for i := 0; i < values; i += perCommit {
		var pairs []string
		for j := range perCommit - 1 {
			pairs = append(pairs, fmt.Sprintf("a/%03d", i+j), value)
		}
		f.commit(t, defaults, set(append(pairs, fmt.Sprintf("b/%03d", i), "1")...))
	}
	f.commit(t, acme, set("a/own", "1"))
	f.commit(t, acme, set("_bases/list", fmt.Sprintf(`[{"tenant":"defaults","revision":%d}]`, values/perCommit)))
	f.commit(t, acme, set("a/own", "2"))

	list := func(req *stelev1.ListCommitsRequest) (all []*stelev1.CommitInfo) {
		t.Helper()
		for {
			resp, err := client.ListCommits(acme, req)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, resp.Commits...)
			if req.PageToken = resp.NextPageToken; req.PageToken == "" {
				return all
			}
		}
	}
	prefix := &stelev1.ListCommitsRequest_Prefix{Prefix: "a/"}
	for name, tc := range map[string]struct {
		req     *stelev1.ListCommitsRequest
		commits int
		changes int // of the commit that attaches the base
		more    bool
	}{
		"a prefix":                {&stelev1.ListCommitsRequest{Keys: prefix, OnlyMatchingChanges: true}, 3, 7, true},
		"a prefix, whole commits": {&stelev1.ListCommitsRequest{Keys: prefix}, 3, 8, true},
		"without values":          {&stelev1.ListCommitsRequest{Keys: prefix, OnlyMatchingChanges: true, OmitValues: true}, 3, values - values/perCommit, false},
		"a key":                   {&stelev1.ListCommitsRequest{Keys: &stelev1.ListCommitsRequest_Key{Key: "a/036"}, OnlyMatchingChanges: true}, 1, 1, false},
	} {
		t.Run(name, func(t *testing.T) {
			all := list(tc.req)
			if len(all) != tc.commits {
				t.Fatalf("%d commits, want %d", len(all), tc.commits)
			}
			attached := all[len(all)/2]
			if n := len(attached.Commit.Changes); n != tc.changes || attached.MoreChanges != tc.more {
				t.Errorf("the commit that attaches the base has %d changes, and more: %t; want %d, %t", n, attached.MoreChanges, tc.changes, tc.more)
			}
		})
	}
}
