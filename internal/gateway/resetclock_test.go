package gateway_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stelehq/stele/internal/gateway/identity"
	"github.com/stelehq/stele/internal/ledger/ledgertest"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"
)

func TestResetTenantClock(t *testing.T) {
	f := startRecorded(t)
	writer, admin := f.as(t, "acme", identity.Writer), f.as(t, "acme", identity.Admin)
	operator := f.as(t, "acme", identity.Operator)
	commit := func(ctx context.Context, req *stelev1.CommitRequest) error {
		_, err := f.ledger.Commit(ctx, req)
		return err
	}
	reset := func(ctx context.Context) (*stelev1.ResetTenantClockResponse, error) {
		return f.ledger.ResetTenantClock(ctx, &stelev1.ResetTenantClockRequest{Reason: "host-3 was a year ahead"})
	}
	metric := func(name string) string {
		w := httptest.NewRecorder()
		f.gateway.HTTP().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
		for line := range strings.Lines(w.Body.String()) {
			if value, ok := strings.CutPrefix(line, name+" "); ok {
				return strings.TrimSpace(value)
			}
		}
		return ""
	}
	f.commit(t, writer, set("app/a", "1"))
	began := time.Now()
	aheadBy := 365 * 24 * time.Hour
	ledgertest.CommitAt(t, f.node, "acme", began.Add(aheadBy))

	imported := set("app/i", "1")
	imported.Import = &stelev1.Import{Time: timestamppb.Now(), Author: "bob"}
	for name, err := range map[string]error{"write": commit(writer, set("app/a", "2")), "import": commit(admin, imported)} {
		if status.Code(err) != codes.FailedPrecondition || !strings.Contains(err.Error(), "stele tenant reset-clock acme") {
			t.Errorf("%s to a tenant that is ahead: %v, want FAILED_PRECONDITION and what to do", name, err)
		}
	}
	st, err := f.ledger.GetStatus(operator, &stelev1.GetStatusRequest{})
	if err != nil || st.Ahead != 1 || !slices.Equal(st.AheadTenants, []string{"acme"}) || metric("stele_tenants_ahead") != "1" {
		t.Errorf("the status lists %d ahead, %v, %v; the metric is %s", st.Ahead, st.AheadTenants, err, metric("stele_tenants_ahead"))
	}
	if st, err := f.ledger.GetStatus(writer, &stelev1.GetStatusRequest{}); err != nil || st.Ahead != 0 {
		t.Errorf("a writer's status lists %d ahead, %v", st.Ahead, err)
	}
	for name, ctx := range map[string]context.Context{"a writer": writer, "an admin": admin} {
		if _, err := reset(ctx); status.Code(err) != codes.PermissionDenied {
			t.Errorf("%s resets the clock: %v", name, err)
		}
	}
	if _, err := f.ledger.ResetTenantClock(operator, &stelev1.ResetTenantClockRequest{}); status.Code(err) != codes.InvalidArgument {
		t.Errorf("a reset without a reason: %v", err)
	}

	done, err := reset(operator)
	if err != nil || done.Revision != 3 || done.Unchanged || !done.Ahead.AsTime().Equal(began.Add(aheadBy)) {
		t.Fatalf("reset: %v, %v", done, err)
	}
	if again, err := reset(operator); err != nil || !again.Unchanged || again.Revision != 3 {
		t.Errorf("a second reset: %v, %v", again, err)
	}
	if metric("stele_tenants_ahead") != "0" {
		t.Error("the metric still counts a tenant that is ahead")
	}
	imported.Import.Time = timestamppb.Now()
	if err := commit(admin, imported); err != nil { // @4
		t.Errorf("import after the reset: %v", err)
	}
	f.commit(t, writer, set("app/a", "2")) // @5

	// The log shows recorded times, and by which time commits that are ahead are found.
	list := func(req *stelev1.ListCommitsRequest) (revisions []uint64, all []*stelev1.CommitInfo) {
		t.Helper()
		resp, err := f.ledger.ListCommits(admin, req)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range resp.Commits {
			revisions = append(revisions, c.Commit.Revision)
		}
		return revisions, resp.Commits
	}
	revisions, all := list(&stelev1.ListCommitsRequest{})
	if !slices.Equal(revisions, []uint64{5, 4, 3, 2, 1}) {
		t.Fatalf("the log has %v", revisions)
	}
	for _, c := range all {
		is := c.EffectiveTime.AsTime().Equal(done.Time.AsTime())
		if ahead := c.Commit.Revision == 2; ahead != is || ahead != (c.EffectiveTime != nil) {
			t.Errorf("@%d counts as made at %s", c.Commit.Revision, c.EffectiveTime.AsTime())
		}
	}
	if o := all[2].Commit; o.Origin.GetClock() == nil || o.Author != "alice" || !o.ByOperator || o.Message != "host-3 was a year ahead" || len(o.Changes) > 0 {
		t.Errorf("the commit that resets the clock is %v", o)
	}
	at := func(at time.Time) *stelev1.At { return &stelev1.At{Point: &stelev1.At_Time{Time: timestamppb.New(at)}} }
	for name, tc := range map[string]struct {
		req  *stelev1.ListCommitsRequest
		want []uint64
	}{
		"since the reset":         {&stelev1.ListCommitsRequest{Since: at(done.Time.AsTime())}, []uint64{5, 4, 3, 2}},
		"until just before it":    {&stelev1.ListCommitsRequest{Until: at(done.Time.AsTime().Add(-1))}, []uint64{1}},
		"until it":                {&stelev1.ListCommitsRequest{Until: at(done.Time.AsTime())}, []uint64{3, 2, 1}},
		"of a key":                {&stelev1.ListCommitsRequest{Keys: &stelev1.ListCommitsRequest_Key{Key: "app/a"}}, []uint64{5, 1}},
		"since a time after @1":   {&stelev1.ListCommitsRequest{Since: at(began)}, []uint64{5, 4, 3, 2}},
		"until a time after @1":   {&stelev1.ListCommitsRequest{Until: at(began)}, []uint64{1}},
		"until now is everything": {&stelev1.ListCommitsRequest{Until: at(time.Now())}, []uint64{5, 4, 3, 2, 1}},
	} {
		if got, _ := list(tc.req); !slices.Equal(got, tc.want) {
			t.Errorf("%s: %v, want %v", name, got, tc.want)
		}
	}
	all2, err := f.ledger.ListAllCommits(f.as(t, "", identity.Operator), &stelev1.ListAllCommitsRequest{Since: timestamppb.New(began), Until: timestamppb.Now()})
	if err != nil || len(all2.Commits) != 4 {
		t.Errorf("all commits since @1: %d, %v; want 4", len(all2.GetCommits()), err)
	}
	counts, err := f.ledger.CountCommits(admin, &stelev1.CountCommitsRequest{Spans: 10})
	if err != nil || counts.Until.AsTime().After(time.Now()) || counts.Revisions[9] != 5 || !slices.IsSorted(counts.Revisions) {
		t.Errorf("CountCommits = %v, %v", counts, err)
	}
	if c, err := f.ledger.GetCommit(admin, &stelev1.GetCommitRequest{Commit: &stelev1.GetCommitRequest_Revision{Revision: 3}}); err != nil || c.Info.Commit.Origin.GetClock() == nil {
		t.Errorf("GetCommit of the reset: %v, %v", c, err)
	}
}
