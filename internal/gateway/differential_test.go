package gateway_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stelehq/stele/internal/gateway"
	"github.com/stelehq/stele/internal/gateway/identity"
	"github.com/stelehq/stele/internal/gateway/policy"
	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/bases"
	"github.com/stelehq/stele/internal/ledger/journal"
	"github.com/stelehq/stele/internal/ledger/ledgertest"
	"github.com/stelehq/stele/internal/ledger/proof"
	"github.com/stelehq/stele/internal/ledger/routes"
	"github.com/stelehq/stele/internal/ledger/schema"
	"github.com/stelehq/stele/internal/ledger/secret"
	"github.com/stelehq/stele/internal/projector"
	"github.com/stelehq/stele/internal/projector/directory"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/dynamicpb"
)

// twin is one of two ledgers that differ only in what the test's callers may not see.
type twin struct {
	*fixture
	sinks stelev1.SinksClient
	tree  *proof.Tree
}

// hiddenIn are what the two ledgers hide: a secret and its older value, keys and values, what
// keeps a key out of a sink, and a schema that refers to a visible one; and of the bases and the
// origins of commits, names of keys, tenants and authors, messages and pins.
var hiddenIn = [2]struct{ older, secret, schema, keys, name, tenant, message string }{
	{`"hunter2"`, `"Correct-horse"`, `{"$ref":"stele:///open/defs#/$defs/x"}`, "t/a closed/one closed/two", "one", "stage", "hidden why"},
	{`"a much longer older secret"`, `"zz"`, `{"type":["string","integer"]}`, "closed/three", "another", "preprod", "mine, and other hidden reasons"},
}

func startTwin(t *testing.T, which int) *twin {
	t.Helper()
	text, err := secret.GenerateKEK()
	if err != nil {
		t.Fatal(err)
	}
	kek, err := secret.ParseKEK(text)
	if err != nil {
		t.Fatal(err)
	}
	tree, err := proof.OpenTree(proof.Config{Path: filepath.Join(t.TempDir(), "tree.db")})
	if err != nil {
		t.Fatal(err)
	}
	f, dir := &twin{tree: tree}, t.TempDir()
	var source *routes.Source
	var write func() (*ledger.Ledger, error)
	fit := map[string]projector.FitKind{"directory": directory.Fit}
	started := make(chan struct{})
	f.fixture = startRecorded(t, routed(t, `{"sinks":{"files":{"kind":"directory"}},"routes":[{"prefix":"","sinks":["files"]},{"prefix":"s/","sinks":[],"secret":true}]}`), func(c *gateway.Config) {
		t.Cleanup(func() { tree.Close() }) // after the gateway and before the journal
		c.Tree = tree
		source = c.Routes
		c.Secrets = secret.New(secret.Config{KEK: kek, Replica: c.Replica, Routes: c.Routes, Keys: func() (secret.Keys, error) {
			return f.node.Journal.OpenBucket(context.Background(), journal.Keys)
		}})
		c.Schemas = schema.NewSource(c.Replica, c.Routes, c.Secrets)
		seal, sealable, reseal, schemas := c.Secrets.Seal, c.Secrets.Sealable, c.Secrets.Reseal, c.Schemas
		write = sync.OnceValues(func() (*ledger.Ledger, error) {
			l := ledger.New(ledger.Config{Journal: f.node.Journal, Replica: f.node.Replica, Seal: seal, Sealable: sealable, Reseal: reseal, Schemas: schemas})
			t.Cleanup(l.Close)
			return l, nil
		})
		c.Ledger = write
		c.Sinks = controlOf(t, started, func() *ledgertest.Node { return f.node })
		c.Refusals = func(table *routes.Table, c *ledger.Commit, live func(ledger.Prefix, func(ledger.Key) bool) error) ([]*stelev1.SinkRefusal, error) {
			return projector.Refusals(fit, table, c, live)
		}
	})
	close(started)
	f.sign(t, tree)
	f.sinks = stelev1.NewSinksClient(f.conn)
	l, err := write()
	if err != nil {
		t.Fatal(err)
	}
	p, err := projector.Start(t.Context(), projector.Config{
		Replica: f.node.Replica, Journal: f.node.Journal, Conn: f.node.Conn, Ledger: l, Routes: source, Alone: true, Log: slog.New(slog.DiscardHandler),
		Kinds: map[string]projector.Kind{"directory": directory.Open}, Dir: dir,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	m := bases.Start(f.node.Replica, l, slog.New(slog.DiscardHandler))
	t.Cleanup(m.Close)
	f.fill(t, which)
	f.inherit(t, which)
	f.derive(t, which)
	return f
}

// owner is a context of an owner of a tenant.
func (f *twin) owner(t *testing.T, tenant ledger.Tenant) context.Context {
	return bearer(t.Context(), f.token(t, identity.Claims{Subject: "owner", Tenant: tenant, Roles: []identity.Role{identity.Admin}}))
}

// inherit gives both tenants bases, which have hidden values and secrets, and moves their
// pins. The limited caller of acme may not see the list of its bases either.
func (f *twin) inherit(t *testing.T, which int) {
	t.Helper()
	hidden, other := hiddenIn[which], ledger.Tenant("base-of-"+hiddenIn[which].tenant)
	commit := func(ctx context.Context, message string, kv ...string) {
		t.Helper()
		req := set(kv...)
		req.Message = message
		f.commit(t, ctx, req)
	}
	// A second base of acme has hidden keys only.
	for i := range 2 {
		commit(f.owner(t, other), hidden.message, "closed/"+hidden.name, fmt.Sprint(i), "closed/over", hidden.secret)
	}
	for _, tenant := range []ledger.Tenant{"acme", "vault"} {
		base, closed, message, override := ledger.Tenant("defaults"), "closed/"+hidden.name+"/base", hidden.message, hidden.older
		if tenant == "vault" { // its caller sees what the base has, except secrets
			base, closed, message, override = "plans", "closed/base", "why", `"seen"`
		}
		commit(f.owner(t, base), message, "open/base", `"1"`, "open/over", `"base's"`, "s/base", hidden.older, closed, `"seen"`)
		list := fmt.Sprintf(`[{"tenant":%q,"revision":1,"follow":true}]`, base)
		if tenant == "acme" {
			list = fmt.Sprintf(`[{"tenant":"defaults","revision":1,"follow":true},{"tenant":%q,"revision":%d}]`, other, which+1)
		}
		operator := bearer(t.Context(), f.token(t, identity.Claims{Subject: "olga", Roles: []identity.Role{identity.Operator}}), "as-tenant", string(tenant))
		commit(operator, message, "_bases/list", list)
		commit(f.owner(t, tenant), message, "open/over", `"own"`, closed, override)
		moved := func(kv ...string) {
			t.Helper()
			before := f.node.Replica.Head(tenant).Revision
			commit(f.owner(t, base), message, kv...)
			until(t, func() bool { return f.node.Replica.Head(tenant).Revision == before+1 })
		}
		moved("open/base", `"2"`, "s/base", hidden.secret)
		moved(closed, `"seen again"`)
		moved("s/base", hidden.older)
		f.caughtUp(t, tenant)
	}
}

// derive makes commits whose changes the callers see, and whose origins the limited caller does
// not: they are promoted from a state, or copied from keys, that are hidden.
func (f *twin) derive(t *testing.T, which int) {
	t.Helper()
	hidden := hiddenIn[which]
	for _, tenant := range []ledger.Tenant{"acme", "vault"} {
		owner, name, from, message := f.owner(t, tenant), hidden.name, hidden.tenant, hidden.message
		if tenant == "vault" {
			name, from, message = "one", "stage", "why"
		}
		source := "closed/" + name
		f.commit(t, owner, set(source+"/key", `"seen"`, source+"/dir/x", `"seen"`, source+"/dir/y", `"seen"`))
		promoted := set("open/promoted", `"p"`)
		promoted.Message = message
		promoted.Promotion = &stelev1.PromotionOrigin{Tenant: from, Revision: uint64(7 + len(from)), Id: bytes.Repeat([]byte{byte(len(from))}, 32), Prefix: "open/", Left: []string{source + "/left"}}
		f.commit(t, owner, promoted)
		for _, req := range []*stelev1.CopyRequest{
			{From: source + "/key", To: "open/copied", Message: message}, {From: source + "/dir/", To: "open/dir/", Rename: true, Message: message},
			{From: "open/base", To: "open/kept", Message: "why"},
		} {
			if _, err := f.ledger.Copy(owner, req); err != nil {
				t.Fatal(err)
			}
		}
		f.caughtUp(t, tenant)
	}
}

// fill makes the same commits in both ledgers, except for hidden data.
func (f *twin) fill(t *testing.T, which int) {
	t.Helper()
	hidden := hiddenIn[which]
	f.setGrants(t, "acme", `{"grants":[{"subjects":["owner"],"roles":["admin"]},
		{"subjects":["limited"],"operations":["read","write","audit","administer"],"prefixes":["open/","_schema/open/","t/a/","s/","_schema/s/"]}]}`)
	f.setPolicy(t, "acme", `{"record":["open/","closed/","s/"]}`)
	for _, tenant := range []ledger.Tenant{"acme", "vault"} {
		owner := bearer(t.Context(), f.token(t, identity.Claims{Subject: "owner", Tenant: tenant, Roles: []identity.Role{identity.Admin}}))
		commit := func(kv ...string) {
			req := set(kv...)
			req.Message, req.AllowInvalid = "why", true
			f.commit(t, owner, req)
		}
		commit("open/a", `"1"`, "open/b/c", `{"x":1}`, "s/token", hidden.older, "_schema/open/defs", `{"$defs":{"x":{"type":"string"}}}`)
		closed := strings.Fields(hidden.keys)
		if tenant == "vault" { // its caller sees all keys
			closed = []string{"t/a", "closed/one"}
		}
		var kv []string
		for _, k := range closed {
			v := `"seen"`
			if tenant == "acme" {
				v = hidden.secret
			}
			kv = append(kv, k, v)
		}
		commit(append(kv, "open/a", `"2"`)...)
		if tenant == "acme" {
			commit("_schema/closed", hidden.schema)
		} else {
			commit("_schema/closed", "true")
		}
		commit("s/token", hidden.secret, "s/other", hidden.older)
		f.caughtUp(t, tenant) // t/a comes before t/a/z
		commit("t/a/z", "1")
		f.caughtUp(t, tenant)
		if _, err := f.config.BatchGet(owner, &stelev1.BatchGetRequest{Keys: append(closed[:1:1], "open/a")}); err != nil {
			t.Fatal(err)
		}
	}
}

// signed waits until a checkpoint covers all commits.
func (f *twin) signed(t testing.TB) {
	t.Helper()
	var commits int64
	heads, _ := f.node.Replica.AllHeads()
	for _, h := range heads {
		commits += int64(h.Head.Revision)
	}
	until(t, func() bool {
		c, _ := f.tree.Newest()
		return c.Size == commits
	})
}

func (f *twin) caughtUp(t testing.TB, tenant ledger.Tenant) {
	t.Helper()
	ctx := bearer(t.Context(), f.token(t, identity.Claims{Subject: "owner", Tenant: tenant, Roles: []identity.Role{identity.Admin}}))
	until(t, func() bool {
		resp, err := f.sinks.ListSinks(ctx, &stelev1.ListSinksRequest{})
		return err == nil && resp.Sinks[0].Owner != "" && resp.Sinks[0].LagRevisions == 0 && resp.Sinks[0].Position == uint64(f.node.Replica.Head(tenant).Revision)
	})
}

// call sends a request and returns the answer, as text.
func (f *twin) call(t testing.TB, ctx context.Context, d protoreflect.MethodDescriptor, req proto.Message) string {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	name := fmt.Sprintf("/%s/%s", d.Parent().FullName(), d.Name())
	var all []string
	note := func(m proto.Message) {
		withoutSweeps(m)
		text, err := protojson.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, string(text))
	}
	answer := func() proto.Message {
		mt, err := protoregistry.GlobalTypes.FindMessageByName(d.Output().FullName())
		if err != nil {
			return dynamicpb.NewMessage(d.Output())
		}
		return mt.New().Interface()
	}
	fail := func(err error) {
		if err != nil && !errors.Is(err, io.EOF) {
			note(status.Convert(err).Proto())
		}
	}
	if !d.IsStreamingClient() && !d.IsStreamingServer() {
		resp := answer()
		err := f.conn.Invoke(ctx, name, req, resp)
		if err == nil {
			note(resp)
		}
		fail(err)
		return normal(all)
	}
	s, err := f.conn.NewStream(ctx, &grpc.StreamDesc{ClientStreams: d.IsStreamingClient(), ServerStreams: true}, name)
	if err != nil {
		t.Fatal(err)
	}
	s.SendMsg(req)
	watch := d.Name() == "Watch"
	if watch { // its progress follows the current state
		s.SendMsg(&stelev1.WatchRequest{Request: &stelev1.WatchRequest_Progress{Progress: &stelev1.RequestProgress{}}})
	} else {
		s.CloseSend()
	}
	for {
		resp := answer()
		if err := s.RecvMsg(resp); err != nil {
			fail(err)
			return normal(all)
		}
		note(resp)
		r, is := resp.(*stelev1.WatchResponse)
		if d.Name() == "SyncFlags" || is && (r.GetProgress() != nil || r.GetCanceled() != nil) {
			return normal(all)
		}
	}
}

var (
	times = regexp.MustCompile(`\d{4}-\d\d-\d\dT[0-9:.]+Z|"\d+(\.\d+)?s"`)
	// ids are hashes of whole commits, and encoded is the hashed bytes, secrets as they
	// are stored: docs/access.md documents it. The ledgers' own ids also differ.
	ids    = regexp.MustCompile(`"[A-Za-z0-9+/]{43}="|"epoch": ?"[^"]*"|"(encoded|commit)": ?"[^"]*"`)
	blanks = regexp.MustCompile(`\s+`)
)

// withoutSweeps removes the times at which a sink was last compared with the ledger, and
// whether it was: sinks are compared on a clock of their own.
func withoutSweeps(m proto.Message) {
	switch m := m.(type) {
	case *stelev1.ListDriftResponse:
		m.Checked = nil
	case *stelev1.ListSinksResponse:
		for _, s := range m.Sinks {
			s.Checked = nil
		}
	}
}

// ledgerOwn are the parts of a checkpoint that differ between any two ledgers: name, keys, roots
// and signatures. Sizes stay.
var ledgerOwn = []struct {
	of *regexp.Regexp
	to string
}{
	{regexp.MustCompile(`stele/[0-9a-f]{16}\+[0-9a-f]{8}\+[A-Za-z0-9+/]{44}`), "KEY"},
	{regexp.MustCompile(`stele/[0-9a-f]{16}`), "LEDGER"},
	{regexp.MustCompile(`\\n[A-Za-z0-9+/]{43}=\\n`), "ROOT"},
	{regexp.MustCompile(`LEDGER [A-Za-z0-9+/]{91}=`), "SIGNATURE"},
}

var (
	pageTokens = regexp.MustCompile(`"nextPageToken":\s*"([^"]+)"`)
	shortIDs   = regexp.MustCompile(`-[0-9a-f]{16}`)
)

func normal(all []string) string {
	text := times.ReplaceAllString(strings.Join(all, "\n"), "TIME")
	// Page tokens have the beginning of a commit's id.
	text = pageTokens.ReplaceAllStringFunc(text, func(token string) string {
		b, err := base64.RawURLEncoding.DecodeString(pageTokens.FindStringSubmatch(token)[1])
		if err != nil {
			return token
		}
		return fmt.Sprintf("nextPageToken: %q", shortIDs.ReplaceAll(b, []byte("-ID")))
	})
	for _, l := range ledgerOwn {
		text = l.of.ReplaceAllString(text, l.to)
	}
	return blanks.ReplaceAllString(ids.ReplaceAllString(text, "ID"), "")
}

// generated makes requests from what the names of the fields say.
type generated struct{ *rand.Rand }

func (g generated) one(of ...string) string { return of[g.IntN(len(of))] }

func (g generated) message(d protoreflect.MessageDescriptor) proto.Message {
	mt, err := protoregistry.GlobalTypes.FindMessageByName(d.FullName())
	if err != nil {
		panic(err)
	}
	m := mt.New()
	g.fill(m, 0)
	return m.Interface()
}

func (g generated) fill(m protoreflect.Message, depth int) {
	if depth > 5 {
		return
	}
	fields := m.Descriptor().Fields()
	for i := range m.Descriptor().Oneofs().Len() {
		o := m.Descriptor().Oneofs().Get(i)
		switch _, watch := m.Interface().(*stelev1.WatchRequest); {
		case o.IsSynthetic():
		case watch: // the others are not answered
			g.set(m, o.Fields().ByName("create"), depth)
		default:
			g.set(m, o.Fields().Get(g.IntN(o.Fields().Len())), depth)
		}
	}
	for i := range fields.Len() {
		f := fields.Get(i)
		if f.ContainingOneof() != nil && !f.ContainingOneof().IsSynthetic() {
			continue
		}
		likely := 70
		switch f.Name() {
		case "at", "reveal", "expected_head", "preconditions", "page_token", "request_id", "time", "path":
			likely = 8
		case "min_revision", "covers_revision": // a call waits for those to come
			likely = 1
		case "import": // its time would have to be the same in both
			likely = 0
		case "changes", "commit", "sink", "key", "keys", "prefix", "revisions", "document", "value", "operation", "to", "tree_size", "old_size", "new_size", "from_revision", "to_revision":
			likely = 100
		}
		if g.IntN(100) < likely {
			g.set(m, f, depth)
		}
	}
	if change, is := m.Interface().(*stelev1.Change); is {
		if change.Delete = g.IntN(4) == 0; change.Delete {
			change.Value = ""
		} else if strings.HasPrefix(change.Key, "_schema/") {
			change.Value = g.document()
		}
	}
}

func (g generated) set(m protoreflect.Message, f protoreflect.FieldDescriptor, depth int) {
	switch {
	case f.IsList():
		for range 1 + g.IntN(2) {
			if f.Message() != nil {
				g.fill(m.Mutable(f).List().AppendMutable().Message(), depth+1)
			} else {
				m.Mutable(f).List().Append(g.scalar(f))
			}
		}
	case f.Message() != nil:
		g.fill(m.Mutable(f).Message(), depth+1)
	default:
		m.Set(f, g.scalar(f))
	}
}

func (g generated) scalar(f protoreflect.FieldDescriptor) protoreflect.Value {
	switch f.Kind() {
	case protoreflect.StringKind:
		return protoreflect.ValueOfString(g.text(f))
	case protoreflect.BoolKind:
		return protoreflect.ValueOfBool(g.IntN(2) == 0)
	case protoreflect.BytesKind:
		return protoreflect.ValueOfBytes([]byte{1, 2, 3, 4})
	case protoreflect.EnumKind:
		return protoreflect.ValueOfEnum(0)
	case protoreflect.Uint32Kind:
		return protoreflect.ValueOfUint32(1 + uint32(g.IntN(5)))
	case protoreflect.Int32Kind:
		return protoreflect.ValueOfInt32(int32(g.IntN(5)))
	case protoreflect.Int64Kind:
		return protoreflect.ValueOfInt64(1_700_000_000)
	default:
		if f.Name() == "tree_size" || f.Name() == "new_size" { // of all tenants
			return protoreflect.ValueOfUint64(1 + g.Uint64N(90))
		}
		return protoreflect.ValueOfUint64(1 + g.Uint64N(14))
	}
}

func (g generated) text(f protoreflect.FieldDescriptor) string {
	switch f.Name() {
	case "key", "keys":
		if f.ParentFile().Package() == "configuration" {
			return g.one("tenant_config_x", "param_config_x", "param_config_all")
		}
		return g.one("open/base", "open/over", "open/promoted", "open/copied", "open/dir/x", "open/kept", "s/base", "_bases/list",
			"open/a", "open/b/c", "open/new", "s/token", "s/other", "s/new", "t/a/z", "t/a/y", "t/a", "closed/one", "closed/three", "_schema/s/token", "_schema/s", "_schema/open/defs", "_schema/open/b", "_schema/closed")
	case "prefix", "prefixes", "selector":
		if f.Parent().Name() == "CheckSchemaRequest" {
			return g.one("s/token", "s/other", "s/base", "open/a", "open/base", "open/defs", "open/b", "closed")
		}
		return g.one("open/", "open/dir/", "s/", "s/base", "s/token", "t/a/", "_schema/open/", "_schema/s/", "", "closed/", "open/defs")
	case "from", "to": // of Copy
		return g.one("open/", "open/new/", "open/dir/", "open/base", "open/copied", "s/base", "open/a", "open/new", "s/token", "s/new", "s/", "t/a/", "closed/one")
	case "document":
		return g.document()
	case "pattern":
		return g.one(".", "token|a", "hunter", "^zz$", "[*]", "(")
	case "path":
		return g.one("/x", "/y/0")
	case "where":
		return g.one(`key != ""`, `size(value) > 2`, `value == "hunter2"`, `value > 1`, "valu")
	case "value":
		return g.one(`"2"`, `"hunter2"`, `"zz"`, "1", `"***"`, `{"x":1}`)
	case "operation":
		return g.one("read", "write", "audit", "administer", "reveal")
	case "promoted_from", "tenant":
		return g.one("", "stage", "preprod", "defaults")
	case "attach":
		return g.one("", "", "defaults", "plans", "stage")
	case "sink":
		return "files"
	case "service_name", "serviceName":
		return g.one("s", "open")
	case "author", "grep", "message":
		return g.one("", "owner", "why", "mine")
	}
	return ""
}

// document is a schema that asks something about a value.
func (g generated) document() string {
	return g.one(`{"pattern":"^h"}`, `{"pattern":"^C"}`, `{"maxLength":3}`, `{"minLength":10}`, `{"const":"zz"}`, `{"type":"string"}`, `{"type":"integer"}`, "false",
		`{"$ref":"stele:///closed"}`, `{"$ref":"stele:///open/defs#/$defs/x"}`, `{"$defs":{"x":{"type":"integer"}}}`, `{"$defs":{"x":false}}`, `{"$defs":{}}`)
}

// asks are the questions of which an answer has depended on what is hidden, in their order.
func asks() []proto.Message {
	plan := func(kv ...string) proto.Message { return &stelev1.PlanRequest{Commit: set(kv...)} }
	schemaOf := func(prefix, document string) proto.Message {
		return &stelev1.CheckSchemaRequest{Prefix: prefix, Document: document}
	}
	meant := func(kv ...string) proto.Message {
		req := set(kv...)
		req.AllowInvalid = true
		return req
	}
	return []proto.Message{
		schemaOf("s/token", `{"pattern":"^C"}`), schemaOf("s/token", `{"minLength":5}`), schemaOf("s/token", `{"const":"zz"}`),
		plan("_schema/s/token", `{"pattern":"^C"}`), plan("_schema/s/token", `{"maxLength":3}`),
		plan("s/token", `"zz"`),
		meant("_schema/s/token", `{"pattern":"^z"}`),
		&stelev1.CheckLiveRequest{Prefix: "s/"},
		&stelev1.RollbackRequest{To: atRevision(1), Prefix: "s/token", DryRun: true},
		&stelev1.RevertRequest{Revisions: []uint64{4}, DryRun: true},
		set("_schema/s/other", `{"pattern":"^h"}`),
		schemaOf("open/defs", `{"$defs":{"x":{"type":"integer"}}}`), schemaOf("open/b", `{"$ref":"stele:///closed"}`),
		plan("_schema/open/defs", `{"$defs":{"x":{"type":"integer"}}}`),
		set("_schema/open/defs", `{"$defs":{"x":false}}`), set("_schema/open/defs", `{"$defs":{}}`),
		&stelev1.RollbackRequest{To: atRevision(1), Prefix: "_schema/open/", DryRun: true},
		plan("t/a/y", "1"), plan("t/a/z", "2"),
		&stelev1.SearchRequest{Pattern: "hunter|zz|token"}, &stelev1.SearchRequest{Prefix: "s/", Where: `size(value) > 1`},
		&stelev1.WatchRequest{Request: &stelev1.WatchRequest_Create{Create: &stelev1.CreateWatch{Id: 1, Prefixes: []string{"open/"}, InitialState: true}}},
		&stelev1.ListParkedRequest{Sink: "files"}, &stelev1.ListSinksRequest{}, &stelev1.RetryRequest{Sink: "files", Key: "t/a/z"}, &stelev1.SkipRequest{Sink: "files", Key: "t/a/z"},
		&stelev1.RollbackRequest{To: atRevision(1), Prefix: "open/", DryRun: true, ExpectedHead: proto.Uint64(1)},
		&stelev1.DiffRequest{From: atRevision(1), Prefix: "open/"}, &stelev1.DiffRequest{From: atRevision(1), Prefix: "s/"},
		&stelev1.CopyRequest{From: "s/token", To: "s/new"}, &stelev1.CopyRequest{From: "open/a", To: "open/new", Rename: true},
		&stelev1.ListReadsRequest{PageSize: 1}, &stelev1.CountCommitsRequest{},
		&stelev1.ListBasesRequest{}, &stelev1.ExplainValueRequest{Key: "open/base"}, &stelev1.ExplainValueRequest{Key: "open/over"}, &stelev1.ExplainValueRequest{Key: "s/base"},
		&stelev1.BatchGetRequest{Keys: []string{"open/base", "open/over", "s/base", "open/copied", "open/promoted"}}, &stelev1.ListRequest{Prefix: "open/"},
		&stelev1.ListCommitsRequest{}, &stelev1.ListCommitsRequest{PromotedFrom: "stage"}, &stelev1.ListCommitsRequest{PromotedFrom: "preprod"}, &stelev1.ListCommitsRequest{Grep: "hidden"},
		&stelev1.ListCommitsRequest{Keys: &stelev1.ListCommitsRequest_Key{Key: "open/copied"}}, &stelev1.ListCommitsRequest{Keys: &stelev1.ListCommitsRequest_Prefix{Prefix: "open/dir/"}},
		&stelev1.BlameRequest{Prefix: "open/"}, &stelev1.BlameRequest{Prefix: "s/"}, &stelev1.DiffRequest{From: atRevision(5), Prefix: "open/"}, &stelev1.DiffRequest{From: atRevision(5), Prefix: "s/"},
		schemaOf("s/base", `{"pattern":"^h"}`), schemaOf("open/base", `{"type":"integer"}`), plan("s/base", `"hunter2"`), plan("open/base", `"2"`), plan("_schema/s/base", `{"maxLength":9}`),
		&stelev1.RollbackRequest{To: atRevision(6), Prefix: "open/", DryRun: true}, &stelev1.RollbackRequest{To: atRevision(8), Prefix: "s/", DryRun: true}, &stelev1.RollbackRequest{To: atRevision(8), DryRun: true},
		&stelev1.CopyRequest{From: "s/base", To: "s/new", DryRun: true}, &stelev1.CopyRequest{From: "open/dir/", To: "open/new/"}, &stelev1.CopyRequest{From: "open/base", To: "open/new"},
		&stelev1.WatchRequest{Request: &stelev1.WatchRequest_Create{Create: &stelev1.CreateWatch{Id: 1, Prefixes: []string{"open/"}, FromRevision: 1}}},
		&stelev1.SearchRequest{Pattern: "seen|hunter|base"}, &stelev1.CheckLiveRequest{Prefix: ""}, &stelev1.CheckLiveRequest{Prefix: "s/"},
	}
}

// Two ledgers that differ only in what a caller may not see give it the same answers, from
// every method: what it may not see has no influence on them. STELE_DIFFERENTIAL_CALLS is the
// number of generated pairs of calls (800), and STELE_DIFFERENTIAL_SEED repeats their choice.
func TestAnswers_DependOnlyOnWhatTheCallerMaySee(t *testing.T) {
	t.Parallel()
	calls, seed := number(t, "STELE_DIFFERENTIAL_CALLS", 800), number(t, "STELE_DIFFERENTIAL_SEED", 2)
	twins := [2]*twin{startTwin(t, 0), startTwin(t, 1)}
	var methods []protoreflect.MethodDescriptor
	of := make(map[protoreflect.FullName]protoreflect.MethodDescriptor)
	for _, name := range twins[0].gateway.Methods() {
		service, method, _ := strings.Cut(name[1:], "/")
		d, err := protoregistry.GlobalFiles.FindDescriptorByName(protoreflect.FullName(service))
		if err != nil {
			t.Fatal(err)
		}
		m := d.(protoreflect.ServiceDescriptor).Methods().ByName(protoreflect.Name(method))
		methods = append(methods, m)
		of[m.Input().FullName()] = m
	}
	callers := []identity.Claims{
		{Subject: "limited", Tenant: "acme", Roles: []identity.Role{identity.Reader}},
		{Subject: "seer", Tenant: "vault", Roles: []identity.Role{identity.Reader, identity.Writer, identity.Auditor}},
	}
	answered, called, compared, differ := make(map[string]int), make(map[string]int), 0, 0
	ask := func(by identity.Claims, d protoreflect.MethodDescriptor, req proto.Message) {
		if c, ok := req.(*stelev1.CountCommitsRequest); ok {
			c.Spans = 1 // the commits of the two ledgers differ in their times
		}
		var got [2]string
		for i, f := range twins {
			if d.Parent().Name() == "Sinks" {
				f.caughtUp(t, by.Tenant)
			}
			got[i] = f.call(t, bearer(t.Context(), f.token(t, by)), d, req)
		}
		compared++
		called[fmt.Sprintf("/%s/%s", d.Parent().FullName(), d.Name())]++
		if !strings.Contains(got[0], `"code":`) {
			answered[string(d.FullName())]++
		}
		if got[0] != got[1] {
			if differ++; differ <= 12 {
				t.Errorf("%s by %s of %s\n%s", d.FullName(), by.Subject, prototext.Format(req), cmp.Diff(got[0], got[1]))
			}
		}
	}
	for _, by := range callers {
		for _, req := range asks() {
			ask(by, of[req.ProtoReflect().Descriptor().FullName()], req)
		}
	}
	g := generated{rand.New(rand.NewPCG(1, uint64(seed)))}
	isProof := func(d protoreflect.MethodDescriptor) bool { return d.Parent().Name() == "Proof" }
	proofs := slices.DeleteFunc(slices.Clone(methods), func(d protoreflect.MethodDescriptor) bool { return !isProof(d) })
	others := slices.DeleteFunc(slices.Clone(methods), isProof)
	for i := range calls { // each method in turn, so that none is left out
		d := others[i%len(others)]
		ask(callers[g.IntN(len(callers))], d, g.message(d.Input()))
	}
	for _, f := range twins { // what is proven depends on what is signed, which follows the commits
		f.signed(t)
	}
	for i := range calls / 4 {
		d := proofs[i%len(proofs)]
		ask(callers[g.IntN(len(callers))], d, g.message(d.Input()))
	}
	t.Logf("%d pairs of calls of %d methods, %d of them answered: %d differ", compared, len(methods), len(answered), differ)
	const operators, edges = "for operators, who may see everything", "for edges, with a token of their own"
	never := map[string]string{ // called, and denied to callers like these
		"stele.v1.Ledger.ListAllCommits": operators, "stele.v1.Ledger.WatchAllCommits": operators, "stele.v1.Ledger.ListTenants": operators, "stele.v1.Ledger.ListGateways": operators, "stele.v1.Bases.PreviewBaseChange": operators,
		"stele.v1.Ledger.ShredTenant": operators, "stele.v1.Ledger.RotateTenantKey": operators, "stele.v1.Ledger.ResetTenantClock": operators,
		"stele.v1.Sinks.GetRoutes": operators, "stele.v1.Sinks.PlanRoutes": operators, "stele.v1.Sinks.ResolveDrift": operators,
		"stele.v1.Sinks.Replay": operators, "stele.v1.Sinks.CheckDrift": operators,
		"stele.v1.Replication.Follow": edges, "stele.v1.Replication.Prove": edges, "stele.v1.Replication.RecordRead": edges,
		"configuration.ConfigService.retrieveConfig":  "answers only for keys that the AWS sample has",
		"configuration.ConfigService.retrieveConfigs": "answers only for keys that the AWS sample has",
	}
	for name, m := range policy.Methods {
		if m.Needs != policy.Public && called[name] == 0 {
			t.Errorf("%s is in the table of methods and was never called", name)
		}
	}
	for _, d := range methods {
		if name := string(d.FullName()); answered[name] == 0 && never[name] == "" {
			t.Errorf("%s was never answered: %v", name, slices.Sorted(maps.Keys(answered)))
		} else if answered[name] > 0 && never[name] != "" {
			t.Errorf("%s was answered, and is listed as never answered: %s", name, never[name])
		}
	}
}

func number(t *testing.T, name string, usual int) int {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return usual
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return n
}

// A check of a stored secret reveals it: it is recorded, and done only for callers that may
// have it revealed.
func TestSchemas_SecretsAreCheckedOnlyForCallersThatMayRevealThem(t *testing.T) {
	f := startTwin(t, 0)
	schemas := stelev1.NewSchemasClient(f.conn)
	const starts = `{"pattern":"^C"}`
	req := &stelev1.CheckSchemaRequest{Prefix: "s/token", Document: starts}
	reader := f.as(t, "vault", identity.Reader)
	revealer := bearer(t.Context(), f.token(t, identity.Claims{Subject: "rita", Tenant: "vault", Roles: []identity.Role{identity.Writer, identity.Revealer}}))
	if got, err := schemas.CheckSchema(reader, req); err != nil || got.Broken.Checked != 0 || got.Broken.NotChecked != 1 {
		t.Errorf("a reader: %v, %v", got, err)
	}
	if got, err := schemas.CheckSchema(revealer, req); err != nil || got.Broken.Checked != 1 || got.Broken.Count != 0 || got.Broken.NotChecked != 0 {
		t.Errorf("a revealer: %v, %v", got, err)
	}
	plan := &stelev1.PlanRequest{Commit: set("_schema/s/token", `{"maxLength":1}`)}
	if got, err := f.ledger.Plan(f.as(t, "vault", identity.Writer), plan); err != nil || got.NotChecked != 1 {
		t.Errorf("a writer's plan: %v, %v", got, err)
	}
	if _, err := f.ledger.Plan(revealer, plan); len(violations(t, err)) != 1 {
		t.Errorf("a revealer's plan: %v", err)
	}
	if got, err := f.ledger.Commit(f.as(t, "vault", identity.Writer), set("_schema/s/token", `{"const":"x"}`)); err != nil || got.NotChecked != 1 {
		t.Errorf("a writer's commit: %v, %v", got, err)
	}
	back := &stelev1.RollbackRequest{To: atRevision(1), Prefix: "s/token", DryRun: true}
	if got, err := f.ledger.Rollback(f.as(t, "vault", identity.Writer), back); err != nil || got.NotChecked != 1 {
		t.Errorf("a writer's rollback: %v, %v", got, err)
	}
	if _, err := f.ledger.Rollback(revealer, back); len(violations(t, err)) != 1 {
		t.Errorf("a revealer's rollback: %v", err)
	}
	var got []string
	for _, r := range f.recorded(t, f.as(t, "vault", identity.Auditor)) {
		if r.Revealed {
			got = append(got, r.Subject+" "+formatRead(r))
		}
	}
	want := []string{"rita CheckSchema s/token s/token* @15", "rita Plan s/token s/token* @0", "rita Rollback s/token @0"}
	if !slices.Equal(got, want) {
		t.Errorf("revealed, on the record: %q, want %q", got, want)
	}
}
