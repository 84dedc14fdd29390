package gateway_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stelehq/stele/internal/gateway"
	"github.com/stelehq/stele/internal/gateway/identity"
	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/journal"
	"github.com/stelehq/stele/internal/ledger/routes"
	"github.com/stelehq/stele/internal/ledger/secret"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/dynamicpb"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// startSecret is a gateway whose keys below s/ are secret, also with the tag
// tenantconfig, and all parameters.
func startSecret(t testing.TB, change ...func(*gateway.Config)) *fixture {
	t.Helper()
	text, err := secret.GenerateKEK()
	if err != nil {
		t.Fatal(err)
	}
	kek, err := secret.ParseKEK(text)
	if err != nil {
		t.Fatal(err)
	}
	table, err := routes.Parse([]byte(`{"sinks":{},"routes":[{"prefix":"s/","secret":true},{"prefix":"param*","secret":true},{"prefix":"tenantconfig/s/","secret":true}]}`))
	if err != nil {
		t.Fatal(err)
	}
	var f *fixture
	configure := func(c *gateway.Config) {
		c.Routes = routes.NewSource(c.Replica, table, slog.New(slog.DiscardHandler))
		c.Secrets = secret.New(secret.Config{KEK: kek, Replica: c.Replica, Routes: c.Routes, Keys: func() (secret.Keys, error) {
			return f.node.Journal.OpenBucket(context.Background(), journal.Keys)
		}})
		seal, reseal := c.Secrets.Seal, c.Secrets.Reseal
		c.Ledger = sync.OnceValues(func() (*ledger.Ledger, error) {
			l := ledger.New(ledger.Config{Journal: f.node.Journal, Replica: f.node.Replica, Seal: seal, Reseal: reseal})
			t.Cleanup(l.Close)
			return l, nil
		})
	}
	f = startRecorded(t, append([]func(*gateway.Config){configure}, change...)...)
	return f
}

const (
	canary = "canary-4d1f-secret"
	old    = "canary-0b5e-older" // was written before its key was secret
	shown  = "canary-77aa-shown" // is not secret, so it must be found
)

// answers makes every call of a method that there is with requests that ask for as
// much as they can, and returns the answers of each. A method that is new is in it by
// itself; its request asks for what the names of the fields say.
func (f *fixture) answers(t *testing.T, ctx context.Context, encoded bool) map[string]*bytes.Buffer {
	t.Helper()
	out := make(map[string]*bytes.Buffer)
	for _, method := range f.gateway.Methods() {
		service, name, _ := strings.Cut(method[1:], "/")
		d, err := protoregistry.GlobalFiles.FindDescriptorByName(protoreflect.FullName(service))
		if err != nil {
			continue // reflection, which describes the schema
		}
		m := d.(protoreflect.ServiceDescriptor).Methods().ByName(protoreflect.Name(name))
		got := &bytes.Buffer{}
		out[method] = got
		for range 2 { // what a call changes, the others may show
			req := dynamicpb.NewMessage(m.Input())
			fill(req, encoded)
			ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
			stream, err := f.conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, method)
			if err != nil {
				t.Fatal(err)
			}
			err = stream.SendMsg(req)
			if !m.IsStreamingClient() || name == "CommitStream" {
				err = errors.Join(err, stream.CloseSend())
			}
			for err == nil {
				resp := dynamicpb.NewMessage(m.Output())
				if err = stream.RecvMsg(resp); err != nil {
					break
				}
				b, _ := proto.Marshal(resp)
				got.Write(b)
				if strings.HasPrefix(name, "Watch") && bytes.Contains(b, []byte(shown)) || name == "Read" || name == "SyncFlags" {
					break
				}
			}
			if err != nil && !errors.Is(err, io.EOF) {
				fmt.Fprintf(got, " %v %v", err, status.Convert(err).Details())
			}
			cancel()
		}
	}
	return out
}

// fill sets every field of a request that it knows the meaning of.
func fill(m protoreflect.Message, encoded bool) {
	fields := m.Descriptor().Fields()
	key := "s/a"
	if m.Descriptor().ParentFile().Package() == "configuration" {
		key = "param_config_pw"
	}
	for i := range fields.Len() {
		fd := fields.Get(i)
		set := func(v any) { m.Set(fd, protoreflect.ValueOf(v)) }
		switch {
		case fd.Name() == "keys" && fd.IsList(), fd.Name() == "prefixes":
			l := m.Mutable(fd).List()
			for _, k := range map[bool][]string{true: {key, "s/old", "open"}, false: {""}}[fd.Name() == "keys"] {
				l.Append(protoreflect.ValueOf(k))
			}
		case fd.Name() == "revisions":
			m.Mutable(fd).List().Append(protoreflect.ValueOf(uint64(4)))
		case fd.IsList():
			if fd.Name() == "changes" {
				e := m.Mutable(fd).List().AppendMutable().Message()
				e.Set(e.Descriptor().Fields().ByName("key"), protoreflect.ValueOf("s/a"))
				e.Set(e.Descriptor().Fields().ByName("value"), protoreflect.ValueOf(`"`+canary))
			}
		case fd.Name() == "selector":
			set("s/")
		case fd.Name() == "after_position": // all commits, not only new ones
			set(uint64(0))
		case fd.Name() == "key":
			set(key)
		case fd.Name() == "encoded":
			set(encoded)
		case fd.Name() == "dry_run", fd.Name() == "previous_values", fd.Name() == "initial_state":
			set(true)
		case fd.Name() == "revision" && fd.ContainingOneof() != nil:
			set(uint64(2))
		case fd.Name() == "commit" && fd.Message() != nil, fd.Name() == "create", fd.Name() == "from" && fd.Message() != nil:
			fill(m.Mutable(fd).Message(), encoded)
		case fd.Name() == "id" && fd.Kind() == protoreflect.Uint64Kind:
			set(uint64(1))
		case fd.Name() == "to" && fd.Message() != nil:
			to := m.Mutable(fd).Message()
			to.Set(to.Descriptor().Fields().ByName("revision"), protoreflect.ValueOf(map[bool]uint64{true: 2, false: 4}[m.Descriptor().Name() == "RollbackRequest"]))
		case fd.Name() == "from": // of Copy
			set("s/")
		case fd.Name() == "to":
			set("s/copied/")
		case fd.Name() == "from_revision" && m.Descriptor().Name() == "CreateWatch":
			m.Clear(fd)
		case fd.Name() == "from_revision", fd.Name() == "to_revision", fd.Name() == "tree_size", fd.Name() == "old_size", fd.Name() == "new_size":
			set(uint64(1))
		case fd.Name() == "name" || fd.Name() == "sink":
			set("files")
		}
	}
}

// Whatever the request and the caller, except for a reveal, no answer contains a
// secret, nor does the log; the same answers contain values that are not secret.
func TestSecrets_EveryMethodRedacts(t *testing.T) {
	t.Parallel()
	log := &bytes.Buffer{}
	f := startSecret(t, func(c *gateway.Config) {
		c.Log = slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	})
	ctx := f.as(t, "acme", identity.Writer, identity.Auditor, identity.Operator)
	plain, err := f.node.Ledger.Commit(t.Context(), "acme", ledger.ChangeSet{ // from before the key was secret: @1
		Changes: []ledger.Change{{Key: "s/old", Value: `"` + old + `"`}, {Key: "open", Value: `"` + shown + `"`}}})
	if err != nil || plain.Revision != 1 {
		t.Fatal(err)
	}
	for i := range 3 { // to @4
		f.commit(t, ctx, set("s/a", fmt.Sprintf(`"%s %d"`, canary, i), "param_config_pw", `"`+canary+`"`, "open", fmt.Sprintf(`"%s %d"`, shown, i)))
	}
	checked, found := 0, 0
	for _, encoded := range []bool{true, false} { // commits as they are stored hold what was written in the clear
		for method, got := range f.answers(t, ctx, encoded) {
			checked++
			if bytes.Contains(got.Bytes(), []byte(canary)) || !encoded && bytes.Contains(got.Bytes(), []byte(old)) {
				t.Errorf("%s shows the secret: %q", method, got)
			}
			if bytes.Contains(got.Bytes(), []byte(shown)) {
				found++
			}
		}
	}
	if found < 16 {
		t.Errorf("of %d calls, %d returned the value that is not secret: the requests are too weak", checked, found)
	}
	t.Logf("%d calls, 0 show a secret, %d show other values", checked, found)
	for _, bad := range []*stelev1.CommitRequest{
		set("s/b", canary), set("s/b", `{"`+canary+`":1,"`+canary+`":2}`), set("s/b c", `"`+canary+`"`), set("s/b", `"`+canary+`"`, "s/b", `"`+canary+`"`),
		set("s/b", `"`+canary+strings.Repeat("x", 600<<10)+`"`), set("s/b", `{"$secret":"`+canary+`"}`),
		{Changes: []*stelev1.Change{{Key: "s/b", Value: `"` + canary + `"`, Delete: true}}},
		{Changes: []*stelev1.Change{{Key: "s/b", Value: `"` + canary + `"`}}, Preconditions: []*stelev1.Precondition{{Key: "s/a"}}},
		{Changes: []*stelev1.Change{{Key: "s/b", Value: `"` + canary + `"`}}, Import: &stelev1.Import{Time: timestamppb.New(time.Unix(1, 0)), Author: "x"}},
	} {
		_, err := f.ledger.Commit(ctx, bad)
		if err == nil || strings.Contains(fmt.Sprint(err, status.Convert(err).Details()), canary) {
			t.Errorf("the refusal of %.60s is %v", bad, err)
		}
	}
	if strings.Contains(log.String(), canary) {
		t.Errorf("the log holds the secret:\n%s", log)
	}
}

// Callers with permission to reveal get the secret when they ask for it, and that is
// recorded.
func TestReveal(t *testing.T) {
	f := startSecret(t)
	f.commit(t, f.as(t, "acme", identity.Writer), set("s/a", `{"pw": 1.0}`, "open", "1"))
	revealer := f.as(t, "acme", identity.Reader, identity.Revealer)
	get := func(ctx context.Context, key string, reveal bool) (*stelev1.Entry, error) {
		r, err := f.config.Get(ctx, &stelev1.GetRequest{Key: key, Reveal: reveal})
		return r.GetEntry(), err
	}
	for _, ctx := range []context.Context{revealer, f.as(t, "acme", identity.Reader)} {
		if e, err := get(ctx, "s/a", false); err != nil || e.Value != `"***"` || !e.Secret {
			t.Errorf("unasked, s/a is %v, %v", e, err)
		}
		if e, err := get(ctx, "open", false); err != nil || e.Value != "1" || e.Secret {
			t.Errorf("open is %v, %v", e, err)
		}
	}
	for _, roles := range [][]identity.Role{{identity.Reader}, {identity.Writer, identity.Auditor}, {identity.Operator}} {
		if _, err := get(f.as(t, "acme", roles...), "s/a", true); status.Code(err) != codes.PermissionDenied {
			t.Errorf("%v reveal: %v", roles, err)
		}
	}
	if e, err := get(revealer, "s/a", true); err != nil || e.Value != `{"pw":1.0}` || !e.Secret {
		t.Errorf("revealed, s/a is %v, %v", e, err)
	}
	if e, err := get(revealer, "open", true); err != nil || e.Value != "1" || e.Secret {
		t.Errorf("open is %v, %v", e, err)
	}
	batch, err := f.config.BatchGet(revealer, &stelev1.BatchGetRequest{Keys: []string{"open", "s/a"}, Reveal: true})
	if err != nil || batch.Entries[1].Value != `{"pw":1.0}` {
		t.Errorf("a batch is %v, %v", batch, err)
	}
	list, err := f.config.List(f.as(t, "acme", identity.Admin), &stelev1.ListRequest{Prefix: "s", Reveal: true})
	if err != nil || len(list.Entries) != 1 || list.Entries[0].Value != `{"pw":1.0}` {
		t.Errorf("a list is %v, %v", list, err)
	}
	answers := f.read(t, revealer, &stelev1.ReadRequest{Keys: []string{"s/a"}, Reveal: true}, &stelev1.ReadRequest{Keys: []string{"s/a"}})
	if answers[0].Entries[0].Value != `{"pw":1.0}` || answers[1].Entries[0].Value != `"***"` {
		t.Errorf("a stream reads %v", answers)
	}
	want := "Get s/a @1; Get open @1; BatchGet open s/a @1; List s* @1; Read s/a @1"
	var got []string
	for _, r := range f.recorded(t, f.as(t, "acme", identity.Auditor)) {
		if !r.Revealed {
			t.Errorf("%v does not say that it was revealed", r)
		}
		got = append(got, formatRead(r))
	}
	if strings.Join(got, "; ") != want {
		t.Errorf("recorded are %s, not %s", strings.Join(got, "; "), want)
	}
}

// A grant lets reveal what begins with its prefixes, and all that is asked for must.
func TestReveal_Grant(t *testing.T) {
	f := startSecret(t)
	f.commit(t, f.as(t, "acme", identity.Writer), set("s/x/a", "1", "s/y", "2"))
	f.commit(t, f.system(t), set("policy/acme/grants", `{"grants":[{"roles":["reader"]},{"subjects":["alice"],"operations":["reveal"],"prefixes":["s/x/"]}]}`))
	ctx := f.as(t, "acme", identity.Reader)
	call := func(_ any, err error) error { return err }
	for name, tc := range map[string]struct {
		call func() error
		want codes.Code
	}{
		"a key":   {func() error { return call(f.config.Get(ctx, &stelev1.GetRequest{Key: "s/x/a", Reveal: true})) }, codes.OK},
		"another": {func() error { return call(f.config.Get(ctx, &stelev1.GetRequest{Key: "s/y", Reveal: true})) }, codes.PermissionDenied},
		"both": {func() error {
			return call(f.config.BatchGet(ctx, &stelev1.BatchGetRequest{Keys: []string{"s/x/a", "s/y"}, Reveal: true}))
		}, codes.PermissionDenied},
		"a prefix":      {func() error { return call(f.config.List(ctx, &stelev1.ListRequest{Prefix: "s/x/", Reveal: true})) }, codes.OK},
		"more than it":  {func() error { return call(f.config.List(ctx, &stelev1.ListRequest{Prefix: "s/", Reveal: true})) }, codes.PermissionDenied},
		"a hidden list": {func() error { return call(f.config.List(ctx, &stelev1.ListRequest{Prefix: "s/"})) }, codes.OK},
	} {
		if err := tc.call(); status.Code(err) != tc.want {
			t.Errorf("%s: %v, want %s", name, err, tc.want)
		}
	}
	answers := f.read(t, ctx, &stelev1.ReadRequest{Keys: []string{"s/y"}, Reveal: true}, &stelev1.ReadRequest{Keys: []string{"s/x/a"}, Reveal: true})
	if codes.Code(answers[0].Error.GetCode()) != codes.PermissionDenied || answers[1].Entries[0].Value != "1" {
		t.Errorf("a stream reads %v", answers)
	}
}

// A secret that cannot be recorded as revealed is not.
func TestReveal_UnrecordedIsRejected(t *testing.T) {
	f := startSecret(t, func(c *gateway.Config) { c.ReadLog = nil })
	f.commit(t, f.as(t, "acme", identity.Writer), set("s/a", "1"))
	ctx := f.as(t, "acme", identity.Admin)
	if _, err := f.config.Get(ctx, &stelev1.GetRequest{Key: "s/a", Reveal: true}); status.Code(err) != codes.Unavailable {
		t.Errorf("revealed without a record: %v", err)
	}
	if e, err := f.config.Get(ctx, &stelev1.GetRequest{Key: "s/a"}); err != nil || e.Entry.Value != `"***"` {
		t.Errorf("hidden it is %v, %v", e, err)
	}
}

func TestRotateTenantKey(t *testing.T) {
	f := startSecret(t)
	acme := f.as(t, "acme", identity.Admin)
	f.commit(t, acme, set("s/a", "1"))
	operator := bearer(t.Context(), f.token(t, identity.Claims{Roles: []identity.Role{identity.Operator}}))
	rotate := func(ctx context.Context, newKey bool) (*stelev1.RotateTenantKeyResponse, error) {
		return f.ledger.RotateTenantKey(ctx, &stelev1.RotateTenantKeyRequest{NewKey: newKey})
	}
	for name, tc := range map[string]struct {
		ctx  context.Context
		want codes.Code
	}{
		"its admin":   {acme, codes.PermissionDenied},
		"no tenant":   {operator, codes.InvalidArgument},
		"one without": {as(operator, "other"), codes.NotFound},
	} {
		if _, err := rotate(tc.ctx, true); status.Code(err) != tc.want {
			t.Errorf("%s: %v, want %s", name, err, tc.want)
		}
	}
	first, err := rotate(as(operator, "acme"), false)
	if err != nil || len(first.Older) != 0 {
		t.Fatal(first, err)
	}
	second, err := rotate(as(operator, "acme"), true)
	if err != nil || len(second.Older) != 1 || second.Older[0] != first.Key {
		t.Fatal(second, err)
	}
	f.commit(t, acme, set("s/b", "2"))
	for key, want := range map[string]string{"s/a": "1", "s/b": "2"} {
		if e, err := f.config.Get(acme, &stelev1.GetRequest{Key: key, Reveal: true}); err != nil || e.Entry.Value != want {
			t.Errorf("%s is %v, %v; want %s", key, e, err, want)
		}
	}
}

func TestShredTenant(t *testing.T) {
	f := startSecret(t)
	acme := f.as(t, "acme", identity.Admin)
	f.commit(t, acme, set("s/a", "1", "open", "1"))
	operator := bearer(t.Context(), f.token(t, identity.Claims{Roles: []identity.Role{identity.Operator}}))
	shred := func(ctx context.Context, confirm string) (*stelev1.ShredTenantResponse, error) {
		return f.ledger.ShredTenant(ctx, &stelev1.ShredTenantRequest{Confirm: confirm})
	}
	for name, tc := range map[string]struct {
		ctx     context.Context
		confirm string
		want    codes.Code
	}{
		"its admin":        {acme, "acme", codes.PermissionDenied},
		"no tenant's":      {operator, "acme", codes.InvalidArgument},
		"another's name":   {as(operator, "acme"), "other", codes.InvalidArgument},
		"the ledger's own": {as(operator, "_system"), "_system", codes.InvalidArgument},
		"one without":      {as(operator, "other"), "other", codes.NotFound},
	} {
		if _, err := shred(tc.ctx, tc.confirm); status.Code(err) != tc.want {
			t.Errorf("%s: %v, want %s", name, err, tc.want)
		}
	}
	if _, err := f.config.Get(acme, &stelev1.GetRequest{Key: "s/a", Reveal: true}); err != nil {
		t.Fatalf("before it is shredded: %v", err)
	}
	resp, err := shred(as(operator, "acme"), "acme")
	if err != nil || len(resp.Keys) != 1 {
		t.Fatalf("shredded is %v, %v", resp, err)
	}
	record, err := f.config.Get(f.system(t), &stelev1.GetRequest{Key: "shred/acme/" + resp.Keys[0]})
	if err != nil || record.Entry.Value != `{"state":"destroyed","by":"alice"}` || record.Entry.Revision != resp.Revision {
		t.Errorf("recorded is %v, %v", record, err)
	}
	_, err = f.config.Get(acme, &stelev1.GetRequest{Key: "s/a", Reveal: true})
	if status.Code(err) != codes.FailedPrecondition || reason(err) != "SECRET_DESTROYED" || !strings.Contains(err.Error(), "alice has shredded acme") {
		t.Errorf("revealed after that: %v", err)
	}
	if e, err := f.config.Get(acme, &stelev1.GetRequest{Key: "s/a"}); err != nil || e.Entry.Value != `"***"` {
		t.Errorf("hidden it is %v, %v", e, err)
	}
	f.commit(t, acme, set("s/a", "2"))
	if e, err := f.config.Get(acme, &stelev1.GetRequest{Key: "s/a", Reveal: true}); err != nil || e.Entry.Value != "2" {
		t.Errorf("a new secret is %v, %v", e, err)
	}
}

func as(ctx context.Context, t ledger.Tenant) context.Context {
	return metadata.AppendToOutgoingContext(ctx, "as-tenant", string(t))
}
