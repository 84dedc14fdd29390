package gateway_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stelehq/stele/internal/gateway/identity"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// recorded are all records that the caller gets, by small pages, in the order of the reads.
func (f *fixture) recorded(t testing.TB, ctx context.Context) (reads []*stelev1.ReadRecord) {
	t.Helper()
	req := &stelev1.ListReadsRequest{PageSize: 20}
	for {
		resp, err := f.ledger.ListReads(ctx, req)
		if err != nil {
			t.Fatal(err)
		}
		reads = append(reads, resp.Reads...)
		if req.PageToken = resp.NextPageToken; req.PageToken == "" {
			slices.Reverse(reads) // they are listed newest first
			return reads
		}
	}
}

func TestListReads_RequiresTheJournal(t *testing.T) {
	f := start(t)
	if _, err := f.ledger.ListReads(f.as(t, "acme", identity.Auditor), &stelev1.ListReadsRequest{}); status.Code(err) != codes.Unavailable {
		t.Errorf("without a journal: %v, want UNAVAILABLE", err)
	}
	f = startRecorded(t)
	ctx := f.as(t, "acme", identity.Auditor)
	if reads := f.recorded(t, ctx); reads != nil {
		t.Errorf("before the first there are %d records", len(reads))
	}
	f.node.Conn.Close()
	if _, err := f.ledger.ListReads(ctx, &stelev1.ListReadsRequest{}); status.Code(err) != codes.Unavailable {
		t.Errorf("without a connection: %v, want UNAVAILABLE", err)
	}
}

func TestListReads_Permissions(t *testing.T) {
	f := startRecorded(t)
	f.setPolicy(t, "acme", `{"record":[""]}`)
	f.commit(t, f.as(t, "acme", identity.Writer), set("a", "1"))
	if _, err := f.config.Get(f.as(t, "acme", identity.Reader), &stelev1.GetRequest{Key: "a"}); err != nil {
		t.Fatal(err)
	}
	operator := f.token(t, identity.Claims{Roles: []identity.Role{identity.Operator}})
	for _, tc := range []struct {
		name string
		ctx  context.Context
		want codes.Code
		own  int // records that it gets
	}{
		{"no token", t.Context(), codes.Unauthenticated, 0},
		{"a reader", f.as(t, "acme", identity.Reader), codes.PermissionDenied, 0},
		{"a writer", f.as(t, "acme", identity.Writer), codes.PermissionDenied, 0},
		{"an auditor", f.as(t, "acme", identity.Auditor), codes.OK, 1},
		{"an admin", f.as(t, "acme", identity.Admin), codes.OK, 1},
		{"an operator for the tenant", bearer(t.Context(), operator, "as-tenant", "acme"), codes.OK, 1},
		{"an operator for no tenant", bearer(t.Context(), operator), codes.InvalidArgument, 0},
		{"another tenant's auditor", f.as(t, "other", identity.Auditor), codes.OK, 0},
		{"another tenant's auditor with a header", bearer(t.Context(), f.token(t, identity.Claims{Tenant: "other", Roles: []identity.Role{identity.Auditor}}), "as-tenant", "acme"), codes.PermissionDenied, 0},
		{"a tenant whose name begins with it", f.as(t, "acme-2", identity.Auditor), codes.OK, 0},
	} {
		resp, err := f.ledger.ListReads(tc.ctx, &stelev1.ListReadsRequest{})
		if status.Code(err) != tc.want || len(resp.GetReads()) != tc.own {
			t.Errorf("%s: %d records, %v; want %d, %s", tc.name, len(resp.GetReads()), err, tc.own, tc.want)
		}
	}
}

func TestListReads_TimeAndPages(t *testing.T) {
	f := startRecorded(t)
	f.setPolicy(t, "acme", `{"record":[""]}`)
	ctx := f.as(t, "acme", identity.Auditor)
	const total = 7
	marks := []time.Time{time.Now()} // before each read, and after the last
	for i := range total {
		f.read(t, ctx, &stelev1.ReadRequest{Keys: []string{fmt.Sprint("k", i)}})
		// The journal's clock is this machine's, but its readings may be equal.
		for !time.Now().After(marks[i].Add(time.Microsecond)) {
		}
		marks = append(marks, time.Now())
	}
	at := func(i int) *timestamppb.Timestamp {
		if i < 0 {
			return nil
		}
		return timestamppb.New(marks[i])
	}
	for _, tc := range []struct{ since, until, first, count int }{
		{-1, -1, 0, total},
		{0, total, 0, total},
		{3, -1, 3, 4},
		{-1, 3, 0, 3},
		{2, 5, 2, 3},
		{total, -1, 0, 0},
		{-1, 0, 0, 0},
	} {
		var got []string
		req := &stelev1.ListReadsRequest{Since: at(tc.since), Until: at(tc.until), PageSize: 2}
		for pages := 1; ; pages++ {
			resp, err := f.ledger.ListReads(ctx, req)
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range resp.Reads {
				got = append(got, r.Keys...)
			}
			if len(resp.Reads) > 2 {
				t.Errorf("a page of %d", len(resp.Reads))
			}
			if req.PageToken = resp.NextPageToken; req.PageToken == "" {
				if want := max(1, (tc.count+1)/2); pages != want {
					t.Errorf("since %d until %d: %d pages, want %d", tc.since, tc.until, pages, want)
				}
				break
			}
		}
		var want []string
		for i := range tc.count { // newest first
			want = append(want, fmt.Sprint("k", tc.first+tc.count-1-i))
		}
		if !slices.Equal(got, want) {
			t.Errorf("since %d until %d: %q, want %q", tc.since, tc.until, got, want)
		}
	}
	for name, req := range map[string]*stelev1.ListReadsRequest{
		"since":      {Since: &timestamppb.Timestamp{Nanos: -1}},
		"until":      {Since: at(3), Until: at(3)},
		"page_token": {PageToken: "x"},
		"page_size":  {PageSize: 1001},
	} {
		if _, err := f.ledger.ListReads(ctx, req); status.Code(err) != codes.InvalidArgument || field(err) != name {
			t.Errorf("a bad %s: %v", name, err)
		}
	}
}
