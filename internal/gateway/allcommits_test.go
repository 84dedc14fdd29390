package gateway_test

import (
	"cmp"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/stelehq/stele/internal/gateway"
	"github.com/stelehq/stele/internal/gateway/identity"
	"github.com/stelehq/stele/internal/gateway/policy"
	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/journal"
	"github.com/stelehq/stele/internal/ledger/replica"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// operator is a context of an operator whose token names no tenant.
func (f *fixture) operator(t testing.TB) context.Context {
	return bearer(t.Context(), f.token(t, identity.Claims{Subject: "olga", Roles: []identity.Role{identity.Operator}}))
}

// change is a change set of one key.
func change(key, value, message string) ledger.ChangeSet {
	return ledger.ChangeSet{Author: "alice", Message: message, Changes: []ledger.Change{{Key: ledger.Key(key), Value: ledger.Value(value)}}}
}

// submit commits change sets of several tenants at the same time, so that they share
// records.
func (f *fixture) submit(t testing.TB, tenants ...ledger.Tenant) {
	t.Helper()
	var pending []*ledger.Pending
	before := f.node.Replica.Position()
	for i, tenant := range tenants {
		p, err := f.node.Ledger.Submit(t.Context(), tenant, change("k", fmt.Sprintf("[%d,%d]", before, i), ""), nil)
		if err != nil {
			t.Fatal(err)
		}
		pending = append(pending, p)
	}
	for _, p := range pending {
		if _, err := p.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

// placeName writes a commit and its place as tests compare them.
func placeName(position uint64, tenant string, revision uint64) string {
	return fmt.Sprintf("%d %s@%d", position, tenant, revision)
}

func places(commits []*stelev1.PlacedCommit) (out []string) {
	for _, c := range commits {
		out = append(out, placeName(c.Position, c.Info.Commit.Tenant, c.Info.Commit.Revision))
	}
	return out
}

// journalPlaces are the commits of the journal after a position, in its order.
func (f *fixture) journalPlaces(t testing.TB, after ledger.Sequence) (out []string) {
	t.Helper()
	last, err := f.node.Journal.Last(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for seq := after + 1; seq <= last; seq++ {
		m, err := f.node.Journal.Read(t.Context(), seq)
		if err != nil {
			t.Fatal(err)
		}
		commits, err := ledger.DecodeRecord(m.Record)
		if err != nil {
			t.Fatal(err)
		}
		slices.SortStableFunc(commits, func(a, b *ledger.Commit) int { return cmp.Compare(a.Tenant, b.Tenant) })
		for _, c := range commits {
			out = append(out, placeName(uint64(seq), string(c.Tenant), uint64(c.Revision)))
		}
	}
	return out
}

// listAll reads all pages.
func (f *fixture) listAll(t testing.TB, ctx context.Context, req *stelev1.ListAllCommitsRequest, between func()) (commits []*stelev1.PlacedCommit) {
	t.Helper()
	for {
		resp, err := f.ledger.ListAllCommits(ctx, req)
		if err != nil {
			t.Fatal(err)
		}
		commits = append(commits, resp.Commits...)
		if req.PageToken = resp.NextPageToken; req.PageToken == "" {
			return commits
		}
		between()
	}
}

// takeAll receives from a watch of all tenants until it has n commits.
func takeAll(t testing.TB, stream stelev1.Ledger_WatchAllCommitsClient, n int) (commits []*stelev1.PlacedCommit, last *stelev1.WatchAllCommitsResponse) {
	t.Helper()
	for last == nil || len(commits) < n {
		resp, err := stream.Recv()
		if err != nil {
			t.Fatal(err)
		}
		commits, last = append(commits, resp.Commits...), resp
	}
	return commits, last
}

func (f *fixture) watchAll(t testing.TB, ctx context.Context, req *stelev1.WatchAllCommitsRequest) stelev1.Ledger_WatchAllCommitsClient {
	t.Helper()
	stream, err := f.ledger.WatchAllCommits(ctx, req)
	if err != nil {
		t.Fatal(err)
	}
	return stream
}

// watchError is the error that a watch of all tenants ends with.
func (f *fixture) watchError(t testing.TB, ctx context.Context, req *stelev1.WatchAllCommitsRequest) error {
	t.Helper()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	_, err := f.watchAll(t, ctx, req).Recv()
	return err
}

// startHalfFiled is a gateway on a replica whose file holds the first half of the
// journal; the other half is in memory.
func startHalfFiled(t testing.TB) *fixture {
	t.Helper()
	writer := startRecorded(t)
	path := filepath.Join(t.TempDir(), "replica.db")
	open := func() *replica.Replica {
		r, err := replica.Open(replica.Config{Path: path})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { r.Close() })
		if err := r.Follow(writer.node.Journal); err != nil {
			t.Fatal(err)
		}
		return r
	}
	write := func() {
		for range 8 {
			writer.submit(t, "delta", "alpha", "charlie", "delta", "bravo", "alpha")
		}
	}
	write()
	r := open()
	until(t, func() bool { return r.Ready() && r.Position() == writer.node.Replica.Position() })
	if err := r.Close(); err != nil { // writes the file
		t.Fatal(err)
	}
	write()
	r = open()
	until(t, func() bool { return r.Ready() && r.Position() == writer.node.Replica.Position() })
	f := start(t, func(c *gateway.Config) {
		c.Replica = r
		c.ReadLog = func() (policy.ReadLog, error) {
			return writer.node.Journal.OpenAuxStream(context.Background(), journal.Reads)
		}
	})
	f.node = writer.node
	return f
}

func TestListAllCommits_OrderOfTheJournal(t *testing.T) {
	f := startHalfFiled(t)
	want := f.journalPlaces(t, 0)
	slices.Reverse(want)
	if len(want) != 96 {
		t.Fatalf("the journal holds %d commits", len(want))
	}
	for _, size := range []uint32{1, 2, 5, 50, 1000} {
		got := f.listAll(t, f.operator(t), &stelev1.ListAllCommitsRequest{PageSize: size}, func() {})
		if d := gocmp.Diff(want, places(got)); d != "" {
			t.Errorf("pages of %d (-want +got):\n%s", size, d)
		}
	}
}

func TestListAllCommits_PagesWhileOthersWrite(t *testing.T) {
	f := startRecorded(t)
	for range 5 {
		f.submit(t, "zeta", "alpha", "mike", "alpha")
	}
	want := f.journalPlaces(t, 0)
	slices.Reverse(want)
	got := f.listAll(t, f.operator(t), &stelev1.ListAllCommitsRequest{PageSize: 3}, func() { f.submit(t, "zeta", "alpha") })
	if d := gocmp.Diff(want, places(got)); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
}

func TestListAllCommits_Filters(t *testing.T) {
	f := startRecorded(t)
	begun := time.Now()
	commit := func(tenant ledger.Tenant, author, message string, imported time.Time) {
		t.Helper()
		set := change("k", fmt.Sprintf("%q", message+author), message)
		set.Author = author
		if !imported.IsZero() {
			set.Import = &ledger.Import{Time: imported, Importer: "ida"}
		}
		if _, err := f.node.Ledger.Commit(t.Context(), tenant, set); err != nil {
			t.Fatal(err)
		}
	}
	commit("old", "Ann", "from another system", begun.Add(-48*time.Hour))
	commit("acme", "Ann", "a larger pool", time.Time{})
	commit("other", "bob", "A Larger limit", time.Time{})
	commit("acme", "Joanne", "beta off", time.Time{})
	commit("old2", "ann", "also imported", begun.Add(-24*time.Hour))
	for name, tc := range map[string]struct {
		req  *stelev1.ListAllCommitsRequest
		want []string
	}{
		"all":     {&stelev1.ListAllCommitsRequest{}, []string{"5 old2@1", "4 acme@2", "3 other@1", "2 acme@1", "1 old@1"}},
		"author":  {&stelev1.ListAllCommitsRequest{Author: "ANN"}, []string{"5 old2@1", "4 acme@2", "2 acme@1", "1 old@1"}},
		"message": {&stelev1.ListAllCommitsRequest{Grep: "larger"}, []string{"3 other@1", "2 acme@1"}},
		"both":    {&stelev1.ListAllCommitsRequest{Author: "ann", Grep: "LARGER"}, []string{"2 acme@1"}},
		"neither": {&stelev1.ListAllCommitsRequest{Author: "zoe"}, nil},
		"since":   {&stelev1.ListAllCommitsRequest{Since: timestamppb.New(begun.Add(-time.Minute))}, []string{"4 acme@2", "3 other@1", "2 acme@1"}},
		"until":   {&stelev1.ListAllCommitsRequest{Until: timestamppb.New(begun.Add(-30 * time.Hour))}, []string{"1 old@1"}},
		"range": {&stelev1.ListAllCommitsRequest{Since: timestamppb.New(begun.Add(-30 * time.Hour)), Until: timestamppb.New(begun.Add(-20 * time.Hour))},
			[]string{"5 old2@1"}},
	} {
		for _, size := range []uint32{0, 1} {
			req := proto.CloneOf(tc.req)
			req.PageSize = size
			if d := gocmp.Diff(tc.want, places(f.listAll(t, f.operator(t), req, func() {}))); d != "" {
				t.Errorf("%s in pages of %d (-want +got):\n%s", name, size, d)
			}
		}
	}

	first, err := f.ledger.ListAllCommits(f.operator(t), &stelev1.ListAllCommitsRequest{PageSize: 1, Grep: "larger"})
	if err != nil {
		t.Fatal(err)
	}
	encode := base64.RawURLEncoding.EncodeToString
	for name, req := range map[string]*stelev1.ListAllCommitsRequest{
		"token of another filter": {PageSize: 1, Grep: "beta", PageToken: first.NextPageToken},
		"invented token":          {PageToken: "xyz"},
		"token without a seal":    {PageToken: encode([]byte("2,0"))},
		"token of position 0":     {PageToken: encode([]byte("0,0:"))},
		"since after until":       {Since: timestamppb.New(begun), Until: timestamppb.New(begun.Add(-time.Second))},
		"impossible time":         {Since: &timestamppb.Timestamp{Nanos: -1}},
		"page too large":          {PageSize: 1001},
	} {
		if _, err := f.ledger.ListAllCommits(f.operator(t), req); status.Code(err) != codes.InvalidArgument {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestListAllCommits_ValuesAreRedactedOrOmitted(t *testing.T) {
	f := startSecret(t)
	writer := f.as(t, "acme", identity.Writer)
	f.commit(t, writer, set("s/key", `"`+canary+`"`, "open", `"`+shown+`"`))
	values := func(commits []*stelev1.PlacedCommit) (all []string) {
		for _, c := range commits {
			for _, ch := range c.Info.Commit.Changes {
				all = append(all, ch.Value)
			}
		}
		return all
	}
	for _, tc := range []struct {
		omit bool
		want []string
	}{{false, []string{`"***"`, `"` + shown + `"`}}, {true, []string{"", ""}}} {
		list, err := f.ledger.ListAllCommits(f.operator(t), &stelev1.ListAllCommitsRequest{OmitValues: tc.omit})
		if err != nil {
			t.Fatal(err)
		}
		if got := values(list.Commits); !slices.Equal(got, tc.want) {
			t.Errorf("listed values %q, want %q", got, tc.want)
		}
		watched, _ := takeAll(t, f.watchAll(t, f.operator(t), &stelev1.WatchAllCommitsRequest{AfterPosition: proto.Uint64(0), OmitValues: tc.omit}), 1)
		if got := values(watched); !slices.Equal(got, tc.want) {
			t.Errorf("watched values %q, want %q", got, tc.want)
		}
	}
}

func TestWatchAllCommits_ResumesFromEveryPosition(t *testing.T) {
	f := startHalfFiled(t)
	last := f.node.Replica.Position()
	epoch := f.node.Journal.Epoch()
	for after := ledger.Sequence(0); after <= last; after++ {
		want := f.journalPlaces(t, after)
		ctx, cancel := context.WithCancel(f.operator(t))
		got, end := takeAll(t, f.watchAll(t, ctx, &stelev1.WatchAllCommitsRequest{AfterPosition: proto.Uint64(uint64(after)), Epoch: epoch[:]}), len(want))
		cancel()
		if d := gocmp.Diff(want, places(got)); d != "" {
			t.Fatalf("after %d (-want +got):\n%s", after, d)
		}
		if end.Position != uint64(last) || !slices.Equal(end.Epoch, epoch[:]) || end.Age == nil {
			t.Errorf("the last response is of position %d, epoch %x, age %v", end.Position, end.Epoch, end.Age)
		}
	}
}

func TestWatchAllCommits_NewCommitsOnly(t *testing.T) {
	f := startRecorded(t)
	f.submit(t, "acme", "other")
	before := f.node.Replica.Position()
	stream := f.watchAll(t, f.operator(t), &stelev1.WatchAllCommitsRequest{})
	first, err := stream.Recv()
	if err != nil || len(first.Commits) > 0 || first.Position != uint64(before) {
		t.Fatalf("the first response is %v, %v", first, err)
	}
	f.submit(t, "zeta", "alpha", "acme")
	want := f.journalPlaces(t, before)
	got, _ := takeAll(t, stream, len(want))
	if d := gocmp.Diff(want, places(got)); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
}

// TestWatchAllCommits_LargeHistory sends more than fits one response, and a record that
// does.
func TestWatchAllCommits_LargeHistory(t *testing.T) {
	f := startRecorded(t)
	large := `"` + strings.Repeat("x", 400<<10) + `"`
	for i := range 7 {
		if _, err := f.node.Ledger.Commit(t.Context(), ledger.Tenant(fmt.Sprint("t", i%3)), change("k", fmt.Sprintf("[%d,%s]", i, large), "")); err != nil {
			t.Fatal(err)
		}
	}
	f.submit(t, "a", "b", "c")
	want := f.journalPlaces(t, 0)
	stream := f.watchAll(t, f.operator(t), &stelev1.WatchAllCommitsRequest{AfterPosition: proto.Uint64(0)})
	var got []string
	for len(got) < len(want) {
		resp, err := stream.Recv()
		if err != nil {
			t.Fatal(err)
		}
		if size := proto.Size(resp); size > 1<<20+1<<10 {
			t.Errorf("a response has %d bytes", size)
		}
		got = append(got, places(resp.Commits)...)
	}
	if d := gocmp.Diff(want, got); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
	if list := f.listAll(t, f.operator(t), &stelev1.ListAllCommitsRequest{PageSize: 1000}, func() {}); len(list) != len(want) {
		t.Errorf("%d commits are listed, want %d", len(list), len(want))
	}
}

// TestWatchAllCommits_SlowClient leaves a stream unread: neither writers nor other
// streams wait for it, and it loses nothing.
func TestWatchAllCommits_SlowClient(t *testing.T) {
	f := startRecorded(t)
	large := `"` + strings.Repeat("x", 500<<10) + `"`
	write := func() {
		for i := range 8 {
			if _, err := f.node.Ledger.Commit(t.Context(), ledger.Tenant(fmt.Sprint("t", i%3)), change("k", fmt.Sprintf("[%d,%s]", i, large), "")); err != nil {
				t.Fatal(err)
			}
		}
	}
	write()
	request := &stelev1.WatchAllCommitsRequest{AfterPosition: proto.Uint64(0)}
	slow, fast := f.watchAll(t, f.operator(t), request), f.watchAll(t, f.operator(t), request)
	takeAll(t, fast, 8)
	write()
	takeAll(t, fast, 8)
	got, _ := takeAll(t, slow, 16)
	if d := gocmp.Diff(f.journalPlaces(t, 0), places(got)); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
}

// TestListAllCommits_BoundedCall finds the oldest commit of more than one call looks at.
func TestListAllCommits_BoundedCall(t *testing.T) {
	f := startRecorded(t)
	if _, err := f.node.Ledger.Commit(t.Context(), "acme", change("k", "1", "the first")); err != nil {
		t.Fatal(err)
	}
	const others = 20_100
	var pending []*ledger.Pending
	for i := range others {
		p, err := f.node.Ledger.Submit(t.Context(), ledger.Tenant(fmt.Sprint("t", i%7)), change("k", fmt.Sprint(i), ""), nil)
		if err != nil {
			t.Fatal(err)
		}
		pending = append(pending, p)
	}
	for _, p := range pending {
		if _, err := p.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	calls := 1
	got := f.listAll(t, f.operator(t), &stelev1.ListAllCommitsRequest{Grep: "FIRST"}, func() { calls++ })
	if calls != 2 || len(got) != 1 || got[0].Info.Commit.Tenant != "acme" {
		t.Errorf("%d calls found %v", calls, places(got))
	}
}

func TestWatchAllCommits_IdleStreamReportsItsPosition(t *testing.T) {
	t.Parallel() // it waits ten seconds
	f := startRecorded(t)
	f.submit(t, "acme")
	stream := f.watchAll(t, f.operator(t), &stelev1.WatchAllCommitsRequest{AfterPosition: proto.Uint64(1)})
	for range 2 {
		resp, err := stream.Recv()
		if err != nil || len(resp.Commits) > 0 || resp.Position != 1 || resp.Age == nil {
			t.Fatalf("%v, %v", resp, err)
		}
	}
}

func TestWatchAllCommits_HistoryChanged(t *testing.T) {
	f := startRecorded(t)
	f.submit(t, "acme")
	for name, req := range map[string]*stelev1.WatchAllCommitsRequest{
		"another epoch":                      {AfterPosition: proto.Uint64(1), Epoch: make([]byte, 8)},
		"a position after the journal":       {AfterPosition: proto.Uint64(99)},
		"the largest position that there is": {AfterPosition: proto.Uint64(1<<64 - 1)},
	} {
		err := f.watchError(t, f.operator(t), req)
		if status.Code(err) != codes.FailedPrecondition || reason(err) != "HISTORY_CHANGED" {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestAllCommits_OperatorsOnly(t *testing.T) {
	f := startRecorded(t)
	f.submit(t, "acme", "other")
	for name, claims := range map[string]identity.Claims{
		"admin":                  {Tenant: "acme", Roles: []identity.Role{identity.Admin}},
		"auditor":                {Tenant: "acme", Roles: []identity.Role{identity.Auditor}},
		"operator with prefixes": {Roles: []identity.Role{identity.Operator}, Prefixes: []ledger.Pattern{"open/"}},
	} {
		ctx := bearer(t.Context(), f.token(t, claims))
		if resp, err := f.ledger.ListAllCommits(ctx, &stelev1.ListAllCommitsRequest{}); status.Code(err) != codes.PermissionDenied {
			t.Errorf("list by %s: %v, %v", name, resp, err)
		}
		if err := f.watchError(t, ctx, &stelev1.WatchAllCommitsRequest{AfterPosition: proto.Uint64(0)}); status.Code(err) != codes.PermissionDenied {
			t.Errorf("watch by %s: %v", name, err)
		}
	}
}

func TestAllCommits_EachTenantHasARecordOfTheRead(t *testing.T) {
	f := startRecorded(t)
	f.submit(t, "acme", "acme", "other", "own")
	f.commit(t, f.system(t), set("k", "1"))
	own := bearer(t.Context(), f.token(t, identity.Claims{Subject: "olga", Tenant: "own", Roles: []identity.Role{identity.Operator}}))
	// recorded are the new records of all tenants.
	seen := make(map[ledger.Tenant]int)
	recorded := func() (all []string) {
		for _, tenant := range []ledger.Tenant{"acme", "other", "own", ledger.System} {
			reads := f.recorded(t, f.as(t, tenant, identity.Auditor, identity.Operator))
			for _, r := range reads[seen[tenant]:] {
				all = append(all, fmt.Sprintf("%s: %s %s", tenant, r.Subject, formatRead(r)))
			}
			seen[tenant] = len(reads)
		}
		return all
	}
	check := func(what string, want ...string) {
		t.Helper()
		if d := gocmp.Diff(want, recorded()); d != "" {
			t.Errorf("%s (-want +got):\n%s", what, d)
		}
	}
	f.listAll(t, own, &stelev1.ListAllCommitsRequest{}, func() {})
	check("a list", "acme: olga ListAllCommits * @2", "other: olga ListAllCommits * @1")
	f.listAll(t, own, &stelev1.ListAllCommitsRequest{Grep: "no such message"}, func() {})
	check("a list without commits")
	f.setPolicy(t, "own", `{"record":["k"]}`)
	f.listAll(t, own, &stelev1.ListAllCommitsRequest{}, func() {})
	check("a list with a policy of the caller's own tenant",
		"acme: olga ListAllCommits * @2", "other: olga ListAllCommits * @1", "own: olga ListAllCommits * @1")

	stream := f.watchAll(t, own, &stelev1.WatchAllCommitsRequest{})
	if _, err := stream.Recv(); err != nil {
		t.Fatal(err)
	}
	check("a watch without commits")
	f.submit(t, "acme")
	takeAll(t, stream, 1)
	check("a watch", "acme: olga WatchAllCommits * @3")
	f.submit(t, "acme", "other")
	takeAll(t, stream, 2)
	check("a watch that has sent commits of one of them before", "other: olga WatchAllCommits * @2")
}

func TestAllCommits_NothingIsSentThatCannotBeRecorded(t *testing.T) {
	f := startRecorded(t, func(c *gateway.Config) {
		c.ReadLog = func() (policy.ReadLog, error) { return nil, errors.New("the journal is unreachable") }
	})
	f.submit(t, "acme")
	resp, err := f.ledger.ListAllCommits(f.operator(t), &stelev1.ListAllCommitsRequest{})
	if status.Code(err) != codes.Unavailable || reason(err) != "NOT_RECORDED" || resp != nil {
		t.Errorf("list: %v, %v", resp, err)
	}
	if err := f.watchError(t, f.operator(t), &stelev1.WatchAllCommitsRequest{AfterPosition: proto.Uint64(0)}); reason(err) != "NOT_RECORDED" {
		t.Errorf("watch: %v", err)
	}
}
