package gateway_test

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/stelehq/stele/internal/gateway"
	"github.com/stelehq/stele/internal/gateway/identity"
	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/routes"
	"github.com/stelehq/stele/internal/ledger/schema"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// startSchemas is a gateway whose ledger validates values against schemas. Keys under s/
// are secret.
func startSchemas(t *testing.T) *fixture {
	t.Helper()
	var l *ledger.Ledger
	var source *schema.Source
	f := startRecorded(t, routed(t, `{"sinks":{"files":{"kind":"directory"}},"routes":[{"prefix":"","sinks":["files"]},{"prefix":"s/","sinks":[],"secret":true}]}`), func(c *gateway.Config) {
		source = schema.NewSource(c.Replica, c.Routes, nil)
		c.Schemas = source
		c.Ledger = func() (*ledger.Ledger, error) { return l, nil }
		c.Refusals = func(table *routes.Table, cm *ledger.Commit, _ func(ledger.Prefix, func(ledger.Key) bool) error) (all []*stelev1.SinkRefusal, _ error) {
			for _, ch := range cm.Changes {
				if r := table.Route(ch.Key); r != nil && strings.HasSuffix(string(ch.Key), "/long") {
					all = append(all, &stelev1.SinkRefusal{Key: string(ch.Key), Sink: r.Sinks[0], Reason: "too long"})
				}
			}
			return all, nil
		}
	})
	l = ledger.New(ledger.Config{Journal: f.node.Journal, Replica: f.node.Replica, Schemas: source})
	t.Cleanup(l.Close)
	return f
}

// violations are the fields and descriptions of a BadRequest.
func violations(t *testing.T, err error) (all []string) {
	t.Helper()
	if status.Code(err) != codes.InvalidArgument {
		t.Fatalf("%v, want an invalid argument", err)
	}
	for _, d := range status.Convert(err).Details() {
		if b, ok := d.(*errdetails.BadRequest); ok {
			for _, v := range b.FieldViolations {
				all = append(all, v.Field+": "+v.Description)
			}
		}
	}
	return all
}

func TestSchemas_ExplainAndList(t *testing.T) {
	f := startSchemas(t)
	c := stelev1.NewSchemasClient(f.conn)
	system, acme := f.as(t, ledger.System, identity.Operator), f.as(t, "acme", identity.Writer)
	f.commit(t, system, set("_schema/a", `{"type":"object"}`))
	f.commit(t, acme, set("_schema/a/b", `{"required":["x"]}`, "a/b/c", `{"x":1}`))
	f.commit(t, acme, set("_schema/a/b", `{"required":["y"]}`, "a/b/c", `{"y":1}`))

	list, err := c.ListSchemas(acme, &stelev1.ListSchemasRequest{})
	if err != nil {
		t.Fatal(err)
	}
	want := []*stelev1.Schema{
		{Prefix: "a/b", Document: `{"required":["y"]}`, Revision: 2},
		{Prefix: "a", Document: `{"type":"object"}`, Revision: 1, Platform: true},
	}
	equal := func(a, b *stelev1.Schema) bool { return proto.Equal(a, b) }
	if !slices.EqualFunc(list.Schemas, want, equal) {
		t.Errorf("listed %v", list.Schemas)
	}
	if list, err = c.ListSchemas(acme, &stelev1.ListSchemasRequest{At: atRevision(1)}); err != nil || list.Schemas[0].Document != `{"required":["x"]}` {
		t.Errorf("at @1: %v, %v", list, err)
	}
	explained, err := c.ExplainKey(acme, &stelev1.ExplainKeyRequest{Key: "a/b/c"})
	if err != nil || !slices.EqualFunc(explained.Schemas, want, equal) {
		t.Errorf("explained %v, %v", explained, err)
	}
	if explained, err = c.ExplainKey(acme, &stelev1.ExplainKeyRequest{Key: "a/c"}); err != nil || !slices.EqualFunc(explained.Schemas, want[1:], equal) {
		t.Errorf("explained %v, %v", explained, err)
	}

	checked, err := c.CheckValue(acme, &stelev1.CheckValueRequest{Key: "a/b/c", Value: `{"x":1}`})
	if err != nil || checked.Schemas != 2 || len(checked.Violations) != 1 || checked.Violations[0].Keyword != "required" {
		t.Errorf("checked %v, %v", checked, err)
	}
	tried, err := c.CheckSchema(acme, &stelev1.CheckSchemaRequest{Prefix: "a/b", Document: `{"required":["z"]}`})
	if err != nil || tried.Broken.Checked != 1 || tried.Broken.Count != 1 || tried.Broken.First[0].Key != "a/b/c" || tried.Broken.First[0].Tenant != "" {
		t.Errorf("tried %v, %v", tried, err)
	}
	_, err = c.CheckSchema(acme, &stelev1.CheckSchemaRequest{Prefix: "a/b", Document: `{"required":1}`})
	if v := violations(t, err); len(v) != 1 || !strings.HasPrefix(v[0], "document: _schema/a/b is not a valid schema: at /required is of type number") {
		t.Errorf("%q", v)
	}
	if tried, err = c.CheckSchema(system, &stelev1.CheckSchemaRequest{Prefix: "a", Document: "false"}); err != nil || tried.Broken.Count != 1 || tried.Broken.First[0].Tenant != "acme" {
		t.Errorf("for all tenants: %v, %v", tried, err)
	}
	if live, err := c.CheckLive(acme, &stelev1.CheckLiveRequest{}); err != nil || live.Broken.Checked != 1 || live.Broken.Count != 0 {
		t.Errorf("live: %v, %v", live, err)
	}
}

func TestSchemas_ViolationNamesFieldKeyAndRule(t *testing.T) {
	f := startSchemas(t)
	ctx := f.as(t, "acme", identity.Writer)
	f.commit(t, ctx, set("_schema/a", `{"properties":{"x":{"maximum":1}}}`, "_schema/s", `{"properties":{"x":{"maximum":1}}}`))
	_, err := f.ledger.Commit(ctx, set("b", "1", "a", `{"x":2}`, "s/a", `{"x":77}`))
	want := []string{
		`changes[1].value: a: at /x must be at most 1, and is 2 (_schema/a#/properties/x/maximum of acme)`,
		`changes[2].value: s/a: at /x must be at most 1, and is "***" (_schema/s#/properties/x/maximum of acme)`,
	}
	if got := violations(t, err); !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
}

// A caller that is limited to prefixes sets schemas for keys inside, if it may set
// their keys. Keys outside are neither checked nor reported.
func TestSchemas_CallerWithPrefixes(t *testing.T) {
	f := startSchemas(t)
	f.commit(t, f.as(t, "acme", identity.Admin), set("closed/hidden", `"hidden"`, "_schema/closed", `{"$ref":"stele:///open#/$defs/x"}`, "_schema/open", `{"$defs":{"x":{"type":"string"}}}`))
	limited := func(document string, prefixes ...ledger.Pattern) error {
		ctx := bearer(t.Context(), f.token(t, identity.Claims{Subject: "alice", Tenant: "acme", Roles: []identity.Role{identity.Writer}, Prefixes: prefixes}))
		_, err := f.ledger.Commit(ctx, set("_schema/open", document))
		return err
	}
	const integers = `{"$defs":{"x":{"type":"integer"}}}`
	if err := limited(integers, "open"); status.Code(err) != codes.PermissionDenied {
		t.Errorf("without the key: %v", err)
	}
	if err := limited(integers, "_schema/open"); status.Code(err) != codes.PermissionDenied {
		t.Errorf("without the values: %v", err)
	}
	if err := limited(integers, "open", "_schema/open", "closed"); !strings.Contains(strings.Join(violations(t, err), ""), "closed/hidden") {
		t.Errorf("with the values of the schema that refers to it: %v", err)
	}
	if v := violations(t, limited(`{"$ref":"stele:///closed"}`, "open", "_schema/open")); len(v) != 1 || !strings.Contains(v[0], "closed does not have a schema") {
		t.Errorf("a reference to a schema outside: %q", v)
	}
	if err := limited(integers, "open", "_schema/open"); err != nil {
		t.Errorf("without the values of the schema that refers to it: %v", err)
	}
}

// An operator's access to a tenant's values in the ledger's own tenant is recorded for
// that tenant.
func TestSchemas_ChecksOfAllTenantsAreRecordedForEach(t *testing.T) {
	f := startSchemas(t)
	for _, tenant := range []ledger.Tenant{"acme", "other"} {
		f.commit(t, f.as(t, tenant, identity.Writer), set("a/x", "1"))
	}
	f.commit(t, f.as(t, "none", identity.Writer), set("b", "1"))
	c, system := stelev1.NewSchemasClient(f.conn), f.system(t)
	if got, err := c.CheckSchema(system, &stelev1.CheckSchemaRequest{Prefix: "a", Document: `{"type":"string"}`}); err != nil || got.Broken.Count != 2 {
		t.Fatalf("%v, %v", got, err)
	}
	if _, err := c.CheckLive(system, &stelev1.CheckLiveRequest{}); err != nil {
		t.Fatal(err)
	}
	if _, err := f.ledger.Commit(system, set("_schema/a", `{"type":"string"}`)); len(violations(t, err)) != 2 {
		t.Errorf("%v", err)
	}
	if _, err := f.ledger.Plan(system, &stelev1.PlanRequest{Commit: set("_schema/a", `{"type":"integer"}`)}); err != nil {
		t.Error(err)
	}
	for tenant, want := range map[ledger.Tenant][]string{
		"acme":  {"CheckSchema a* @0", "CheckLive * @0", "Commit a* @0", "Plan a* @0"},
		"other": {"CheckSchema a* @0", "CheckLive * @0", "Commit a* @0", "Plan a* @0"},
		"none":  {"CheckLive * @0"},
	} {
		var got []string
		for _, r := range f.recorded(t, f.as(t, tenant, identity.Auditor)) {
			got = append(got, formatRead(r))
		}
		if !slices.Equal(got, want) {
			t.Errorf("records of %s: %q, want %q", tenant, got, want)
		}
	}
}

func TestPlan(t *testing.T) {
	f := startSchemas(t)
	ctx := f.as(t, "acme", identity.Writer)
	f.commit(t, ctx, set("a/x", "1", "a/y", "2", "a/z", "3", "s/a", `"hush"`))
	f.commit(t, ctx, set("_schema/a", `{"type":"integer"}`))
	plan := func(req *stelev1.CommitRequest) (*stelev1.PlanResponse, error) {
		return f.ledger.Plan(ctx, &stelev1.PlanRequest{Commit: req})
	}
	req := set("a/x", "5", "a/y", "2.0", "s/a", `"hush again"`, "b/long", "1")
	req.Changes = append(req.Changes, &stelev1.Change{Key: "a/z", Delete: true})
	p, err := plan(req)
	if err != nil {
		t.Fatal(err)
	}
	if len(p.HeadId) != 32 {
		t.Errorf("the head's id is %x", p.HeadId)
	}
	want := &stelev1.PlanResponse{Head: 2, HeadId: p.HeadId, Sets: 4, Deletes: 1, Diffs: []*stelev1.KeyDiff{
		{Key: "a/x", FromValue: "1", FromRevision: 1, ToValue: "5", ToRevision: 3},
		{Key: "s/a", FromValue: `"***"`, FromRevision: 1, ToValue: `"***"`, ToRevision: 3},
		{Key: "b/long", ToValue: "1", ToRevision: 3},
		{Key: "a/z", FromValue: "3", FromRevision: 1, ToRevision: 3},
	}, Refusals: []*stelev1.SinkRefusal{{Key: "b/long", Sink: "files", Reason: "too long"}}}
	if !proto.Equal(p, want) {
		t.Errorf("planned %v\nwant %v", p, want)
	}
	if _, err := plan(set("a/x", `"s"`)); len(violations(t, err)) != 1 {
		t.Errorf("%v", err)
	}
	req = set("a/x", "5")
	req.Preconditions = []*stelev1.Precondition{{Key: "a/x", Revision: 7}}
	if _, err := plan(req); status.Code(err) != codes.FailedPrecondition {
		t.Errorf("%v", err)
	}
	req = set("a/x", "5")
	req.ExpectedHead = proto.Uint64(1)
	if _, err := plan(req); status.Code(err) != codes.FailedPrecondition {
		t.Errorf("%v", err)
	}
	if _, err := f.ledger.Plan(f.as(t, "acme", identity.Reader), &stelev1.PlanRequest{Commit: set("a/x", "5")}); status.Code(err) != codes.PermissionDenied {
		t.Errorf("a reader's: %v", err)
	}
	head, err := f.ledger.GetHead(ctx, &stelev1.GetHeadRequest{})
	if err != nil || head.Snapshot.Head != 2 {
		t.Errorf("after the plans: %v, %v", head, err)
	}
	f.commit(t, ctx, set("b/long", "1"))
	f.commit(t, ctx, &stelev1.CommitRequest{Changes: []*stelev1.Change{{Key: "b/long", Delete: true}}})
	back, err := f.ledger.Rollback(ctx, &stelev1.RollbackRequest{To: atRevision(3), DryRun: true})
	if err != nil || !slices.EqualFunc(back.Refusals, want.Refusals, func(a, b *stelev1.SinkRefusal) bool { return proto.Equal(a, b) }) {
		t.Errorf("the rollback refuses %v, %v", back, err)
	}
	undo, err := f.ledger.Revert(ctx, &stelev1.RevertRequest{Revisions: []uint64{4}, DryRun: true})
	if err != nil || !slices.EqualFunc(undo.Refusals, want.Refusals, func(a, b *stelev1.SinkRefusal) bool { return proto.Equal(a, b) }) {
		t.Errorf("the revert refuses %v, %v", undo, err)
	}
}

// Checks at a time are bounded for each tenant, and the rest stays for others.
func TestSchemas_ChecksAtATime(t *testing.T) {
	f := start(t)
	acme, globex := f.as(t, "acme", identity.Admin), f.as(t, "globex", identity.Admin)
	for range 3 {
		if _, ok := f.gateway.TakeCheck("acme", "alice"); !ok {
			t.Fatal("no slot for a check")
		}
	}
	schemas := stelev1.NewSchemasClient(f.conn)
	for what, call := range map[string]func(context.Context) error{
		"CheckValue": func(ctx context.Context) error {
			_, err := schemas.CheckValue(ctx, &stelev1.CheckValueRequest{Key: "a", Value: "1"})
			return err
		},
		"CheckSchema": func(ctx context.Context) error {
			_, err := schemas.CheckSchema(ctx, &stelev1.CheckSchemaRequest{Prefix: "a", Document: "{}"})
			return err
		},
		"CheckLive": func(ctx context.Context) error {
			_, err := schemas.CheckLive(ctx, &stelev1.CheckLiveRequest{Prefix: ""})
			return err
		},
	} {
		if err := call(acme); status.Code(err) != codes.ResourceExhausted {
			t.Errorf("%s of the tenant that has its share: %v", what, err)
		}
		if err := call(globex); err != nil {
			t.Errorf("%s of another tenant: %v", what, err)
		}
	}
}

// A check that fails releases its slot.
func TestSchemas_FailedChecksReleaseTheirSlots(t *testing.T) {
	f := start(t)
	schemas, ctx := stelev1.NewSchemasClient(f.conn), f.as(t, "acme", identity.Admin)
	f.commit(t, ctx, set("a", "1"))
	for i := range 4 { // one caller gets 3 slots
		_, err := schemas.CheckValue(ctx, &stelev1.CheckValueRequest{Key: "a", Value: "1", MinRevision: 1, MinId: []byte("another id")})
		if status.Code(err) != codes.FailedPrecondition {
			t.Errorf("check %d that fails: %v", i, err)
		}
	}
}
