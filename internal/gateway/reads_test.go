package gateway_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stelehq/stele/internal/gateway"
	"github.com/stelehq/stele/internal/gateway/gatewaytest"
	"github.com/stelehq/stele/internal/gateway/identity"
	"github.com/stelehq/stele/internal/gateway/policy"
	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/schemas/configuration"
	syncv1 "github.com/stelehq/stele/schemas/flagd/sync/v1"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// startRecorded is a gateway that can record reads.
func startRecorded(t testing.TB, change ...func(*gateway.Config)) *fixture {
	t.Helper()
	var f *fixture
	open := sync.OnceValues(func() (policy.ReadLog, error) { return gatewaytest.ReadLog(f.node)() })
	f = start(t, append([]func(*gateway.Config){func(c *gateway.Config) { c.ReadLog = open }}, change...)...)
	return f
}

// system is a context of an operator who acts for the ledger's own tenant.
func (f *fixture) system(t testing.TB) context.Context {
	return f.as(t, ledger.System, identity.Operator)
}

func (f *fixture) setPolicy(t testing.TB, tenant ledger.Tenant, policy string) {
	t.Helper()
	f.commit(t, f.system(t), set(fmt.Sprintf("policy/%s/reads", tenant), policy))
}

// formatRead writes a record as a test compares it: method, keys, prefixes with a
// star, revision.
func formatRead(r *stelev1.ReadRecord) string {
	what := slices.Clone(r.Keys)
	for _, p := range r.Prefixes {
		what = append(what, p+"*")
	}
	return fmt.Sprintf("%s %s @%d", r.Method[strings.LastIndexByte(r.Method, '/')+1:], strings.Join(what, " "), r.Revision)
}

func (f *fixture) read(t testing.TB, ctx context.Context, requests ...*stelev1.ReadRequest) (answers []*stelev1.ReadResponse) {
	t.Helper()
	stream, err := f.config.Read(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range requests {
		if err := stream.Send(r); err != nil {
			t.Fatal(err)
		}
	}
	stream.CloseSend()
	for {
		resp, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return answers
		}
		if err != nil {
			t.Fatal(err)
		}
		answers = append(answers, resp)
	}
}

// watched is what a watch is answered at its creation.
func (f *fixture) watched(t testing.TB, ctx context.Context, create *stelev1.CreateWatch) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	resp := recv(t, f.watch(t, ctx, create))
	return status.ErrorProto(resp.GetCanceled().GetStatus())
}

type recordCase struct {
	method string
	what   string
	call   func(context.Context) error
	want   string // empty: nothing
}

// fullMethod is a method's name on the wire.
func fullMethod(name string) string {
	if strings.HasPrefix(name, "configuration.") || strings.HasPrefix(name, "flagd.") {
		return "/" + name
	}
	return "/stele.v1." + name
}

func (c recordCase) full() string { return fullMethod(c.method) }

// recordCases call every method, and say what each records when a policy asks for
// the reads under secrets/. They begin at a tenant's revision 2.
func (f *fixture) recordCases(t *testing.T) []recordCase {
	call := func(_ any, err error) error { return err }
	at := atRevision(1)
	proofs, sinks := stelev1.NewProofClient(f.conn), stelev1.NewSinksClient(f.conn)
	schemas, bases := stelev1.NewSchemasClient(f.conn), stelev1.NewBasesClient(f.conn)
	sample, flags := configuration.NewConfigServiceClient(f.conn), syncv1.NewFlagSyncServiceClient(f.conn)
	return []recordCase{
		{"Config/Get", "a key", func(ctx context.Context) error {
			return call(f.config.Get(ctx, &stelev1.GetRequest{Key: "secrets/a", At: at}))
		}, "Get secrets/a @1"},
		{"Config/Get", "a key that is not set", func(ctx context.Context) error {
			return call(f.config.Get(ctx, &stelev1.GetRequest{Key: "secrets/none"}))
		}, "Get secrets/none @0"},
		{"Config/Get", "another key", func(ctx context.Context) error {
			return call(f.config.Get(ctx, &stelev1.GetRequest{Key: "public/a"}))
		}, ""},
		{"Config/BatchGet", "some of the keys", func(ctx context.Context) error {
			return call(f.config.BatchGet(ctx, &stelev1.BatchGetRequest{Keys: []string{"public/a", "secrets/b", "secrets/a"}}))
		}, "BatchGet secrets/b secrets/a @2"},
		{"Config/BatchGet", "other keys", func(ctx context.Context) error {
			return call(f.config.BatchGet(ctx, &stelev1.BatchGetRequest{Keys: []string{"public/a"}}))
		}, ""},
		{"Config/List", "the prefix", func(ctx context.Context) error {
			return call(f.config.List(ctx, &stelev1.ListRequest{Prefix: "secrets/"}))
		}, "List secrets/* @2"},
		{"Config/List", "a part of it", func(ctx context.Context) error {
			return call(f.config.List(ctx, &stelev1.ListRequest{Prefix: "secrets/a", KeysOnly: true}))
		}, "List secrets/a* @2"},
		{"Config/List", "more than it", func(ctx context.Context) error {
			return call(f.config.List(ctx, &stelev1.ListRequest{Prefix: "se*"}))
		}, "List se** @2"},
		{"Config/List", "everything", func(ctx context.Context) error {
			return call(f.config.List(ctx, &stelev1.ListRequest{}))
		}, "List * @2"},
		{"Config/List", "another prefix", func(ctx context.Context) error {
			return call(f.config.List(ctx, &stelev1.ListRequest{Prefix: "secretz/"}))
		}, ""},
		{"Config/Search", "everything", func(ctx context.Context) error {
			return call(f.config.Search(ctx, &stelev1.SearchRequest{Pattern: "a"}))
		}, "Search * @2"},
		{"Config/Search", "another prefix", func(ctx context.Context) error {
			return call(f.config.Search(ctx, &stelev1.SearchRequest{Pattern: "a", Prefix: "public/"}))
		}, ""},
		{"Config/Read", "a key", func(ctx context.Context) error {
			return status.ErrorProto(f.read(t, ctx, &stelev1.ReadRequest{Keys: []string{"secrets/a", "public/a"}})[0].Error)
		}, "Read secrets/a @2"},
		{"Config/Read", "another key", func(ctx context.Context) error {
			return status.ErrorProto(f.read(t, ctx, &stelev1.ReadRequest{Keys: []string{"public/a"}})[0].Error)
		}, ""},
		{"Config/Watch", "a key and two prefixes", func(ctx context.Context) error {
			return f.watched(t, ctx, &stelev1.CreateWatch{Id: 1, Keys: []string{"secrets/a", "public/a"}, Prefixes: []string{"secrets/b", "public/"}})
		}, "Watch secrets/a secrets/b* @2"},
		{"Config/Watch", "others", func(ctx context.Context) error {
			return f.watched(t, ctx, &stelev1.CreateWatch{Id: 1, Keys: []string{"public/a"}, FromRevision: 1})
		}, ""},
		{"Ledger/GetCommit", "a commit", func(ctx context.Context) error {
			return call(f.ledger.GetCommit(ctx, &stelev1.GetCommitRequest{Commit: &stelev1.GetCommitRequest_Revision{Revision: 1}}))
		}, "GetCommit * @2"},
		{"Ledger/ListCommits", "all", func(ctx context.Context) error {
			return call(f.ledger.ListCommits(ctx, &stelev1.ListCommitsRequest{}))
		}, "ListCommits * @2"},
		{"Ledger/ListCommits", "those of another key, with what else they changed", func(ctx context.Context) error {
			return call(f.ledger.ListCommits(ctx, &stelev1.ListCommitsRequest{Keys: &stelev1.ListCommitsRequest_Key{Key: "public/a"}}))
		}, "ListCommits * @2"},
		{"Ledger/ListCommits", "those of another key, with their bytes", func(ctx context.Context) error {
			return call(f.ledger.ListCommits(ctx, &stelev1.ListCommitsRequest{Keys: &stelev1.ListCommitsRequest_Key{Key: "public/a"}, OnlyMatchingChanges: true, Encoded: true}))
		}, "ListCommits * @2"},
		{"Ledger/ListCommits", "changes of another key", func(ctx context.Context) error {
			return call(f.ledger.ListCommits(ctx, &stelev1.ListCommitsRequest{Keys: &stelev1.ListCommitsRequest_Key{Key: "public/a"}, OnlyMatchingChanges: true}))
		}, ""},
		{"Ledger/ListCommits", "changes of a key", func(ctx context.Context) error {
			return call(f.ledger.ListCommits(ctx, &stelev1.ListCommitsRequest{Keys: &stelev1.ListCommitsRequest_Key{Key: "secrets/b"}, OnlyMatchingChanges: true}))
		}, "ListCommits secrets/b @2"},
		{"Ledger/ListCommits", "changes under a prefix", func(ctx context.Context) error {
			return call(f.ledger.ListCommits(ctx, &stelev1.ListCommitsRequest{Keys: &stelev1.ListCommitsRequest_Prefix{Prefix: "s*"}, OnlyMatchingChanges: true}))
		}, "ListCommits s** @2"},
		{"Ledger/CountCommits", "the counts", func(ctx context.Context) error {
			return call(f.ledger.CountCommits(ctx, &stelev1.CountCommitsRequest{}))
		}, ""},
		{"Ledger/GetHead", "the head", func(ctx context.Context) error {
			return call(f.ledger.GetHead(ctx, &stelev1.GetHeadRequest{}))
		}, ""},
		{"Ledger/Diff", "everything", func(ctx context.Context) error {
			return call(f.ledger.Diff(ctx, &stelev1.DiffRequest{From: at}))
		}, "Diff * @2"},
		{"Ledger/Diff", "another prefix", func(ctx context.Context) error {
			return call(f.ledger.Diff(ctx, &stelev1.DiffRequest{From: at, Prefix: "public/"}))
		}, ""},
		{"Ledger/Blame", "a prefix", func(ctx context.Context) error {
			return call(f.ledger.Blame(ctx, &stelev1.BlameRequest{Prefix: "secrets/a"}))
		}, "Blame secrets/a* @2"},
		{"Ledger/Blame", "another prefix", func(ctx context.Context) error {
			return call(f.ledger.Blame(ctx, &stelev1.BlameRequest{Prefix: "public/"}))
		}, ""},
		{"Ledger/Rollback", "a preview", func(ctx context.Context) error {
			return call(f.ledger.Rollback(ctx, &stelev1.RollbackRequest{To: at, DryRun: true}))
		}, "Rollback * @2"},
		{"Ledger/Rollback", "a preview of another prefix", func(ctx context.Context) error {
			return call(f.ledger.Rollback(ctx, &stelev1.RollbackRequest{To: at, DryRun: true, Prefix: "public/"}))
		}, ""},
		{"Ledger/Revert", "a preview", func(ctx context.Context) error {
			return call(f.ledger.Revert(ctx, &stelev1.RevertRequest{Revisions: []uint64{2}, DryRun: true}))
		}, "Revert * @2"},
		{"Ledger/Copy", "a preview", func(ctx context.Context) error {
			return call(f.ledger.Copy(ctx, &stelev1.CopyRequest{From: "secrets/a", To: "public/x", DryRun: true}))
		}, "Copy secrets/a @2"},
		{"Ledger/Copy", "a preview of other keys", func(ctx context.Context) error {
			return call(f.ledger.Copy(ctx, &stelev1.CopyRequest{From: "public/", To: "public/x/", DryRun: true}))
		}, ""},
		{"Ledger/GetStatus", "the status", func(ctx context.Context) error {
			return call(f.ledger.GetStatus(ctx, &stelev1.GetStatusRequest{}))
		}, ""},
		{"Ledger/CheckAccess", "a key", func(ctx context.Context) error {
			return call(f.ledger.CheckAccess(ctx, &stelev1.CheckAccessRequest{Operation: "read", On: &stelev1.CheckAccessRequest_Key{Key: "secrets/a"}}))
		}, ""},
		{"Ledger/ListReads", "the records", func(ctx context.Context) error {
			return call(f.ledger.ListReads(ctx, &stelev1.ListReadsRequest{}))
		}, ""},
		{"Ledger/ListTenants", "the tenants", func(ctx context.Context) error {
			return call(f.ledger.ListTenants(ctx, &stelev1.ListTenantsRequest{}))
		}, ""},
		{"Ledger/ListGateways", "the gateways", func(ctx context.Context) error {
			return call(f.ledger.ListGateways(ctx, &stelev1.ListGatewaysRequest{}))
		}, ""},
		{"Proof/GetCheckpoint", "the checkpoint", func(ctx context.Context) error {
			return call(proofs.GetCheckpoint(ctx, &stelev1.GetCheckpointRequest{}))
		}, ""},
		{"Proof/ProveConsistency", "two trees", func(ctx context.Context) error {
			return call(proofs.ProveConsistency(ctx, &stelev1.ProveConsistencyRequest{OldSize: 1, NewSize: 1}))
		}, ""},
		{"Proof/ProveInclusion", "a commit", func(ctx context.Context) error {
			return call(proofs.ProveInclusion(ctx, &stelev1.ProveInclusionRequest{TreeSize: 1, FromRevision: 1, ToRevision: 1}))
		}, "ProveInclusion * @0"},
		{"Ledger/Plan", "a key", func(ctx context.Context) error {
			return call(f.ledger.Plan(ctx, &stelev1.PlanRequest{Commit: set("secrets/a", "7", "public/a", "7")}))
		}, "Plan secrets/a @2"},
		{"Schemas/ListSchemas", "the schemas", func(ctx context.Context) error {
			return call(schemas.ListSchemas(ctx, &stelev1.ListSchemasRequest{}))
		}, ""},
		{"Schemas/ExplainKey", "those of a key", func(ctx context.Context) error {
			return call(schemas.ExplainKey(ctx, &stelev1.ExplainKeyRequest{Key: "secrets/a"}))
		}, ""},
		{"Bases/ListBases", "the list", func(ctx context.Context) error {
			return call(bases.ListBases(ctx, &stelev1.ListBasesRequest{}))
		}, ""},
		{"Bases/ExplainValue", "a key that is recorded", func(ctx context.Context) error {
			return call(bases.ExplainValue(ctx, &stelev1.ExplainValueRequest{Key: "secrets/a"}))
		}, "ExplainValue secrets/a @2"},
		{"Bases/PreviewBaseChange", "a base of no tenant", func(ctx context.Context) error {
			return call(bases.PreviewBaseChange(ctx, &stelev1.PreviewBaseChangeRequest{Changes: set("secrets/a", "1").Changes}))
		}, ""},
		{"Schemas/CheckValue", "one's own value", func(ctx context.Context) error {
			return call(schemas.CheckValue(ctx, &stelev1.CheckValueRequest{Key: "secrets/a", Value: "1"}))
		}, ""},
		{"Schemas/CheckSchema", "values below", func(ctx context.Context) error {
			return call(schemas.CheckSchema(ctx, &stelev1.CheckSchemaRequest{Prefix: "secrets/a", Document: "{}"}))
		}, "CheckSchema secrets/a* @2"},
		{"Schemas/CheckLive", "values below", func(ctx context.Context) error {
			return call(schemas.CheckLive(ctx, &stelev1.CheckLiveRequest{}))
		}, "CheckLive * @2"},
		{"Sinks/ListSinks", "counts", func(ctx context.Context) error {
			return call(sinks.ListSinks(ctx, &stelev1.ListSinksRequest{}))
		}, ""},
		{"Sinks/ListParked", "keys", func(ctx context.Context) error {
			return call(sinks.ListParked(ctx, &stelev1.ListParkedRequest{Sink: "files"}))
		}, "ListParked * @0"},
		{"Sinks/ListDrift", "keys", func(ctx context.Context) error {
			return call(sinks.ListDrift(ctx, &stelev1.ListDriftRequest{Sink: "files"}))
		}, "ListDrift * @0"},
		{"Sinks/CheckDrift", "an item", func(ctx context.Context) error {
			return call(sinks.CheckDrift(ctx, &stelev1.CheckDriftRequest{Sink: "files", Name: "x"}))
		}, "CheckDrift * @0"},
		{"Sinks/ResolveDrift", "items", func(ctx context.Context) error {
			return call(sinks.ResolveDrift(ctx, &stelev1.ResolveDriftRequest{Sink: "files", Resolution: stelev1.ResolveDriftRequest_RESOLUTION_REPAIR}))
		}, "ResolveDrift * @0"},
		{"Sinks/Replay", "a number", func(ctx context.Context) error {
			return call(sinks.Replay(ctx, &stelev1.ReplayRequest{Sink: "files"}))
		}, ""},
		{"Sinks/Retry", "a key", func(ctx context.Context) error {
			return call(sinks.Retry(ctx, &stelev1.RetryRequest{Sink: "files", Key: "secrets/a"}))
		}, "Retry secrets/a @0"},
		{"Sinks/Retry", "a number", func(ctx context.Context) error {
			return call(sinks.Retry(ctx, &stelev1.RetryRequest{Sink: "files"}))
		}, ""},
		{"Sinks/Skip", "a key", func(ctx context.Context) error {
			return call(sinks.Skip(ctx, &stelev1.SkipRequest{Sink: "files", Key: "secrets/b"}))
		}, "Skip secrets/b @0"},
		{"Sinks/Skip", "another key", func(ctx context.Context) error {
			return call(sinks.Skip(ctx, &stelev1.SkipRequest{Sink: "files", Key: "public/a"}))
		}, ""},
		{"Ledger/RotateTenantKey", "a tenant", func(ctx context.Context) error {
			if err := call(f.ledger.RotateTenantKey(ctx, &stelev1.RotateTenantKeyRequest{})); status.Code(err) != codes.FailedPrecondition {
				return err // without a secrets key: see TestRotateTenantKey
			}
			return nil
		}, ""},
		{"Ledger/ResetTenantClock", "a tenant", func(ctx context.Context) error {
			return call(f.ledger.ResetTenantClock(ctx, &stelev1.ResetTenantClockRequest{Reason: "x"}))
		}, ""},
		{"Ledger/ShredTenant", "a tenant", func(ctx context.Context) error {
			if err := call(f.ledger.ShredTenant(ctx, &stelev1.ShredTenantRequest{Confirm: "x"})); status.Code(err) != codes.InvalidArgument {
				return err // of a tenant with secrets: see TestShredTenant
			}
			return nil
		}, ""},
		{"Sinks/GetRoutes", "the routes", func(ctx context.Context) error {
			return call(sinks.GetRoutes(ctx, &stelev1.GetRoutesRequest{}))
		}, ""},
		{"Sinks/PlanRoutes", "counts", func(ctx context.Context) error {
			return call(sinks.PlanRoutes(ctx, &stelev1.PlanRoutesRequest{Routes: oneSink}))
		}, ""},
		{"flagd.sync.v1.FlagSyncService/FetchAllFlags", "the prefix", func(ctx context.Context) error {
			return call(flags.FetchAllFlags(ctx, &syncv1.FetchAllFlagsRequest{Selector: "secrets"}))
		}, "FetchAllFlags secrets/* @2"},
		{"flagd.sync.v1.FlagSyncService/FetchAllFlags", "another prefix", func(ctx context.Context) error {
			return call(flags.FetchAllFlags(ctx, &syncv1.FetchAllFlagsRequest{}))
		}, ""},
		{"flagd.sync.v1.FlagSyncService/SyncFlags", "the prefix", func(ctx context.Context) error {
			stream, err := flags.SyncFlags(ctx, &syncv1.SyncFlagsRequest{Selector: "secrets/"})
			if err != nil {
				return err
			}
			return call(stream.Recv())
		}, "SyncFlags secrets/* @2"},
		{"flagd.sync.v1.FlagSyncService/GetMetadata", "nothing", func(ctx context.Context) error {
			return call(flags.GetMetadata(ctx, &syncv1.GetMetadataRequest{}))
		}, ""},
		{"configuration.ConfigService/retrieveConfig", "another key", func(ctx context.Context) error {
			return call(sample.RetrieveConfig(ctx, &configuration.RetrieveConfigRequest{Key: "tenant_config_b"}))
		}, ""},
		{"configuration.ConfigService/retrieveConfigs", "other keys", func(ctx context.Context) error {
			return call(sample.RetrieveConfigs(ctx, &configuration.RetrieveConfigRequests{Keys: []string{"tenant_config_b"}}))
		}, ""},
		{"configuration.ConfigService/refreshConfig", "nothing", func(ctx context.Context) error {
			return call(sample.RefreshConfig(ctx, &configuration.Empty{}))
		}, ""},
		// What writes comes last: the rows above count on revision 2.
		{"Ledger/Revert", "done", func(ctx context.Context) error {
			return call(f.ledger.Revert(ctx, &stelev1.RevertRequest{Revisions: []uint64{2}}))
		}, ""},
		{"Ledger/Rollback", "done", func(ctx context.Context) error {
			return call(f.ledger.Rollback(ctx, &stelev1.RollbackRequest{To: atRevision(2)}))
		}, ""},
		{"Ledger/Copy", "done", func(ctx context.Context) error {
			return call(f.ledger.Copy(ctx, &stelev1.CopyRequest{From: "secrets/a", To: "public/x"}))
		}, ""},
		{"Ledger/Commit", "a write", func(ctx context.Context) error {
			return call(f.ledger.Commit(ctx, set("secrets/a", "3")))
		}, ""},
		{"Ledger/CommitStream", "writes", func(ctx context.Context) error {
			stream, err := f.ledger.CommitStream(ctx)
			if err != nil {
				return err
			}
			if err := stream.Send(&stelev1.CommitStreamRequest{Commit: set("secrets/a", "4")}); err != nil {
				return err
			}
			return call(stream.Recv())
		}, ""},
	}
}

// twoCommits are what the recordCases begin with.
func (f *fixture) twoCommits(t testing.TB, ctx context.Context) {
	t.Helper()
	f.commit(t, ctx, set("secrets/a", "1", "secrets/b", "1", "public/a", "1", "tenant_config_b", "[]"))
	f.commit(t, ctx, set("secrets/a", "2", "public/a", "2"))
}

// A method that is served and not in the cases fails the test.
func TestRecordedReads_Policy(t *testing.T) {
	f := startRecorded(t)
	cases := f.recordCases(t)
	served := f.gateway.Methods()
	for _, m := range served {
		if strings.HasSuffix(m, "AllCommits") || strings.HasPrefix(m, "/stele.v1.Replication/") {
			continue // TestAllCommits_EachTenantHasARecordOfTheRead, TestFollow_IsRecorded
		}
		if !slices.ContainsFunc(cases, func(c recordCase) bool { return c.full() == m }) {
			t.Errorf("nothing says what %s records", m)
		}
	}
	policies := map[ledger.Tenant]string{
		"acme":   `{"record":["secrets/"]}`,
		"other":  "", // the same keys, and no policy
		"unlike": `{"record":["paramconfig/","x"]}`,
		"lax":    `{"record":[]}`,
	}
	for tenant, policy := range policies {
		ctx := f.as(t, tenant, identity.Operator)
		f.twoCommits(t, ctx)
		if policy != "" {
			f.setPolicy(t, tenant, policy)
		}
	}
	for tenant := range policies {
		ctx := f.as(t, tenant, identity.Operator)
		var want []string
		for _, tc := range cases {
			if !slices.Contains(served, tc.full()) {
				continue
			}
			if err := tc.call(ctx); err != nil && !strings.HasSuffix(tc.want, "@0") && !strings.HasPrefix(tc.method, "Proof/") && !strings.HasPrefix(tc.method, "Sinks/") {
				t.Fatalf("%s of %s: %v", tc.method, tc.what, err)
			}
			// Every read of everything is under every policy's prefixes.
			if tc.want != "" && (tenant == "acme" || tenant == "unlike" && strings.Contains(tc.want, " * ")) {
				want = append(want, tc.want)
			}
		}
		var got []string
		for _, r := range f.recorded(t, ctx) {
			got = append(got, formatRead(r))
			if r.Tenant != string(tenant) {
				t.Errorf("%s gets a record of %s: %v", tenant, r.Tenant, r)
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("records of %s (-want +got):\n%s", tenant, diff)
		}
	}
}

func TestRecordedReads_Content(t *testing.T) {
	f := startRecorded(t)
	f.setPolicy(t, "acme", `{"record":[""]}`)
	f.commit(t, f.as(t, "acme", identity.Writer), set("a", "1"))
	before := time.Now()
	for _, ctx := range []context.Context{
		bearer(t.Context(), f.token(t, identity.Claims{Subject: "bob", Tenant: "acme", Roles: []identity.Role{identity.Reader, identity.Auditor}})),
		bearer(t.Context(), f.token(t, identity.Claims{Subject: "olga", Roles: []identity.Role{identity.Operator}}), "as-tenant", "acme"),
	} {
		if _, err := f.config.Get(ctx, &stelev1.GetRequest{Key: "a"}); err != nil {
			t.Fatal(err)
		}
	}
	reads := f.recorded(t, f.as(t, "acme", identity.Auditor))
	if len(reads) != 2 {
		t.Fatalf("%d records", len(reads))
	}
	for i, want := range []string{"bob reader,auditor", "olga operator"} {
		r := reads[i]
		if got := r.Subject + " " + strings.Join(r.Roles, ","); got != want {
			t.Errorf("record %d is of %s, want %s", i, got, want)
		}
		if at := r.Time.AsTime(); at.Before(before) || at.After(time.Now()) {
			t.Errorf("record %d is of %s", i, at)
		}
	}
}

func TestRecordedReads_UnrecordedReadIsRejected(t *testing.T) {
	without := func(log func() (policy.ReadLog, error)) func(*testing.T) *fixture {
		return func(t *testing.T) *fixture {
			f := start(t, func(c *gateway.Config) { c.ReadLog = log })
			f.hide(t)
			return f
		}
	}
	for name, away := range map[string]func(*testing.T) *fixture{
		"the connection is lost": func(t *testing.T) *fixture {
			f := startRecorded(t)
			f.hide(t)
			if _, err := f.config.Get(f.as(t, "acme", identity.Reader), &stelev1.GetRequest{Key: "secrets/a"}); err != nil {
				t.Fatal(err)
			}
			f.node.Conn.Close()
			return f
		},
		"the journal has not been reached": without(func() (policy.ReadLog, error) { return nil, ledger.ErrUnavailable }),
		"the guard has stopped it":         without(func() (policy.ReadLog, error) { return nil, ledger.ErrReadOnly }),
		"there is no journal":              without(nil),
	} {
		t.Run(name, func(t *testing.T) {
			f := away(t)
			ctx := f.as(t, "acme", identity.Auditor)
			refused := func(what string, err error) {
				t.Helper()
				if status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), "must be recorded for acme, as policy/acme/reads requires, and the record cannot be written: ") {
					t.Errorf("%s: %v, want UNAVAILABLE with the reason", what, err)
				}
			}
			served := func(what string, err error) {
				t.Helper()
				if err != nil {
					t.Errorf("%s: %v", what, err)
				}
			}
			resp, err := f.config.Get(ctx, &stelev1.GetRequest{Key: "secrets/a"})
			refused("Get", err)
			if resp != nil {
				t.Errorf("Get returns %v", resp)
			}
			_, err = f.config.Get(ctx, &stelev1.GetRequest{Key: "secrets/none"})
			refused("Get of a key that is not set", err)
			_, err = f.config.Get(ctx, &stelev1.GetRequest{Key: "public/a"})
			served("Get of another", err)
			_, err = f.config.List(ctx, &stelev1.ListRequest{})
			refused("List", err)
			_, err = f.config.List(ctx, &stelev1.ListRequest{Prefix: "public/"})
			served("List of others", err)
			_, err = f.ledger.GetHead(ctx, &stelev1.GetHeadRequest{})
			served("GetHead", err)

			answers := f.read(t, ctx, &stelev1.ReadRequest{Keys: []string{"secrets/a"}}, &stelev1.ReadRequest{Keys: []string{"public/a"}})
			refused("Read", status.ErrorProto(answers[0].Error))
			if len(answers[0].Entries)+len(answers[0].Missing) > 0 || answers[0].Snapshot != nil {
				t.Errorf("Read returns %v", answers[0])
			}
			served("the Read after it", status.ErrorProto(answers[1].Error))

			stream := f.watch(t, ctx, &stelev1.CreateWatch{Id: 1, Prefixes: []string{"secrets/"}, InitialState: true}, &stelev1.CreateWatch{Id: 2, Prefixes: []string{"public/"}})
			refused("Watch", status.ErrorProto(recv(t, stream).GetCanceled().GetStatus()))
			if resp := recv(t, stream); resp.GetCreated() == nil {
				t.Errorf("the Watch after it: %v", resp)
			}
		})
	}
}

// hide puts settings into acme, some of them under a recorded prefix.
func (f *fixture) hide(t testing.TB) {
	t.Helper()
	f.commit(t, f.as(t, "acme", identity.Writer), set("secrets/a", `"hidden"`, "public/a", "1"))
	f.setPolicy(t, "acme", `{"record":["secrets/"]}`)
}
