package gateway_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stelehq/stele/internal/gateway"
	"github.com/stelehq/stele/internal/gateway/gatewaytest"
	"github.com/stelehq/stele/internal/gateway/identity"
	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/ledgertest"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// fixture is a gateway on a real connection, with a ledger of its own.
type fixture struct {
	node    *ledgertest.Node
	gateway *gateway.Gateway
	issuer  *gatewaytest.Issuer
	conn    *grpc.ClientConn
	config  stelev1.ConfigClient
	ledger  stelev1.LedgerClient
}

func start(t testing.TB, change ...func(*gateway.Config)) *fixture {
	t.Helper()
	g := gatewaytest.Start(t, func(_ *ledgertest.Node, cfg *gateway.Config) {
		for _, c := range change {
			c(cfg)
		}
	})
	f := &fixture{node: g.Node, gateway: g.Gateway, issuer: g.Issuer, conn: g.Dial(t)}
	f.config, f.ledger = stelev1.NewConfigClient(f.conn), stelev1.NewLedgerClient(f.conn)
	return f
}

func (f *fixture) token(t testing.TB, c identity.Claims) string { return f.issuer.Token(t, c) }

// as is a context of a caller with these roles in the tenant.
func (f *fixture) as(t testing.TB, tenant ledger.Tenant, roles ...identity.Role) context.Context {
	return bearer(t.Context(), f.token(t, identity.Claims{Tenant: tenant, Roles: roles}))
}

func bearer(ctx context.Context, token string, kv ...string) context.Context {
	return metadata.AppendToOutgoingContext(ctx, append([]string{"authorization", "Bearer " + token}, kv...)...)
}

func set(kv ...string) *stelev1.CommitRequest {
	req := &stelev1.CommitRequest{}
	for i := 0; i < len(kv); i += 2 {
		req.Changes = append(req.Changes, &stelev1.Change{Key: kv[i], Value: kv[i+1]})
	}
	return req
}

func (f *fixture) commit(t testing.TB, ctx context.Context, req *stelev1.CommitRequest) *stelev1.CommitResponse {
	t.Helper()
	resp, err := f.ledger.Commit(ctx, req)
	if err != nil {
		t.Fatal(err)
	}
	return resp
}

func TestPermissions_RolesAndMethods(t *testing.T) {
	f := startRecorded(t, func(c *gateway.Config) { c.Tenants = []ledger.Tenant{"acme", "other", "_system"} })
	f.commit(t, f.as(t, "acme", identity.Writer), set("a", "1"))
	get := func(ctx context.Context) error {
		_, err := f.config.Get(ctx, &stelev1.GetRequest{Key: "a"})
		return err
	}
	write := func(ctx context.Context) error {
		_, err := f.ledger.Commit(ctx, set("b", "1"))
		return err
	}
	restore := func(ctx context.Context) error {
		req := set("b", "1")
		req.Import = &stelev1.Import{Time: timestamppb.Now(), Author: "bob"}
		_, err := f.ledger.Commit(ctx, req)
		return err
	}
	who := func(ctx context.Context) error {
		_, err := f.ledger.GetStatus(ctx, &stelev1.GetStatusRequest{})
		return err
	}
	token := func(c identity.Claims, kv ...string) context.Context {
		return bearer(t.Context(), f.token(t, c), kv...)
	}
	operator := identity.Claims{Roles: []identity.Role{identity.Operator}}
	reader := identity.Claims{Tenant: "acme", Roles: []identity.Role{identity.Reader}}
	writer := identity.Claims{Tenant: "acme", Roles: []identity.Role{identity.Writer}}
	stranger := identity.Claims{Tenant: "other", Roles: []identity.Role{identity.Admin}}
	for _, tc := range []struct {
		name string
		ctx  context.Context
		call func(context.Context) error
		want codes.Code
	}{
		{"no token", t.Context(), get, codes.Unauthenticated},
		{"two tokens", bearer(token(reader), "x.y.z"), get, codes.Unauthenticated},
		{"no bearer", metadata.AppendToOutgoingContext(t.Context(), "authorization", "Basic Zm9v"), get, codes.Unauthenticated},
		{"no token at all", bearer(t.Context(), "nonsense"), get, codes.Unauthenticated},
		{"an expired token", token(reader), func(ctx context.Context) error {
			f.issuer.Later.Store(int64(2 * time.Hour))
			defer f.issuer.Later.Store(0)
			return get(ctx)
		}, codes.Unauthenticated},
		{"a reader reads", token(reader), get, codes.OK},
		{"a reader may not write", token(reader), write, codes.PermissionDenied},
		{"an auditor reads", token(identity.Claims{Tenant: "acme", Roles: []identity.Role{identity.Auditor}}), get, codes.OK},
		{"an auditor may not write", token(identity.Claims{Tenant: "acme", Roles: []identity.Role{identity.Auditor}}), write, codes.PermissionDenied},
		{"a token without roles", token(identity.Claims{Tenant: "acme"}), get, codes.PermissionDenied},
		{"a writer writes", token(writer), write, codes.OK},
		{"a writer may not set time and author", token(writer), restore, codes.PermissionDenied},
		{"an admin may", token(identity.Claims{Tenant: "acme", Roles: []identity.Role{identity.Admin}}), restore, codes.OK},
		{"another tenant's token does not see the key", token(stranger), get, codes.NotFound},
		{"another tenant's token with a header", token(stranger, "as-tenant", "acme"), get, codes.PermissionDenied},
		{"its own tenant in the header", token(reader, "as-tenant", "acme"), get, codes.OK},
		{"an operator without a tenant", token(operator), get, codes.InvalidArgument},
		{"an operator for a tenant", token(operator, "as-tenant", "acme"), get, codes.OK},
		{"an operator for two", token(operator, "as-tenant", "acme", "as-tenant", "other"), get, codes.InvalidArgument},
		{"an operator for a tenant with a bad name", token(operator, "as-tenant", "../acme"), get, codes.InvalidArgument},
		{"an operator for the ledger's own tenant", token(operator, "as-tenant", "_system"), write, codes.OK},
		{"a tenant that this gateway does not serve", token(operator, "as-tenant", "elsewhere"), get, codes.FailedPrecondition},
		{"an operator asks for the status without a tenant", token(operator), who, codes.OK},
		{"the status without a token", t.Context(), who, codes.Unauthenticated},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if err := tc.call(tc.ctx); status.Code(err) != tc.want {
				t.Errorf("%v, want %s", err, tc.want)
			}
		})
	}
}

// field is the first field that an error blames.
func field(err error) string {
	for _, d := range status.Convert(err).Details() {
		if bad, ok := d.(*errdetails.BadRequest); ok {
			return bad.FieldViolations[0].Field
		}
	}
	return ""
}

func TestRequests_Invalid(t *testing.T) {
	f := start(t)
	ctx := f.as(t, "acme", identity.Admin)
	f.commit(t, ctx, set("there", "1"))
	commit := func(req *stelev1.CommitRequest) func() error {
		return func() error { _, err := f.ledger.Commit(ctx, req); return err }
	}
	get := func(req *stelev1.GetRequest) func() error {
		return func() error { _, err := f.config.Get(ctx, req); return err }
	}
	many := &stelev1.CommitRequest{}
	for i := range ledger.MaxChanges + 1 {
		many.Changes = append(many.Changes, &stelev1.Change{Key: fmt.Sprint("k", i), Value: "1"})
	}
	large := &stelev1.CommitRequest{}
	for i := range 9 {
		large.Changes = append(large.Changes, &stelev1.Change{Key: fmt.Sprint("k", i), Value: `"` + strings.Repeat("x", 500<<10) + `"`})
	}
	expect := func(key string, rev uint64) *stelev1.CommitRequest {
		req := set("x", "1")
		req.Preconditions = []*stelev1.Precondition{{Key: key, Revision: rev}}
		return req
	}
	both := set("x", "1")
	both.Changes[0].Delete = true
	for _, tc := range []struct {
		name  string
		call  func() error
		code  codes.Code
		field string // that is blamed
		text  string // that the message holds
	}{
		{"empty key", commit(set("", "1")), codes.InvalidArgument, "commit", ""},
		{"dots", commit(set("a/../b", "1")), codes.InvalidArgument, "changes[0].key", `segment ".."`},
		{"one dot", commit(set("./b", "1")), codes.InvalidArgument, "changes[0].key", `segment "."`},
		{"empty segment", commit(set("a//b", "1")), codes.InvalidArgument, "changes[0].key", `segment ""`},
		{"slash first", commit(set("/a", "1")), codes.InvalidArgument, "changes[0].key", `segment ""`},
		{"slash last", commit(set("a/", "1")), codes.InvalidArgument, "changes[0].key", `segment ""`},
		{"control byte", commit(set("a\x00b", "1")), codes.InvalidArgument, "changes[0].key", "character 2"},
		{"star", commit(set("a/*", "1")), codes.InvalidArgument, "changes[0].key", "character 3"},
		{"greater", commit(set("a/>", "1")), codes.InvalidArgument, "changes[0].key", "character 3"},
		{"percent", commit(set("a/%2e", "1")), codes.InvalidArgument, "changes[0].key", "character 3"},
		{"another script", commit(set("ключ", "1")), codes.InvalidArgument, "changes[0].key", "character 1"},
		{"10 kB key", commit(set(strings.Repeat("k", 10_000), "1")), codes.InvalidArgument, "changes[0].key", "512"},
		{"second of two keys", commit(set("a", "1", "b b", "1")), codes.InvalidArgument, "changes[1].key", "character 2"},
		{"no JSON", commit(set("a", "{")), codes.InvalidArgument, "changes[0].value", "not JSON"},
		{"two values", commit(set("a", "1 2")), codes.InvalidArgument, "changes[0].value", "not JSON"},
		{"a name twice", commit(set("a", `{"x":1,"x":2}`)), codes.InvalidArgument, "changes[0].value", "name twice"},
		{"value too big", commit(set("a", `"`+strings.Repeat("x", ledger.MaxValue)+`"`)), codes.InvalidArgument, "changes[0].value", "524288"},
		{"set and delete", commit(both), codes.InvalidArgument, "changes[0]", "one of the two"},
		{"neither", commit(set("a", "")), codes.InvalidArgument, "changes[0]", "one of the two"},
		{"nothing", commit(&stelev1.CommitRequest{}), codes.InvalidArgument, "changes", ""},
		{"too many changes", commit(many), codes.InvalidArgument, "changes", "10000"},
		{"too many bytes", commit(large), codes.InvalidArgument, "changes", "3670016"},
		{"a key twice", commit(set("a", "1", "a", "2")), codes.InvalidArgument, "changes[1].key", "twice"},
		{"an absent key that is there", commit(expect("there", 0)), codes.FailedPrecondition, "", "there: expected absent, found @1"},
		{"a key at another revision", commit(expect("there", 7)), codes.FailedPrecondition, "", "there: expected @7, found @1"},
		{"a key that is not there", commit(expect("nowhere", 7)), codes.FailedPrecondition, "", "nowhere: expected @7, found absent"},
		{"get: hostile key", get(&stelev1.GetRequest{Key: "a/../b"}), codes.InvalidArgument, "key", "segment"},
		{"get: unknown key", get(&stelev1.GetRequest{Key: "nowhere"}), codes.NotFound, "", "nowhere is not set in acme@1"},
		{"get: revision in the future", get(&stelev1.GetRequest{Key: "there", At: atRevision(99)}), codes.OutOfRange, "", "the head is acme@1"},
		{"get: revision 0", get(&stelev1.GetRequest{Key: "there", At: atRevision(0)}), codes.NotFound, "", "there is not set in acme@0"},
		{"get: neither a revision nor a time", get(&stelev1.GetRequest{Key: "there", At: &stelev1.At{}}), codes.InvalidArgument, "at.point", ""},
		{"get: before the first commit", get(&stelev1.GetRequest{Key: "there", At: &stelev1.At{Point: &stelev1.At_Time{Time: timestamppb.New(time.Unix(0, 0))}}}),
			codes.OutOfRange, "", "its first is of"},
		{"get: impossible time", get(&stelev1.GetRequest{Key: "there", At: &stelev1.At{Point: &stelev1.At_Time{Time: &timestamppb.Timestamp{Nanos: -1}}}}),
			codes.InvalidArgument, "at.time", ""},
		{"list: hostile prefix", func() error { _, err := f.config.List(ctx, &stelev1.ListRequest{Prefix: "a>"}); return err }, codes.InvalidArgument, "prefix", "character 2"},
		{"list: made-up page", func() error { _, err := f.config.List(ctx, &stelev1.ListRequest{PageToken: "xyz"}); return err }, codes.InvalidArgument, "page_token", ""},
		{"batch: second key", func() error {
			_, err := f.config.BatchGet(ctx, &stelev1.BatchGetRequest{Keys: []string{"a", "b\n"}})
			return err
		}, codes.InvalidArgument, "keys[1]", "character 2"},
		{"batch: no keys", func() error { _, err := f.config.BatchGet(ctx, &stelev1.BatchGetRequest{}); return err }, codes.InvalidArgument, "keys", "1 to 1000"},
		{"batch: too many keys", func() error {
			_, err := f.config.BatchGet(ctx, &stelev1.BatchGetRequest{Keys: slices.Repeat([]string{"a"}, 1001)})
			return err
		}, codes.InvalidArgument, "keys", "1 to 1000"},
		{"batch: a key too long", func() error {
			_, err := f.config.BatchGet(ctx, &stelev1.BatchGetRequest{Keys: []string{strings.Repeat("a", 513)}})
			return err
		}, codes.InvalidArgument, "keys[0]", "513 bytes"},
		{"commit: unknown revision", func() error {
			_, err := f.ledger.GetCommit(ctx, &stelev1.GetCommitRequest{Commit: &stelev1.GetCommitRequest_Revision{Revision: 5}})
			return err
		}, codes.OutOfRange, "", "acme@5 is in the future"},
		{"commit: unknown id", func() error {
			_, err := f.ledger.GetCommit(ctx, &stelev1.GetCommitRequest{Commit: &stelev1.GetCommitRequest_Id{Id: []byte("nowhere")}})
			return err
		}, codes.NotFound, "", ""},
		{"commit: which", func() error { _, err := f.ledger.GetCommit(ctx, &stelev1.GetCommitRequest{}); return err }, codes.InvalidArgument, "commit", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			err := tc.call()
			if status.Code(err) != tc.code || !strings.Contains(status.Convert(err).Message(), tc.text) {
				t.Errorf("%v\nwant %s with %q", err, tc.code, tc.text)
			}
			if got := field(err); got != tc.field && tc.name != "empty key" {
				t.Errorf("it blames %q, want %q", got, tc.field)
			}
			if text := status.Convert(err).Message(); len(text) > 1000 {
				t.Errorf("the message has %d bytes", len(text))
			}
		})
	}
	if head, err := f.ledger.GetHead(ctx, &stelev1.GetHeadRequest{}); err != nil || head.Snapshot.Head != 1 {
		t.Errorf("after all that the head is %v, %v; want @1", head, err)
	}
}

func atRevision(r uint64) *stelev1.At {
	return &stelev1.At{Point: &stelev1.At_Revision{Revision: r}}
}

func TestCommit_ConflictNamesExpectedAndFound(t *testing.T) {
	f := start(t)
	ctx := f.as(t, "acme", identity.Writer)
	f.commit(t, ctx, set("a", "1"))
	req := set("a", "2")
	req.Preconditions = []*stelev1.Precondition{{Key: "a"}, {Key: "b", Revision: 4}}
	_, err := f.ledger.Commit(ctx, req)
	for _, d := range status.Convert(err).Details() {
		if fail, ok := d.(*errdetails.PreconditionFailure); ok {
			if len(fail.Violations) != 2 || fail.Violations[0].Subject != "a" || fail.Violations[1].Subject != "b" {
				t.Errorf("violations %v", fail.Violations)
			}
			return
		}
	}
	t.Errorf("no PreconditionFailure in %v", err)
}

func TestJournal_UnreachableReadsContinue(t *testing.T) {
	t.Parallel() // a ledger waits ten seconds for its journal
	f := start(t)
	ctx := f.as(t, "acme", identity.Writer)
	f.commit(t, ctx, set("a", "1"))
	f.node.Conn.Close()
	if _, err := f.ledger.Commit(ctx, set("a", "2")); status.Code(err) != codes.Unavailable {
		t.Errorf("Commit without a journal: %v, want UNAVAILABLE", err)
	}
	got, err := f.config.Get(ctx, &stelev1.GetRequest{Key: "a"})
	if err != nil || got.Entry.Value != "1" {
		t.Fatalf("Get without a journal = %v, %v", got, err)
	}
	before := got.Snapshot.Age.AsDuration()
	if got, err = f.config.Get(ctx, &stelev1.GetRequest{Key: "a"}); err != nil || got.Snapshot.Age.AsDuration() <= before {
		t.Errorf("age %v, then %v: it must grow", before, got.GetSnapshot().GetAge().AsDuration())
	}
}

func TestCommit_ReadOnlyGatewayNamesTheWriter(t *testing.T) {
	f := start(t, func(c *gateway.Config) { c.Ledger = nil })
	_, err := f.ledger.Commit(f.as(t, "acme", identity.Writer), set("a", "1"))
	if status.Code(err) != codes.FailedPrecondition || !strings.Contains(err.Error(), "role ledger") {
		t.Errorf("%v", err)
	}
}

func TestGet_MinRevisionAtAnotherGateway(t *testing.T) {
	f := start(t)
	ctx := f.as(t, "acme", identity.Writer)
	done := make(chan error, 1)
	go func() {
		_, err := f.config.Get(ctx, &stelev1.GetRequest{Key: "a", MinRevision: 3})
		done <- err
	}()
	for i := 1; i <= 3; i++ {
		f.commit(t, ctx, set("a", fmt.Sprint(i)))
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
	short, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancel()
	if _, err := f.config.Get(short, &stelev1.GetRequest{Key: "a", MinRevision: 99}); status.Code(err) != codes.DeadlineExceeded {
		t.Errorf("a revision that does not come: %v", err)
	}
}

func TestList_PagesAreOfOneRevision(t *testing.T) {
	f := start(t)
	ctx := f.as(t, "acme", identity.Writer)
	for i := range 30 {
		f.commit(t, ctx, set(fmt.Sprintf("a/%02d", i), fmt.Sprint(i)))
	}
	f.commit(t, ctx, set("b", "1"))
	var got []string
	req := &stelev1.ListRequest{Prefix: "a/", PageSize: 7}
	for page := 0; ; page++ {
		resp, err := f.config.List(ctx, req)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range resp.Entries {
			got = append(got, e.Key+"="+e.Value)
		}
		if resp.Snapshot.Revision != 31 {
			t.Errorf("page %d is of revision %d", page, resp.Snapshot.Revision)
		}
		// Every page sees a ledger that has moved on.
		f.commit(t, ctx, &stelev1.CommitRequest{Changes: []*stelev1.Change{{Key: fmt.Sprintf("a/%02d", 29-page), Delete: true}, {Key: fmt.Sprintf("a/%02d.new", page), Value: "1"}}})
		if req.PageToken = resp.NextPageToken; req.PageToken == "" {
			break
		}
	}
	if len(got) != 30 || got[29] != "a/29=29" {
		t.Errorf("%d keys, the last %s", len(got), got[len(got)-1])
	}
}

func TestRead_ContinuesAfterAnInvalidRequest(t *testing.T) {
	f := start(t)
	ctx := f.as(t, "acme", identity.Writer)
	f.commit(t, ctx, set("a", "1", "b", "2"))
	stream, err := f.config.Read(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for i, keys := range [][]string{{"a"}, {"../x"}, {"a", "nowhere", "b"}} {
		if err := stream.Send(&stelev1.ReadRequest{Id: uint64(i), Keys: keys}); err != nil {
			t.Fatal(err)
		}
	}
	stream.CloseSend()
	var answers []*stelev1.ReadResponse
	for {
		resp, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		answers = append(answers, resp)
	}
	if len(answers) != 3 {
		t.Fatalf("%d answers", len(answers))
	}
	if e := answers[0].Entries; len(e) != 1 || e[0].Value != "1" {
		t.Errorf("first answer %v", answers[0])
	}
	if answers[1].Error.GetCode() != int32(codes.InvalidArgument) {
		t.Errorf("second answer %v", answers[1])
	}
	if len(answers[2].Entries) != 2 || len(answers[2].Missing) != 1 || answers[2].Missing[0] != "nowhere" {
		t.Errorf("third answer %v", answers[2])
	}
}

func TestCommitStream_StopsAtTheFirstFailure(t *testing.T) {
	f := start(t)
	ctx := f.as(t, "acme", identity.Writer)
	stream, err := f.ledger.CommitStream(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 10 {
		req := set("a", fmt.Sprint(i))
		if i == 6 {
			req.Changes[0].Value = "{"
		}
		if err := stream.Send(&stelev1.CommitStreamRequest{Commit: req}); err != nil && !errors.Is(err, io.EOF) {
			t.Fatal(err)
		}
	}
	stream.CloseSend()
	n := 0
	for ; ; n++ {
		resp, err := stream.Recv()
		if err != nil {
			if status.Code(err) != codes.InvalidArgument || !strings.Contains(fmt.Sprint(status.Convert(err).Details()), `value:"6"`) {
				t.Errorf("%v %v", err, status.Convert(err).Details())
			}
			break
		}
		if resp.Commit.Revision != uint64(n+1) {
			t.Errorf("answer %d is revision %d", n, resp.Commit.Revision)
		}
	}
	if head := f.node.Replica.Head("acme").Revision; n != 6 || head != 6 {
		t.Errorf("%d answers and head %s, want 6 and @6", n, head)
	}
}

func TestStream_EndsWithItsToken(t *testing.T) {
	f := start(t)
	// Tokens have whole seconds: this one lives for one or two.
	ctx := bearer(t.Context(), f.token(t, identity.Claims{Tenant: "acme", Roles: []identity.Role{identity.Reader}, TTL: 2 * time.Second}))
	stream, err := f.config.Watch(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); status.Code(err) != codes.Unauthenticated || !strings.Contains(err.Error(), "expired") {
		t.Errorf("%v", err)
	}
}

func TestListCommits_DescribesEachCommit(t *testing.T) {
	f := start(t)
	ctx := f.as(t, "acme", identity.Writer)
	first := f.commit(t, ctx, &stelev1.CommitRequest{Changes: set("a", "1").Changes, Message: "why"})
	f.commit(t, ctx, &stelev1.CommitRequest{Changes: []*stelev1.Change{{Key: "a", Delete: true}}})
	list, err := f.ledger.ListCommits(ctx, &stelev1.ListCommitsRequest{PageSize: 1})
	if err != nil || len(list.Commits) != 1 || list.Commits[0].Commit.Revision != 2 || list.NextPageToken == "" {
		t.Fatalf("ListCommits = %v, %v", list, err)
	}
	if ch := list.Commits[0].Commit.Changes[0]; !ch.Delete || ch.PreviousRevision != 1 {
		t.Errorf("change %v", ch)
	}
	list, err = f.ledger.ListCommits(ctx, &stelev1.ListCommitsRequest{PageToken: list.NextPageToken})
	if err != nil || len(list.Commits) != 1 || list.Commits[0].Commit.Message != "why" || list.Commits[0].Commit.Author != "alice" {
		t.Fatalf("ListCommits = %v, %v", list, err)
	}
	got, err := f.ledger.GetCommit(ctx, &stelev1.GetCommitRequest{Commit: &stelev1.GetCommitRequest_Id{Id: first.Id[:8]}, Encoded: true})
	if err != nil || got.Info.Commit.Revision != 1 {
		t.Fatalf("GetCommit = %v, %v", got, err)
	}
	if id := ledger.IDOf(got.Info.Encoded); string(id[:]) != string(first.Id) {
		t.Errorf("the stored bytes hash to %s, not %x", id, first.Id)
	}
}
