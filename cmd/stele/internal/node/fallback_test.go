package node_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stelehq/stele/cmd/stele/internal/conn"
	"github.com/stelehq/stele/cmd/stele/internal/node"
	"github.com/stelehq/stele/internal/gateway/identity"
	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/routes"
	"github.com/stelehq/stele/internal/projector/dynamotest"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// An edge that holds acme answers what globex asks for from the table that a projector
// writes, says how little it knows, and answers nothing that is not there to know.
func TestFallback_AnswersFromDynamoDB(t *testing.T) {
	endpoint := dynamotest.Start(t)
	table, err := routes.Parse(fmt.Appendf(nil, `{
		"sinks": {"table": {"kind": "dynamodb", "endpoint": %q, "create": true}},
		"routes": [{"prefix": "tenantconfig/", "sinks": ["table"]}]
	}`, endpoint))
	if err != nil {
		t.Fatal(err)
	}
	run := processes(t, startNATS(t))
	core := run(node.Config{Roles: []string{node.RoleLedger, node.RoleGateway, node.RoleProjector}, Routes: table})
	defer func() { core.stop() }()
	// Its token also names globex, whose reads the upstream records.
	edge := run(node.Config{Roles: []string{node.RoleGateway}, Tenants: []ledger.Tenant{"acme"}, Routes: table, Fallback: "table", Upstream: core.upstream(t, "acme", "globex")})
	defer func() { edge.stop() }()

	acme, globex, system := conn.AsTenant(t.Context(), "acme"), conn.AsTenant(t.Context(), "globex"), conn.AsTenant(t.Context(), ledger.System)
	commit := func(ctx context.Context, key, value string) {
		t.Helper()
		until(t, "commit", func() bool {
			_, err := core.ledger.Commit(ctx, &stelev1.CommitRequest{RequestId: key + value, Changes: []*stelev1.Change{{Key: key, Value: value, Delete: value == ""}}})
			return err == nil
		})
	}
	get := func(key string) (*stelev1.GetResponse, error) {
		return edge.config.Get(globex, &stelev1.GetRequest{Key: key})
	}
	commit(globex, "tenantconfig/gone", "1")
	commit(globex, "tenantconfig/a", `{"n":9007199254740993.10}`)
	commit(globex, "other/a", "1")
	commit(globex, "tenantconfig/gone", "")
	commit(acme, "tenantconfig/a", `"of acme"`)

	until(t, "a table with all", func() bool {
		resp, err := edge.config.BatchGet(globex, &stelev1.BatchGetRequest{Keys: []string{"tenantconfig/gone", "tenantconfig/a"}})
		return err == nil && len(resp.Entries) == 1 && len(resp.Missing) == 1
	})
	got, err := get("tenantconfig/a")
	if err != nil || got.Entry.Value != `{"n":9007199254740993.10}` || got.Entry.Revision != 2 {
		t.Errorf("Get from the table: %v, %v", got, err)
	}
	if s := got.GetSnapshot(); !s.GetStale() || s.GetAge() != nil || s.GetRevision() != 0 || s.GetHead() != 0 {
		t.Errorf("the snapshot claims to know more: %v", s)
	}
	batch, err := edge.config.BatchGet(globex, &stelev1.BatchGetRequest{Keys: []string{"tenantconfig/never", "tenantconfig/a", "tenantconfig/gone", "tenantconfig/a"}})
	if err != nil || len(batch.Entries) != 2 || !slices.Equal(batch.Missing, []string{"tenantconfig/never", "tenantconfig/gone"}) || !batch.Snapshot.GetStale() {
		t.Errorf("BatchGet from the table: %v, %v", batch, err)
	}
	until(t, "an edge that holds acme", func() bool {
		got, err := edge.config.Get(acme, &stelev1.GetRequest{Key: "tenantconfig/a"})
		return err == nil && got.Entry.Value == `"of acme"` && !got.Snapshot.Stale
	})

	failed := func(_ any, err error) error { return err }
	for _, tc := range []struct {
		name string
		err  error
		want codes.Code
	}{
		{"a key that was deleted", failed(get("tenantconfig/gone")), codes.NotFound},
		{"a key that was never set", failed(get("tenantconfig/never")), codes.NotFound},
		{"a key that is set and goes elsewhere", failed(get("other/a")), codes.FailedPrecondition},
		{"a bad key", failed(get("a//b")), codes.InvalidArgument},
		{"the past", failed(edge.config.Get(globex, &stelev1.GetRequest{Key: "tenantconfig/a", At: &stelev1.At{Point: &stelev1.At_Revision{Revision: 2}}})), codes.FailedPrecondition},
		{"what the key's revision is as new as", failed(edge.config.Get(globex, &stelev1.GetRequest{Key: "tenantconfig/a", MinRevision: 2})), codes.OK},
		{"what may not be there yet", failed(edge.config.Get(globex, &stelev1.GetRequest{Key: "tenantconfig/a", MinRevision: 3})), codes.Unavailable},
		{"a key that may not be there yet", failed(edge.config.Get(globex, &stelev1.GetRequest{Key: "tenantconfig/never", MinRevision: 1})), codes.Unavailable},
		{"List", failed(edge.config.List(globex, &stelev1.ListRequest{})), codes.FailedPrecondition},
		{"GetHead", failed(edge.ledger.GetHead(globex, &stelev1.GetHeadRequest{})), codes.FailedPrecondition},
		{"Diff", failed(edge.ledger.Diff(globex, &stelev1.DiffRequest{From: &stelev1.At{Point: &stelev1.At_Revision{Revision: 1}}})), codes.FailedPrecondition},
		{"Commit", failed(edge.ledger.Commit(globex, &stelev1.CommitRequest{Changes: []*stelev1.Change{{Key: "a", Value: "1"}}})), codes.FailedPrecondition},
		{"the ledger's own tenant", failed(edge.config.Get(system, &stelev1.GetRequest{Key: "projector/routes"})), codes.FailedPrecondition},
		{"Read", func() error {
			stream, err := edge.config.Read(globex)
			if err == nil {
				_, err = stream.Recv()
			}
			return err
		}(), codes.FailedPrecondition},
		{"Watch", func() error {
			stream, err := edge.config.Watch(globex)
			if err == nil {
				_, err = stream.Recv()
			}
			return err
		}(), codes.FailedPrecondition},
	} {
		if status.Code(tc.err) != tc.want {
			t.Errorf("%s: %v, want %s", tc.name, tc.err, tc.want)
		}
	}

	// globex's policy also applies to settings that come from the table.
	commit(system, "policy/globex/reads", `{"record":["tenantconfig/"]}`)
	reader, err := conn.Dial(edge.grpc, edge.tls, func() (string, error) {
		return edge.signer.Mint(identity.Claims{Subject: "gina", Tenant: "globex", Roles: []identity.Role{identity.Reader}, TTL: time.Hour})
	})
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	var record *stelev1.ReadRecord
	until(t, "a recorded read", func() bool {
		_, err := stelev1.NewConfigClient(reader).Get(t.Context(), &stelev1.GetRequest{Key: "tenantconfig/a"})
		if err != nil {
			t.Fatal(err)
		}
		resp, err := core.ledger.ListReads(globex, &stelev1.ListReadsRequest{PageSize: 1000})
		if err != nil {
			return false
		}
		for _, r := range resp.Reads {
			if r.Subject == "gina" {
				record = r
			}
		}
		return record != nil
	})
	if r := record; r.Tenant != "globex" || !strings.HasSuffix(r.Method, "Config/Get") || !slices.Equal(r.Keys, []string{"tenantconfig/a"}) || r.Revision != 0 {
		t.Errorf("the record is %v", r)
	}
}

func TestFallback_WithoutAnAnswer(t *testing.T) {
	table, err := routes.Parse([]byte(`{
		"sinks": {"table": {"kind": "dynamodb", "endpoint": "http://127.0.0.1:1", "region": "eu-west-1"}, "files": {"kind": "directory"}},
		"routes": [{"prefix": "", "sinks": ["table", "files"]}]
	}`))
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("AWS_ACCESS_KEY_ID", "test")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "test")
	run := processes(t, startNATS(t))
	core := run(node.Config{Roles: []string{node.RoleLedger, node.RoleGateway}})
	defer func() { core.stop() }()
	for _, sink := range []string{"table", "files", "none"} {
		edge := run(node.Config{Roles: []string{node.RoleGateway}, Tenants: []ledger.Tenant{"acme"}, Routes: table, Fallback: sink, Upstream: core.upstream(t, "acme", "globex")})
		defer func() { edge.stop() }()
		until(t, "an edge that is ready", func() bool {
			_, err := edge.config.List(conn.AsTenant(t.Context(), "acme"), &stelev1.ListRequest{})
			return err == nil
		})
		want := map[string]codes.Code{"table": codes.Unavailable, "files": codes.Unavailable, "none": codes.FailedPrecondition}[sink]
		_, err := edge.config.Get(conn.AsTenant(t.Context(), "globex"), &stelev1.GetRequest{Key: "a"})
		if status.Code(err) != want || strings.Contains(err.Error(), "127.0.0.1:1") {
			t.Errorf("from the sink %s: %v, want %s without the sink's location", sink, err, want)
		}
	}
}
