package gateway_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stelehq/stele/internal/gateway/identity"
	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/schemas/configuration"
	syncv1 "github.com/stelehq/stele/schemas/flagd/sync/v1"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// startLimited is a gateway whose tenant acme lets alice do everything under open/.
// Its commits: @1 and @3 changed keys there alone, @2 also others, @4 others alone.
func startLimited(t *testing.T) (f *fixture, alice, owner context.Context) {
	t.Helper()
	f = startRecorded(t, routed(t, oneSink))
	f.setGrants(t, "acme", `{"grants":[{"subjects":["owner"],"roles":["admin"]},{"roles":["admin"],"prefixes":["open/"]}]}`)
	owner = bearer(t.Context(), f.token(t, identity.Claims{Subject: "owner", Tenant: "acme", Roles: []identity.Role{identity.Admin}}))
	alice = f.as(t, "acme", identity.Admin)
	commit := func(message, id string, kv ...string) {
		req := set(kv...)
		req.Message, req.RequestId = message, id
		f.commit(t, owner, req)
	}
	commit("open message", "open-id", "open/a", `"1"`, "open/b", `"1"`)
	commit("hidden message", "hidden-id", "open/a", `"2"`, "closed/hidden", `"hidden 2"`)
	commit("more", "", "open/b", `"3"`)
	commit("also hidden", "", "closed/hidden", `"hidden 4"`, "open", `"hidden: no key under open/"`)
	return f, alice, owner
}

type limitedCase struct {
	method, what string
	call         func(context.Context) (proto.Message, error)
	want         codes.Code
}

// of makes a case's call from a client's method.
func of[Req, Resp proto.Message, O any](call func(context.Context, Req, ...O) (Resp, error), req Req) func(context.Context) (proto.Message, error) {
	return func(ctx context.Context) (proto.Message, error) {
		resp, err := call(ctx, req)
		if err != nil {
			return nil, err
		}
		return resp, nil
	}
}

func (f *fixture) limitedCases(t *testing.T) []limitedCase {
	schemas, bases := stelev1.NewSchemasClient(f.conn), stelev1.NewBasesClient(f.conn)
	proofs, sinks := stelev1.NewProofClient(f.conn), stelev1.NewSinksClient(f.conn)
	replication := stelev1.NewReplicationClient(f.conn)
	sample, flags := configuration.NewConfigServiceClient(f.conn), syncv1.NewFlagSyncServiceClient(f.conn)
	follow := func(selector string) func(context.Context) (proto.Message, error) {
		return func(ctx context.Context) (proto.Message, error) {
			ctx, cancel := context.WithCancel(ctx)
			defer cancel()
			stream, err := flags.SyncFlags(ctx, &syncv1.SyncFlagsRequest{Selector: selector})
			if err != nil {
				return nil, err
			}
			return stream.Recv()
		}
	}
	const denied, noTree, noOwner = codes.PermissionDenied, codes.FailedPrecondition, codes.Unavailable
	key := func(k string) *stelev1.ListCommitsRequest_Key { return &stelev1.ListCommitsRequest_Key{Key: k} }
	prefix := func(p string) *stelev1.ListCommitsRequest_Prefix {
		return &stelev1.ListCommitsRequest_Prefix{Prefix: p}
	}
	commitAt := func(r uint64) *stelev1.GetCommitRequest {
		return &stelev1.GetCommitRequest{Commit: &stelev1.GetCommitRequest_Revision{Revision: r}, Encoded: true, PreviousValues: true}
	}
	imported := func(k string) *stelev1.CommitRequest {
		req := set(k, "1")
		req.Import = &stelev1.Import{Time: timestamppb.New(time.Now().Add(30 * time.Second)), Author: "source"}
		return req
	}
	expecting := func(k string) *stelev1.CommitRequest {
		req := set("open/x", "1")
		req.Preconditions = []*stelev1.Precondition{{Key: k, Revision: 999}}
		return req
	}
	read := func(keys ...string) func(context.Context) (proto.Message, error) {
		return func(ctx context.Context) (proto.Message, error) {
			answers := f.read(t, ctx, &stelev1.ReadRequest{Keys: keys}, &stelev1.ReadRequest{Keys: []string{"open/a"}})
			if len(answers) != 2 || answers[1].Error != nil {
				t.Errorf("the stream does not continue after %v: %v", keys, answers)
			}
			return answers[0], status.ErrorProto(answers[0].Error)
		}
	}
	watch := func(create *stelev1.CreateWatch) func(context.Context) (proto.Message, error) {
		return func(ctx context.Context) (proto.Message, error) {
			ctx, cancel := context.WithCancel(ctx)
			defer cancel()
			create.Id = 1
			resp := recv(t, f.watch(t, ctx, create))
			return resp, status.ErrorProto(resp.GetCanceled().GetStatus())
		}
	}
	stream := func(changes ...*stelev1.CommitRequest) func(context.Context) (proto.Message, error) {
		return func(ctx context.Context) (proto.Message, error) {
			s, err := f.ledger.CommitStream(ctx)
			if err != nil {
				return nil, err
			}
			var last proto.Message
			for _, c := range changes {
				if err := s.Send(&stelev1.CommitStreamRequest{Commit: c}); err != nil {
					return nil, err
				}
				if last, err = s.Recv(); err != nil {
					return nil, err
				}
			}
			return last, nil
		}
	}
	return []limitedCase{
		{"Config/Get", "a key inside", of(f.config.Get, &stelev1.GetRequest{Key: "open/a"}), 0},
		{"Config/Get", "one inside that is not set", of(f.config.Get, &stelev1.GetRequest{Key: "open/none"}), codes.NotFound},
		{"Config/Get", "a key outside", of(f.config.Get, &stelev1.GetRequest{Key: "closed/hidden"}), denied},
		{"Config/Get", "a key that is the prefix but for its slash", of(f.config.Get, &stelev1.GetRequest{Key: "open"}), denied},
		{"Config/Get", "a way out", of(f.config.Get, &stelev1.GetRequest{Key: "open/../closed/x"}), codes.InvalidArgument},
		{"Config/BatchGet", "keys inside", of(f.config.BatchGet, &stelev1.BatchGetRequest{Keys: []string{"open/a", "open/b"}}), 0},
		{"Config/BatchGet", "one outside", of(f.config.BatchGet, &stelev1.BatchGetRequest{Keys: []string{"open/a", "closed/hidden"}}), denied},
		{"Config/List", "inside", of(f.config.List, &stelev1.ListRequest{Prefix: "open/"}), 0},
		{"Config/Search", "inside", of(f.config.Search, &stelev1.SearchRequest{Pattern: ".", Prefix: "open/"}), 0},
		{"Config/Search", "everything", of(f.config.Search, &stelev1.SearchRequest{Pattern: "."}), denied},
		{"Config/List", "a page that begins outside", of(f.config.List, &stelev1.ListRequest{Prefix: "open/", PageToken: "MCw0OmNsb3NlZC9o"}), 0},
		{"Config/List", "everything", of(f.config.List, &stelev1.ListRequest{}), denied},
		{"Config/List", "a little more", of(f.config.List, &stelev1.ListRequest{Prefix: "open", KeysOnly: true}), denied},
		{"Config/Read", "inside", read("open/a"), 0},
		{"Config/Read", "outside", read("open/a", "closed/hidden"), denied},
		{"Config/Watch", "inside", watch(&stelev1.CreateWatch{Keys: []string{"open/a"}, Prefixes: []string{"open/"}, InitialState: true}), 0},
		{"Config/Watch", "a key outside", watch(&stelev1.CreateWatch{Keys: []string{"open/a", "closed/hidden"}}), denied},
		{"Config/Watch", "everything", watch(&stelev1.CreateWatch{Keys: []string{"open/a"}, Prefixes: []string{""}, FromRevision: 1}), denied},
		{"Ledger/GetCommit", "inside", of(f.ledger.GetCommit, commitAt(1)), 0},
		{"Ledger/GetCommit", "in part", of(f.ledger.GetCommit, commitAt(2)), 0},
		{"Ledger/GetCommit", "outside", of(f.ledger.GetCommit, commitAt(4)), denied},
		{"Ledger/ListCommits", "all", of(f.ledger.ListCommits, &stelev1.ListCommitsRequest{Encoded: true, PreviousValues: true}), 0},
		{"Ledger/ListCommits", "by message", of(f.ledger.ListCommits, &stelev1.ListCommitsRequest{Grep: "hid"}), 0},
		{"Ledger/ListCommits", "of a key inside", of(f.ledger.ListCommits, &stelev1.ListCommitsRequest{Keys: key("open/a")}), 0},
		{"Ledger/ListCommits", "of a key outside", of(f.ledger.ListCommits, &stelev1.ListCommitsRequest{Keys: key("closed/hidden")}), denied},
		{"Ledger/ListCommits", "of a prefix outside", of(f.ledger.ListCommits, &stelev1.ListCommitsRequest{Keys: prefix("c")}), denied},
		{"Ledger/CountCommits", "the counts", of(f.ledger.CountCommits, &stelev1.CountCommitsRequest{}), 0},
		{"Ledger/GetHead", "the head", of(f.ledger.GetHead, &stelev1.GetHeadRequest{}), 0},
		{"Ledger/Diff", "inside", of(f.ledger.Diff, &stelev1.DiffRequest{From: atRevision(1), Prefix: "open/"}), 0},
		{"Ledger/Diff", "everything", of(f.ledger.Diff, &stelev1.DiffRequest{From: atRevision(1)}), denied},
		{"Ledger/Blame", "inside", of(f.ledger.Blame, &stelev1.BlameRequest{Prefix: "open/"}), 0},
		{"Ledger/Blame", "everything", of(f.ledger.Blame, &stelev1.BlameRequest{}), denied},
		{"Ledger/GetStatus", "the status", of(f.ledger.GetStatus, &stelev1.GetStatusRequest{}), 0},
		{"Ledger/CheckAccess", "a key outside", of(f.ledger.CheckAccess, &stelev1.CheckAccessRequest{Operation: "read", On: &stelev1.CheckAccessRequest_Key{Key: "closed/hidden"}}), 0},
		{"Ledger/ListReads", "the records", of(f.ledger.ListReads, &stelev1.ListReadsRequest{}), 0},
		{"Ledger/ListTenants", "the tenants", of(f.ledger.ListTenants, &stelev1.ListTenantsRequest{}), denied},
		{"Ledger/ListGateways", "the gateways", of(f.ledger.ListGateways, &stelev1.ListGatewaysRequest{}), denied},
		{"Replication/Follow", "the tenant", func(ctx context.Context) (proto.Message, error) { return f.follow(ctx, "acme") }, denied},
		{"Replication/Prove", "a commit", of(replication.Prove, &stelev1.ProveRequest{Commits: []*stelev1.ReplicatedHead{{Tenant: "acme", Revision: 1}}}), denied},
		{"Replication/RecordRead", "a read", of(replication.RecordRead, &stelev1.RecordReadRequest{Tenant: "acme", Record: []byte{1}}), denied},
		{"Ledger/ListAllCommits", "all tenants", of(f.ledger.ListAllCommits, &stelev1.ListAllCommitsRequest{}), denied},
		{"Ledger/WatchAllCommits", "all tenants", func(ctx context.Context) (proto.Message, error) {
			return nil, f.watchError(t, ctx, &stelev1.WatchAllCommitsRequest{AfterPosition: proto.Uint64(0)})
		}, denied},
		{"Ledger/RotateTenantKey", "the keys", of(f.ledger.RotateTenantKey, &stelev1.RotateTenantKeyRequest{NewKey: true}), denied},
		{"Ledger/ResetTenantClock", "the clock", of(f.ledger.ResetTenantClock, &stelev1.ResetTenantClockRequest{Reason: "x"}), denied},
		{"Ledger/ShredTenant", "the secrets", of(f.ledger.ShredTenant, &stelev1.ShredTenantRequest{Confirm: "acme"}), denied},
		{"Proof/GetCheckpoint", "the checkpoint", of(proofs.GetCheckpoint, &stelev1.GetCheckpointRequest{}), noTree},
		{"Proof/ProveConsistency", "two trees", of(proofs.ProveConsistency, &stelev1.ProveConsistencyRequest{OldSize: 1, NewSize: 1}), noTree},
		{"Proof/ProveInclusion", "a commit inside", of(proofs.ProveInclusion, &stelev1.ProveInclusionRequest{TreeSize: 1, FromRevision: 1, ToRevision: 1}), denied},
		{"Ledger/Plan", "inside", of(f.ledger.Plan, &stelev1.PlanRequest{Commit: set("open/a", "1")}), 0},
		{"Ledger/Plan", "outside", of(f.ledger.Plan, &stelev1.PlanRequest{Commit: set("open/a", "1", "closed/hidden", "1")}), denied},
		{"Schemas/ListSchemas", "inside", of(schemas.ListSchemas, &stelev1.ListSchemasRequest{Prefix: "open/"}), 0},
		{"Schemas/ListSchemas", "all", of(schemas.ListSchemas, &stelev1.ListSchemasRequest{}), denied},
		{"Schemas/ExplainKey", "a key inside", of(schemas.ExplainKey, &stelev1.ExplainKeyRequest{Key: "open/a"}), 0},
		{"Schemas/ExplainKey", "a key outside", of(schemas.ExplainKey, &stelev1.ExplainKeyRequest{Key: "closed/hidden"}), denied},
		{"Bases/ListBases", "the list", of(bases.ListBases, &stelev1.ListBasesRequest{}), denied},
		{"Bases/ExplainValue", "a key inside", of(bases.ExplainValue, &stelev1.ExplainValueRequest{Key: "open/a"}), 0},
		{"Bases/ExplainValue", "a key outside", of(bases.ExplainValue, &stelev1.ExplainValueRequest{Key: "closed/hidden"}), denied},
		{"Bases/PreviewBaseChange", "a change", of(bases.PreviewBaseChange, &stelev1.PreviewBaseChangeRequest{Changes: set("open/a", "1").Changes}), denied},
		{"Schemas/CheckValue", "a key inside", of(schemas.CheckValue, &stelev1.CheckValueRequest{Key: "open/a", Value: "1"}), 0},
		{"Schemas/CheckValue", "a key outside", of(schemas.CheckValue, &stelev1.CheckValueRequest{Key: "closed/hidden", Value: "1"}), denied},
		{"Schemas/CheckSchema", "inside", of(schemas.CheckSchema, &stelev1.CheckSchemaRequest{Prefix: "open/a", Document: "false"}), 0},
		{"Schemas/CheckSchema", "outside", of(schemas.CheckSchema, &stelev1.CheckSchemaRequest{Prefix: "closed", Document: "false"}), denied},
		{"Schemas/CheckLive", "inside", of(schemas.CheckLive, &stelev1.CheckLiveRequest{Prefix: "open/"}), 0},
		{"Schemas/CheckLive", "everything", of(schemas.CheckLive, &stelev1.CheckLiveRequest{}), denied},
		{"Sinks/ListSinks", "the sinks", of(sinks.ListSinks, &stelev1.ListSinksRequest{}), noOwner},
		{"Sinks/ListParked", "what is parked", of(sinks.ListParked, &stelev1.ListParkedRequest{Sink: "files"}), noOwner},
		{"Sinks/ListDrift", "what drifted", of(sinks.ListDrift, &stelev1.ListDriftRequest{Sink: "files"}), noOwner},
		{"Sinks/CheckDrift", "a sink", of(sinks.CheckDrift, &stelev1.CheckDriftRequest{Sink: "files"}), denied},
		{"Sinks/Replay", "a sink", of(sinks.Replay, &stelev1.ReplayRequest{Sink: "files"}), denied},
		{"Sinks/Retry", "a key inside", of(sinks.Retry, &stelev1.RetryRequest{Sink: "files", Key: "open/a"}), noOwner},
		{"Sinks/Retry", "a key outside", of(sinks.Retry, &stelev1.RetryRequest{Sink: "files", Key: "closed/hidden"}), denied},
		{"Sinks/Retry", "all", of(sinks.Retry, &stelev1.RetryRequest{Sink: "files"}), denied},
		{"Sinks/Skip", "a key inside", of(sinks.Skip, &stelev1.SkipRequest{Sink: "files", Key: "open/a"}), noOwner},
		{"Sinks/Skip", "all", of(sinks.Skip, &stelev1.SkipRequest{Sink: "files"}), denied},
		{"Sinks/ResolveDrift", "a sink", of(sinks.ResolveDrift, &stelev1.ResolveDriftRequest{Sink: "files", Resolution: stelev1.ResolveDriftRequest_RESOLUTION_REPAIR}), denied},
		{"Sinks/GetRoutes", "the routes", of(sinks.GetRoutes, &stelev1.GetRoutesRequest{}), denied},
		{"Sinks/PlanRoutes", "routes", of(sinks.PlanRoutes, &stelev1.PlanRoutesRequest{Routes: oneSink}), denied},
		{"flagd.sync.v1.FlagSyncService/FetchAllFlags", "inside", of(flags.FetchAllFlags, &syncv1.FetchAllFlagsRequest{Selector: "open"}), 0},
		{"flagd.sync.v1.FlagSyncService/FetchAllFlags", "outside", of(flags.FetchAllFlags, &syncv1.FetchAllFlagsRequest{Selector: "closed"}), denied},
		{"flagd.sync.v1.FlagSyncService/SyncFlags", "inside", follow("open/"), 0},
		{"flagd.sync.v1.FlagSyncService/SyncFlags", "outside", follow(""), denied},
		{"flagd.sync.v1.FlagSyncService/GetMetadata", "nothing", of(flags.GetMetadata, &syncv1.GetMetadataRequest{}), 0},
		{"configuration.ConfigService/retrieveConfig", "a key outside", of(sample.RetrieveConfig, &configuration.RetrieveConfigRequest{Key: "tenant_config_x"}), denied},
		{"configuration.ConfigService/retrieveConfig", "a parameter outside", of(sample.RetrieveConfig, &configuration.RetrieveConfigRequest{ServiceName: "s", Key: "param_config_x"}), denied},
		{"configuration.ConfigService/retrieveConfig", "all outside", of(sample.RetrieveConfig, &configuration.RetrieveConfigRequest{ServiceName: "s", Key: "param_config_all"}), denied},
		{"configuration.ConfigService/retrieveConfigs", "keys outside", of(sample.RetrieveConfigs, &configuration.RetrieveConfigRequests{Keys: []string{"tenant_config_x"}}), denied},
		{"configuration.ConfigService/refreshConfig", "how far it is", of(sample.RefreshConfig, &configuration.Empty{}), 0},
		// What writes comes last: the rows above count on revision 4.
		{"Ledger/Rollback", "a preview inside", of(f.ledger.Rollback, &stelev1.RollbackRequest{To: atRevision(1), Prefix: "open/", DryRun: true}), 0},
		{"Ledger/Rollback", "a preview of everything", of(f.ledger.Rollback, &stelev1.RollbackRequest{To: atRevision(1), DryRun: true}), denied},
		{"Ledger/Rollback", "a head that has moved", of(f.ledger.Rollback, &stelev1.RollbackRequest{To: atRevision(1), Prefix: "open/", ExpectedHead: proto.Uint64(2)}), codes.FailedPrecondition},
		{"Ledger/Revert", "a preview of one inside", of(f.ledger.Revert, &stelev1.RevertRequest{Revisions: []uint64{3}, DryRun: true}), 0},
		{"Ledger/Revert", "a preview of one in part", of(f.ledger.Revert, &stelev1.RevertRequest{Revisions: []uint64{3, 2}, DryRun: true}), denied},
		{"Ledger/Revert", "one outside", of(f.ledger.Revert, &stelev1.RevertRequest{Revisions: []uint64{4}}), denied},
		{"Ledger/Revert", "one that is not there", of(f.ledger.Revert, &stelev1.RevertRequest{Revisions: []uint64{99}}), codes.OutOfRange},
		{"Ledger/Copy", "a preview inside", of(f.ledger.Copy, &stelev1.CopyRequest{From: "open/", To: "open/copied/", DryRun: true}), 0},
		{"Ledger/Copy", "from outside", of(f.ledger.Copy, &stelev1.CopyRequest{From: "closed/hidden", To: "open/x"}), denied},
		{"Ledger/Copy", "to outside", of(f.ledger.Copy, &stelev1.CopyRequest{From: "open/a", To: "closed/x"}), denied},
		{"Ledger/Copy", "onto a key inside", of(f.ledger.Copy, &stelev1.CopyRequest{From: "open/a", To: "open/b"}), codes.FailedPrecondition},
		{"Ledger/Commit", "outside", of(f.ledger.Commit, set("open/a", "1", "closed/x", "1")), denied},
		{"Ledger/Commit", "a condition outside", of(f.ledger.Commit, expecting("closed/hidden")), denied},
		{"Ledger/Commit", "a condition inside", of(f.ledger.Commit, expecting("open/a")), codes.FailedPrecondition},
		{"Ledger/Commit", "an import outside", of(f.ledger.Commit, imported("closed/x")), denied},
		{"Ledger/CommitStream", "outside", stream(set("closed/x", "1")), denied},
		{"Ledger/CommitStream", "inside, then outside", stream(set("open/a", "1"), set("closed/x", "1")), denied},
		{"Ledger/Commit", "inside", of(f.ledger.Commit, set("open/a", "2")), 0},
		{"Ledger/Commit", "an import inside", of(f.ledger.Commit, imported("open/a")), 0},
		{"Ledger/Revert", "one inside", of(f.ledger.Revert, &stelev1.RevertRequest{Revisions: []uint64{7}}), 0},
		{"Ledger/Rollback", "inside", of(f.ledger.Rollback, &stelev1.RollbackRequest{To: atRevision(2), Prefix: "open/"}), 0},
		{"Ledger/Copy", "inside", of(f.ledger.Copy, &stelev1.CopyRequest{From: "open/a", To: "open/copied", Rename: true}), 0},
	}
}

// A caller that is limited to a prefix gets nothing else in any answer. A method that
// is served and not in the cases fails the test.
func TestPrefixes_LimitEveryMethod(t *testing.T) {
	f, alice, _ := startLimited(t)
	cases := f.limitedCases(t)
	for _, m := range f.gateway.Methods() {
		if !slices.ContainsFunc(cases, func(c limitedCase) bool { return fullMethod(c.method) == m }) {
			t.Errorf("no case covers %s", m)
		}
	}
	for _, tc := range cases {
		resp, err := tc.call(alice)
		if status.Code(err) != tc.want {
			t.Errorf("%s of %s: %v, want %s", tc.method, tc.what, err, tc.want)
		}
		answer := prototext.Format(status.Convert(err).Proto())
		if resp != nil {
			answer += prototext.Format(resp)
		}
		if tc.want != codes.PermissionDenied && tc.method != "Ledger/CheckAccess" && strings.Contains(answer, "hidden") {
			t.Errorf("%s of %s contains:\n%s", tc.method, tc.what, answer)
		}
	}
}

// A key outside is answered the same whether it is set or not.
func TestPrefixes_DenialRevealsNothing(t *testing.T) {
	f, alice, owner := startLimited(t)
	var before []string
	for _, round := range []string{"set", "deleted"} {
		var now []string
		for _, tc := range f.limitedCases(t) {
			if tc.want == codes.PermissionDenied {
				_, err := tc.call(alice)
				now = append(now, fmt.Sprintf("%s of %s: %s", tc.method, tc.what, prototext.Format(status.Convert(err).Proto())))
			}
		}
		if round == "set" {
			before = now
			req := set("closed/hidden", "")
			req.Changes[0].Delete = true
			f.commit(t, owner, req)
		} else if diff := cmp.Diff(before, now); diff != "" {
			t.Errorf("a denial changes when the key is deleted:\n%s", diff)
		}
	}
}

func TestPrefixes_PartOfACommit(t *testing.T) {
	f, alice, owner := startLimited(t)
	get := func(ctx context.Context, rev uint64) *stelev1.CommitInfo {
		t.Helper()
		resp, err := f.ledger.GetCommit(ctx, &stelev1.GetCommitRequest{Commit: &stelev1.GetCommitRequest_Revision{Revision: rev}, Encoded: true})
		if err != nil {
			t.Fatal(err)
		}
		return resp.Info
	}
	whole, part := get(owner, 2), get(alice, 2)
	want := proto.CloneOf(whole)
	want.Partial, want.Encoded, want.Commit.Message, want.Commit.RequestId = true, nil, "", ""
	want.Commit.Changes = want.Commit.Changes[:1]
	if whole.Partial || len(whole.Encoded) == 0 || !proto.Equal(part, want) {
		t.Errorf("a partly visible commit is answered with %v, not %v", part, want)
	}
	if inside := get(alice, 1); inside.Partial || len(inside.Encoded) == 0 || inside.Commit.Message != "open message" {
		t.Errorf("a visible commit is answered with %v", inside)
	}
	list, err := f.ledger.ListCommits(alice, &stelev1.ListCommitsRequest{})
	if err != nil || len(list.Commits) != 3 || !list.Commits[1].Partial || list.Commits[1].Commit.Message != "" {
		t.Errorf("the log is %v, %v", list, err)
	}
	if list, err = f.ledger.ListCommits(alice, &stelev1.ListCommitsRequest{Grep: "message"}); err != nil || len(list.Commits) != 1 || list.Commits[0].Commit.Revision != 1 {
		t.Errorf("the log of a text that a hidden message also has: %v, %v", list, err)
	}
	blame, err := f.ledger.Blame(alice, &stelev1.BlameRequest{Prefix: "open/"})
	if err != nil || len(blame.Entries) != 2 || blame.Entries[0].Message != "" || blame.Entries[0].Author != "owner" || blame.Entries[1].Message != "more" {
		t.Errorf("blame is %v, %v", blame, err)
	}
}

// Two watches of the same keys get the same commit, each as much as its caller may
// see.
func TestPrefixes_PartOfAWatch(t *testing.T) {
	f, alice, owner := startLimited(t)
	create := &stelev1.CreateWatch{Id: 1, Prefixes: []string{"open/"}, FromRevision: 1}
	limited, full := f.watch(t, alice, create), f.watch(t, owner, create)
	for _, w := range []watchClient{limited, full} {
		recv(t, w)
	}
	req := set("open/a", "5", "closed/hidden", "5")
	req.Message = "later"
	f.commit(t, owner, req)
	for i, want := range []string{"open message", "hidden message", "more", "later"} {
		if got := recv(t, full).GetCommit(); got.GetMessage() != want {
			t.Errorf("the owner's commit %d is %v", i, got)
		}
		if want == "hidden message" || want == "later" {
			want = ""
		}
		if got := recv(t, limited).GetCommit(); got == nil || got.Message != want || slices.ContainsFunc(got.Changes, func(c *stelev1.Change) bool { return !strings.HasPrefix(c.Key, "open/") }) {
			t.Errorf("alice's commit %d is %v", i, got)
		}
	}
}

// Records of reads are filtered like commits.
func TestPrefixes_PartOfTheReads(t *testing.T) {
	f, alice, owner := startLimited(t)
	f.setPolicy(t, "acme", `{"record":[""]}`)
	for _, keys := range [][]string{{"open/a", "closed/hidden"}, {"closed/hidden"}, {"open/b"}} {
		if _, err := f.config.BatchGet(owner, &stelev1.BatchGetRequest{Keys: keys}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := f.config.List(owner, &stelev1.ListRequest{}); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, r := range f.recorded(t, alice) {
		got = append(got, formatRead(r))
	}
	if diff := cmp.Diff([]string{"BatchGet open/a @4", "BatchGet open/b @4", "List * @4"}, got); diff != "" {
		t.Error(diff)
	}
}

// Parked keys and drift are filtered like the keys themselves.
func TestPrefixes_PartOfASink(t *testing.T) {
	f := startSinks(t)
	f.project()
	ctx := f.as(t, "acme", identity.Admin)
	f.commit(t, ctx, set("a", "1", "b", "1"))
	f.caughtUp(t, "acme")
	f.commit(t, ctx, set("a/x", "1", "b/x", "1")) // a file cannot be a folder
	f.caughtUp(t, "acme")
	part := bearer(t.Context(), f.token(t, identity.Claims{Tenant: "acme", Roles: []identity.Role{identity.Admin}, Prefixes: []ledger.Pattern{"a"}}))
	if whole, some := f.parked(t, ctx), f.parked(t, part); len(whole) != 2 || !slices.Equal(some, []string{"acme a/x"}) {
		t.Errorf("parked are %v, and of a: %v", whole, some)
	}
	for _, name := range []string{"a", "b"} {
		if err := os.WriteFile(filepath.Join(f.folder, "acme", name), []byte("by hand"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := f.sinks.CheckDrift(ctx, &stelev1.CheckDriftRequest{Sink: "files"}); err != nil {
		t.Fatal(err)
	}
	if whole, some := f.drift(t, ctx), f.drift(t, part); len(whole) != 2 || !slices.Equal(some, []string{"acme a"}) {
		t.Errorf("drifted are %v, and of a: %v", whole, some)
	}
}
