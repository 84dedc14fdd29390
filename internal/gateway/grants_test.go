package gateway_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stelehq/stele/internal/gateway/identity"
	"github.com/stelehq/stele/internal/gateway/policy"
	"github.com/stelehq/stele/internal/ledger"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// setGrants makes them a tenant's policy; an empty list removes it.
func (f *fixture) setGrants(t testing.TB, tenant ledger.Tenant, grants string) {
	t.Helper()
	req := set(fmt.Sprintf("policy/%s/grants", tenant), grants)
	req.Changes[0].Delete = grants == ""
	f.commit(t, f.system(t), req)
}

// allowed is what the gateway says that a caller may do: read(a/ b/) write().
func (f *fixture) allowed(t testing.TB, ctx context.Context) string {
	t.Helper()
	st, err := f.ledger.GetStatus(ctx, &stelev1.GetStatusRequest{})
	if err != nil {
		t.Fatal(err)
	}
	var listed []string
	for _, a := range st.Principal.Allowed {
		listed = append(listed, fmt.Sprintf("%s(%s)", a.Operation, strings.Join(a.Prefixes, " ")))
	}
	return strings.Join(listed, " ")
}

func TestGrants_Operations(t *testing.T) {
	f := start(t)
	const all = "read() write() audit() administer() reveal()"
	reader, writer, admin := []identity.Role{identity.Reader}, []identity.Role{identity.Writer}, []identity.Role{identity.Admin}
	for _, tc := range []struct {
		name, grants string
		claims       identity.Claims
		want         string
	}{
		{"no policy: a reader", "", identity.Claims{Roles: reader}, "read()"},
		{"no policy: an auditor", "", identity.Claims{Roles: []identity.Role{identity.Auditor}}, "read() audit()"},
		{"no policy: a writer", "", identity.Claims{Roles: writer}, "read() write()"},
		{"no policy: an admin", "", identity.Claims{Roles: admin}, all},
		{"no policy: an edge", "", identity.Claims{Replicates: []string{"globex", "acme"}}, "replicate()"},
		{"no policy: an edge of all tenants", "", identity.Claims{Replicates: []string{"*"}}, "replicate()"},
		{"no policy: an edge of another tenant", "", identity.Claims{Replicates: []string{"globex"}}, ""},
		{"an edge under prefixes", `{"grants":[{"subjects":["*"],"operations":["replicate"],"prefixes":["a/"]}]}`, identity.Claims{Replicates: []string{"acme"}}, "replicate(a/)"},
		{"an edge without a grant", `{"grants":[{"roles":["reader"]}]}`, identity.Claims{Replicates: []string{"acme"}}, ""},
		{"an edge with a grant for reading only", `{"grants":[{"subjects":["edge-*"],"operations":["read"]}]}`, identity.Claims{Subject: "edge-1", Replicates: []string{"acme"}}, "read()"},
		{"an edge, by subject", `{"grants":[{"subjects":["edge-*"],"operations":["replicate"]}]}`, identity.Claims{Subject: "edge-1", Replicates: []string{"acme"}}, "replicate()"},
		{"a grant for a token that is not an edge's", `{"grants":[{"subjects":["edge-*"],"operations":["replicate"]}]}`, identity.Claims{Subject: "edge-1"}, ""},
		{"no policy: an operator", "", identity.Claims{Roles: []identity.Role{identity.Operator}}, "read() write() audit() administer() replicate()"},
		{"no policy: no roles", "", identity.Claims{}, ""},
		{"no policy: a token with prefixes", "", identity.Claims{Roles: writer, Prefixes: []ledger.Pattern{"b/", "a/", "a/b"}}, "read(a/ b/) write(a/ b/)"},
		{"no policy: a token with all prefixes", "", identity.Claims{Roles: reader, Prefixes: []ledger.Pattern{""}}, "read()"},

		{"no grants", `{"grants":[]}`, identity.Claims{Roles: admin}, ""},
		{"no grants: an operator", `{"grants":[]}`, identity.Claims{Roles: []identity.Role{identity.Operator, identity.Reader}}, "read() write() audit() administer() replicate()"},
		{"a role", `{"grants":[{"roles":["admin"]}]}`, identity.Claims{Roles: admin}, all},
		{"another role", `{"grants":[{"roles":["admin"]}]}`, identity.Claims{Roles: writer}, ""},
		{"one of two roles", `{"grants":[{"roles":["reader","writer"]}]}`, identity.Claims{Roles: []identity.Role{identity.Writer, identity.Admin}}, "read() write()"},
		{"a role under prefixes", `{"grants":[{"roles":["writer"],"prefixes":["b/","a/","a/b/"]}]}`, identity.Claims{Roles: writer}, "read(a/ b/) write(a/ b/)"},
		{"operations", `{"grants":[{"roles":["reader"],"prefixes":["a/"],"operations":["write"]}]}`, identity.Claims{Roles: reader}, "write(a/)"},
		{"operations instead of those of the role", `{"grants":[{"roles":["admin"],"operations":["read","reveal"]}]}`, identity.Claims{Roles: admin}, "read() reveal()"},
		{"a subject without a role", `{"grants":[{"subjects":["alice"],"operations":["read"]}]}`, identity.Claims{}, "read()"},
		{"a subject without operations has its roles'", `{"grants":[{"subjects":["alice"],"prefixes":["a/"]}]}`, identity.Claims{Roles: writer}, "read(a/) write(a/)"},
		{"a subject without operations or roles", `{"grants":[{"subjects":["alice"]}]}`, identity.Claims{}, ""},
		{"the start of a subject", `{"grants":[{"subjects":["ci-*"],"operations":["read"]}]}`, identity.Claims{Subject: "ci-7"}, "read()"},
		{"not the start of a subject", `{"grants":[{"subjects":["ci-*"],"operations":["read"]}]}`, identity.Claims{Subject: "xci-7"}, ""},
		{"the whole of a subject", `{"grants":[{"subjects":["ci"],"operations":["read"]}]}`, identity.Claims{Subject: "ci-7"}, ""},
		{"any subject", `{"grants":[{"subjects":["*"],"operations":["read"]}]}`, identity.Claims{}, "read()"},
		{"subject and role", `{"grants":[{"subjects":["alice"],"roles":["writer"]}]}`, identity.Claims{Roles: writer}, "read() write()"},
		{"the subject and not the role", `{"grants":[{"subjects":["alice"],"roles":["writer"]}]}`, identity.Claims{Roles: reader}, ""},
		{"the role and not the subject", `{"grants":[{"subjects":["alice"],"roles":["writer"]}]}`, identity.Claims{Subject: "bob", Roles: writer}, ""},
		{"two grants", `{"grants":[{"roles":["reader"]},{"subjects":["alice"],"operations":["write"],"prefixes":["a/"]}]}`, identity.Claims{Roles: reader}, "read() write(a/)"},
		{"the whole covers a part", `{"grants":[{"roles":["reader"],"prefixes":["a/"]},{"roles":["reader"]}]}`, identity.Claims{Roles: reader}, "read()"},
		{"grant and token: the token is narrower", `{"grants":[{"roles":["reader"],"prefixes":["a/"]}]}`, identity.Claims{Roles: reader, Prefixes: []ledger.Pattern{"a/b/", "c/"}}, "read(a/b/)"},
		{"grant and token: the grant is narrower", `{"grants":[{"roles":["reader"],"prefixes":["a/b/","a/c/","d/"]}]}`, identity.Claims{Roles: reader, Prefixes: []ledger.Pattern{"a/"}}, "read(a/b/ a/c/)"},
		{"grant and token: nothing in common", `{"grants":[{"roles":["reader"],"prefixes":["a/"]}]}`, identity.Claims{Roles: reader, Prefixes: []ledger.Pattern{"b/"}}, ""},
		{"an operator's token with prefixes", `{"grants":[]}`, identity.Claims{Roles: []identity.Role{identity.Operator}, Prefixes: []ledger.Pattern{"a/"}}, "read(a/) write(a/) audit(a/) administer(a/) replicate(a/)"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f.setGrants(t, "acme", tc.grants)
			tc.claims.Tenant = "acme"
			ctx := bearer(t.Context(), f.token(t, tc.claims))
			if got := f.allowed(t, ctx); got != tc.want {
				t.Errorf("it gives %q, want %q", got, tc.want)
			}
			for _, op := range []string{"read", "write", "audit", "administer", "reveal", "replicate"} {
				want := strings.Contains(tc.want, op+"()") || strings.Contains(tc.want, op+"(a/")
				resp, err := f.ledger.CheckAccess(ctx, &stelev1.CheckAccessRequest{Operation: op, On: &stelev1.CheckAccessRequest_Key{Key: "a/b/c"}})
				if err != nil || resp.Allowed != want || resp.Reason == "" || strings.Contains(resp.Reason, "permission denied") {
					t.Errorf("%s a/b/c: %v, %v; want %v", op, resp, err, want)
				}
				if !want && resp.GetGrant() != "" {
					t.Errorf("%s a/b/c is not allowed, by the grant %s", op, resp.Grant)
				}
			}
		})
	}
}

func TestCheckAccess_NamesTheGrant(t *testing.T) {
	f := start(t)
	f.setGrants(t, "acme", `{"grants":[{"roles":["reader"]}, {"subjects":["alice"],"operations":["write"],"prefixes":["a/"]}]}`)
	ctx := f.as(t, "acme", identity.Reader)
	check := func(op, prefix string) *stelev1.CheckAccessResponse {
		t.Helper()
		resp, err := f.ledger.CheckAccess(ctx, &stelev1.CheckAccessRequest{Operation: op, On: &stelev1.CheckAccessRequest_Prefix{Prefix: prefix}})
		if err != nil {
			t.Fatal(err)
		}
		return resp
	}
	if got := check("write", "a/b"); !got.Allowed || got.Grant != `{"subjects":["alice"],"operations":["write"],"prefixes":["a/"]}` {
		t.Errorf("write a/b: %v", got)
	}
	if got := check("write", ""); got.Allowed || got.Reason != `alice may not write everything in acme, only keys under "a/"` {
		t.Errorf("write everything: %v", got)
	}
	if got := check("audit", "a/"); got.Allowed || got.Reason != `no grant of acme allows alice to audit there; its roles are reader` {
		t.Errorf("audit: %v", got)
	}
	for want, req := range map[string]*stelev1.CheckAccessRequest{
		"operation": {Operation: "destroy", On: &stelev1.CheckAccessRequest_Prefix{}},
		"on":        {Operation: "read"},
		"key":       {Operation: "read", On: &stelev1.CheckAccessRequest_Key{Key: "a/../b"}},
		"prefix":    {Operation: "read", On: &stelev1.CheckAccessRequest_Prefix{Prefix: "a*b"}},
	} {
		if _, err := f.ledger.CheckAccess(ctx, req); status.Code(err) != codes.InvalidArgument || field(err) != want {
			t.Errorf("a bad %s: %v", want, err)
		}
	}
	if _, err := f.ledger.CheckAccess(f.all(t), &stelev1.CheckAccessRequest{Operation: "read", On: &stelev1.CheckAccessRequest_Prefix{}}); field(err) != "as-tenant" {
		t.Errorf("in no tenant: %v", err)
	}
}

// Invalid grants are rejected when they are written. If they exist anyway, only
// operators have access.
func TestGrants_Invalid(t *testing.T) {
	f := start(t)
	f.commit(t, f.as(t, "acme", identity.Writer), set("a", "1"))
	other := f.as(t, "other", identity.Writer)
	f.commit(t, other, set("a", "1"))
	for _, grants := range []string{
		`null`, `[]`, `{}`, `{"grants":null}`, `{"grants":{}}`, `{"grants":[null]}`, `{"grants":[[]]}`, `{"Grants":[]}`, `{"grants":[],"more":1}`,
		`{"grants":[{}]}`, `{"grants":[{"prefixes":["a/"]}]}`, `{"grants":[{"role":["reader"]}]}`, `{"grants":[{"roles":"reader"}]}`,
		`{"grants":[{"roles":[]}]}`, `{"grants":[{"roles":null}]}`, `{"grants":[{"roles":["root"]}]}`, `{"grants":[{"roles":["Reader"]}]}`, `{"grants":[{"roles":["operator"]}]}`,
		`{"grants":[{"subjects":[]}]}`, `{"grants":[{"subjects":[""]}]}`, `{"grants":[{"subjects":["a*b"]}]}`, `{"grants":[{"subjects":["**"]}]}`,
		`{"grants":[{"subjects":["` + strings.Repeat("a", 257) + `"]}]}`,
		`{"grants":[{"roles":["reader"],"prefixes":[]}]}`, `{"grants":[{"roles":["reader"],"prefixes":null}]}`, `{"grants":[{"roles":["reader"],"prefixes":"a/"}]}`,
		`{"grants":[{"roles":["reader"],"prefixes":["a/*b"]}]}`, `{"grants":[{"roles":["reader"],"prefix":["a/"]}]}`, `{"grants":[{"roles":["reader"],"prefixes":[1]}]}`,
		`{"grants":[{"roles":["reader"],"operations":[]}]}`, `{"grants":[{"roles":["reader"],"operations":null}]}`, `{"grants":[{"roles":["reader"],"operations":["Read"]}]}`,
		`{"grants":[` + strings.Repeat(`{"roles":["reader"]},`, 1000) + `{"roles":["reader"]}]}`,
	} {
		name := grants[:min(len(grants), 60)]
		if err := check("policy/acme/grants", grants); err == nil || !strings.Contains(err.Error(), "changes[0].value: policy/acme/grants: ") {
			t.Errorf("%s is not refused: %v", name, err)
		}
		f.setGrants(t, "acme", grants)
		for _, role := range []identity.Role{identity.Reader, identity.Admin} {
			ctx := f.as(t, "acme", role)
			if _, err := f.config.Get(ctx, &stelev1.GetRequest{Key: "a"}); status.Code(err) != codes.PermissionDenied || !strings.Contains(err.Error(), "policy/acme/grants") {
				t.Errorf("%s: Get by the %s: %v", name, role, err)
			}
			if got := f.allowed(t, ctx); got != "" {
				t.Errorf("%s: the %s may %s", name, role, got)
			}
		}
		if _, err := f.config.Get(f.as(t, "acme", identity.Operator), &stelev1.GetRequest{Key: "a"}); err != nil {
			t.Errorf("%s: Get by an operator: %v", name, err)
		}
		if _, err := f.config.Get(other, &stelev1.GetRequest{Key: "a"}); err != nil {
			t.Errorf("%s: Get in another tenant: %v", name, err)
		}
	}
	for key, value := range map[string]string{
		"policy/acme/grant": `{"grants":[]}`, "policy/acme": `{}`, "policy/Acme/grants": `{"grants":[]}`, "policy/acme/grants/x": `{"grants":[]}`,
		"policy/_system/grants": `{"grants":[]}`, "policy/acme/reads": `{"record":["a*b"]}`,
	} {
		if err := check(key, value); err == nil {
			t.Errorf("%s is not refused", key)
		}
	}
	for key, value := range map[string]string{
		"policy/acme/grants": `{"grants":[{"roles":["reader"]}]}`, "policy/acme/reads": `{"record":[]}`, "policy/_system/reads": `{"record":[""]}`, "projector/routes": "1", "policies": "1",
	} {
		if err := check(key, value); err != nil {
			t.Errorf("%s is refused: %v", key, err)
		}
	}
	if err := policy.Check(ledger.System, []ledger.Change{{Key: "policy/acme/grants", Delete: true}}); err != nil {
		t.Errorf("policies cannot be deleted: %v", err)
	}
	if err := policy.Check("acme", []ledger.Change{{Key: "policy/acme/grants", Value: "1"}}); err != nil {
		t.Errorf("a tenant's own keys are no policies: %v", err)
	}
}

func check(key, value string) error {
	return policy.Check(ledger.System, []ledger.Change{{Key: ledger.Key(key), Value: ledger.Value(value)}})
}

// A grant counts for the next call and for the streams that are open.
func TestStream_EndsWithItsGrant(t *testing.T) {
	f := start(t)
	const both = `{"grants":[{"roles":["writer"],"prefixes":["a/","b/"]},{"subjects":["bob"],"operations":["read"]}]}`
	f.setGrants(t, "acme", both)
	alice := f.as(t, "acme", identity.Writer)
	bob := bearer(t.Context(), f.token(t, identity.Claims{Subject: "bob", Tenant: "acme"}))
	f.commit(t, alice, set("a/x", "1"))
	open := func(ctx context.Context) map[string]interface{ RecvMsg(any) error } {
		t.Helper()
		watch := f.watch(t, ctx, &stelev1.CreateWatch{Id: 1, Prefixes: []string{"a/"}})
		recv(t, watch) // it is there
		read, err := f.config.Read(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if err := read.Send(&stelev1.ReadRequest{Keys: []string{"a/x"}}); err != nil {
			t.Fatal(err)
		}
		if _, err := read.Recv(); err != nil {
			t.Fatal(err)
		}
		return map[string]interface{ RecvMsg(any) error }{"Watch": watch, "Read": read}
	}
	ends := func(what, grants string, want codes.Code) {
		t.Helper()
		streams, others := open(alice), f.watch(t, bob, &stelev1.CreateWatch{Id: 1, Prefixes: []string{"a/"}})
		recv(t, others)
		write, err := f.ledger.CommitStream(alice)
		if err != nil {
			t.Fatal(err)
		}
		if err := write.Send(&stelev1.CommitStreamRequest{Commit: set("a/x", "2")}); err != nil {
			t.Fatal(err)
		}
		if _, err := write.Recv(); err != nil {
			t.Fatal(err)
		}
		recv(t, others)
		recv(t, streams["Watch"].(watchClient))
		streams["CommitStream"] = write
		f.setGrants(t, "acme", grants)
		for name, s := range streams {
			if err := s.RecvMsg(&stelev1.WatchResponse{}); status.Code(err) != want {
				t.Errorf("%s: %s ends with %v, want %s", what, name, err, want)
			}
		}
		f.setGrants(t, "acme", both) // which changes nothing for bob
		f.commit(t, alice, set("a/x", "3"))
		if got := recv(t, others); got.GetCommit() == nil {
			t.Errorf("%s: the stream of another: %v", what, got)
		}
	}
	ends("a part is gone", `{"grants":[{"roles":["writer"],"prefixes":["b/"]},{"subjects":["bob"],"operations":["read"]}]}`, codes.Unavailable)
	ends("all is gone", `{"grants":[{"subjects":["bob"],"operations":["read"]}]}`, codes.PermissionDenied)
	ends("more is there", `{"grants":[{"roles":["writer"]},{"subjects":["bob"],"operations":["read"]}]}`, codes.Unavailable)
}

// A policy has a history like every setting.
func TestGrants_Rollback(t *testing.T) {
	f := start(t)
	f.setGrants(t, "acme", `{"grants":[{"roles":["reader"],"prefixes":["a/"]}]}`)
	f.setGrants(t, "acme", `{"grants":[]}`)
	ctx := f.as(t, "acme", identity.Reader)
	if got := f.allowed(t, ctx); got != "" {
		t.Fatalf("allowed is %s", got)
	}
	if _, err := f.ledger.Rollback(f.system(t), &stelev1.RollbackRequest{To: atRevision(1), Prefix: "policy/acme/"}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff("read(a/)", f.allowed(t, ctx)); diff != "" {
		t.Error(diff)
	}
}
