package gateway_test

import (
	"context"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stelehq/stele/internal/gateway"
	"github.com/stelehq/stele/internal/gateway/identity"
	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/ledgertest"
	"github.com/stelehq/stele/schemas/configuration"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/testing/protocmp"
)

// gatewayJSON is a setting as the reference implementation's seed has it.
const gatewayJSON = `[{"amcCode":"ACME001","validations":[{"zeroFundBalance":"true","minSIPAmount":"500"}],` +
	`"paymentGateway":[{"name":"Stripe","link":"https://stripe.com/acme"},{"name":"Square","link":"https://square.com/acme"}]}]`

func paymentGateway(tenant string) *configuration.TenantParamConfig {
	return &configuration.TenantParamConfig{Tenant: &configuration.Configuration{
		Pk: "TENANT#" + tenant, Sk: "CONFIG#payment-gateway",
		Config: []*configuration.Config{{
			AmcCode:     "ACME001",
			Validations: []*configuration.Validations{{ZeroFundBalance: "true", MinSIPAmount: "500"}},
			PaymentGateway: []*configuration.PaymentGateway{
				{Name: "Stripe", Link: "https://stripe.com/acme"}, {Name: "Square", Link: "https://square.com/acme"},
			},
		}},
	}}
}

// Its methods are named on the wire as the reference implementation's are.
func TestSample_Methods(t *testing.T) {
	for got, want := range map[string]string{
		configuration.ConfigService_HealthCheck_FullMethodName:     "/configuration.ConfigService/healthCheck",
		configuration.ConfigService_RetrieveConfig_FullMethodName:  "/configuration.ConfigService/retrieveConfig",
		configuration.ConfigService_RetrieveConfigs_FullMethodName: "/configuration.ConfigService/retrieveConfigs",
		configuration.ConfigService_RefreshConfig_FullMethodName:   "/configuration.ConfigService/refreshConfig",
	} {
		if got != want {
			t.Errorf("%s is called %s", want, got)
		}
	}
}

// What its order service asks for, with the keys named as there and with the ledger's
// own tags.
func TestSample_CallersGetTheirSettings(t *testing.T) {
	f := start(t)
	sample := configuration.NewConfigServiceClient(f.conn)
	for tenant, keys := range map[ledger.Tenant][]string{
		"acme":   {"tenant_config_payment-gateway", "param_config_api/api-key", "param_config_api/url"},
		"globex": {"tenantconfig/payment-gateway", "paramconfig/api/api-key", "paramconfig/api/url"},
	} {
		f.commit(t, f.as(t, tenant, identity.Writer), set(keys[0], gatewayJSON, keys[1], `"key of `+string(tenant)+`"`, keys[2], `{"a":1.0}`))
		ctx := f.as(t, tenant, identity.Reader)
		got, err := sample.RetrieveConfig(ctx, &configuration.RetrieveConfigRequest{ServiceName: "order-service", Key: "tenant_config_payment-gateway"})
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(paymentGateway(string(tenant)), got.Data, protocmp.Transform()); d != "" {
			t.Errorf("%s gets (+), not (-): %s", tenant, d)
		}
		one, err := sample.RetrieveConfig(ctx, &configuration.RetrieveConfigRequest{ServiceName: "api", Key: "param_config_api-key"})
		if err != nil {
			t.Fatal(err)
		}
		if got := secrets(one); got != "api-key=key of "+string(tenant) {
			t.Errorf("%s gets %s", tenant, got)
		}
		all, err := sample.RetrieveConfig(ctx, &configuration.RetrieveConfigRequest{ServiceName: "api", Key: "param_config_all"})
		if err != nil {
			t.Fatal(err)
		}
		if got := secrets(all); got != `api-key=key of `+string(tenant)+` url={"a":1.0}` {
			t.Errorf("%s gets all parameters as %s", tenant, got)
		}
		many, err := sample.RetrieveConfigs(ctx, &configuration.RetrieveConfigRequests{Keys: []string{"param_config_api/api-key", "tenant_config_payment-gateway"}})
		if err != nil {
			t.Fatal(err)
		}
		want := map[string]string{
			"/config-service/" + string(tenant) + "/dev/api/api-key": "key of " + string(tenant),
			"tenant_config_payment-gateway":                          gatewayJSON,
		}
		if d := cmp.Diff(want, many.Data); d != "" {
			t.Errorf("%s gets (+), not (-): %s", tenant, d)
		}
	}
}

func secrets(r *configuration.RetrieveConfigResponse) string {
	var all []string
	for _, s := range r.Data.Parameters {
		all = append(all, s.Key+"="+s.Value)
	}
	return strings.Join(all, " ")
}

func TestSample_KeyMapping(t *testing.T) {
	f := start(t, func(c *gateway.Config) { c.Environment = "prod" })
	sample := configuration.NewConfigServiceClient(f.conn)
	f.commit(t, f.as(t, "acme", identity.Writer), set(
		"tenant_config_both", `{"amcCode":"theirs"}`, "tenantconfig/both", `{"amcCode":"ours"}`,
		"tenantconfig/deep/er", `{"amcCode":"deep"}`,
		"param_config_alone", `"alone"`,
		"paramconfig/api/deep/x", `"deep"`, "paramconfig/api/x", `"near"`, "paramconfig/api/deep/y", `"only deep"`, "paramconfig/apix/z", `"another service"`,
		"paramconfig/large", `9007199254740993`, "paramconfig/empty", `""`, "paramconfig/null", `null`,
	))
	ctx := f.as(t, "acme", identity.Reader)
	for _, tc := range []struct{ service, key, want string }{
		{"", "tenant_config_both", "theirs"},
		{"any", "tenant_config_deep/er", "deep"},
		{"", "param_config_alone", "alone"},
		{"api", "param_config_alone", "alone"},
		{"api", "param_config_x", "near"},
		{"api", "param_config_deep/x", "deep"},
		{"api", "param_config_y", "only deep"},
		{"", "param_config_large", "9007199254740993"},
		{"", "param_config_empty", ""},
	} {
		got, err := sample.RetrieveConfig(ctx, &configuration.RetrieveConfigRequest{ServiceName: tc.service, Key: tc.key})
		if err != nil {
			t.Errorf("%s of %q: %v", tc.key, tc.service, err)
			continue
		}
		value := ""
		if p := got.Data.Parameters; len(p) == 1 {
			value = p[0].Value
		} else {
			value = got.Data.Tenant.Config[0].AmcCode
		}
		if value != tc.want {
			t.Errorf("%s of %q is %q, not %q", tc.key, tc.service, value, tc.want)
		}
	}
	many, err := sample.RetrieveConfigs(ctx, &configuration.RetrieveConfigRequests{Keys: []string{"param_config_api/x", "param_config_null", "param_config_api/x"}})
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(map[string]string{"/config-service/acme/prod/api/x": "near", "/config-service/acme/prod/null": "null"}, many.Data); d != "" {
		t.Error(d)
	}
	none, err := sample.RetrieveConfigs(ctx, &configuration.RetrieveConfigRequests{})
	if err != nil || len(none.Data) != 0 {
		t.Errorf("no keys get %v, %v", none, err)
	}
}

func TestSample_ValueAsConfig(t *testing.T) {
	f := start(t)
	sample := configuration.NewConfigServiceClient(f.conn)
	writer, ctx := f.as(t, "acme", identity.Writer), f.as(t, "acme", identity.Reader)
	for value, want := range map[string][]*configuration.Config{
		`[]`:                                  nil,
		`{}`:                                  {{}},
		`{"amcCode":7,"other":{"x":1}}`:       {{AmcCode: "7"}},
		`{"amcCode":null,"validations":null}`: {{}},
		`[{"validations":[{"minSIPAmount":500.0,"zeroFundBalance":true}]},{"paymentGateway":[]}]`: {
			{Validations: []*configuration.Validations{{MinSIPAmount: "500.0", ZeroFundBalance: "true"}}}, {}},
		`3`:                   nil,
		`"text"`:              nil,
		`[1]`:                 nil,
		`{"validations":[3]}`: nil,
	} {
		f.commit(t, writer, set("tenantconfig/x", value))
		got, err := sample.RetrieveConfig(ctx, &configuration.RetrieveConfigRequest{Key: "tenant_config_x"})
		if want == nil && value != `[]` {
			if status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), "retrieveConfigs") {
				t.Errorf("%s: %v", value, err)
			}
			continue
		}
		if d := cmp.Diff(want, got.GetData().GetTenant().GetConfig(), protocmp.Transform()); d != "" || err != nil {
			t.Errorf("%s: %v %s", value, err, d)
		}
	}
}

func TestSample_Errors(t *testing.T) {
	f := start(t)
	sample := configuration.NewConfigServiceClient(f.conn)
	f.commit(t, f.as(t, "acme", identity.Writer), set("paramconfig/api/x", `1`))
	ctx := f.as(t, "acme", identity.Reader)
	one := func(service, key string) func() error {
		return func() error {
			_, err := sample.RetrieveConfig(ctx, &configuration.RetrieveConfigRequest{ServiceName: service, Key: key})
			return err
		}
	}
	many := func(keys ...string) func() error {
		return func() error {
			_, err := sample.RetrieveConfigs(ctx, &configuration.RetrieveConfigRequests{Keys: keys})
			return err
		}
	}
	for _, tc := range []struct {
		name string
		call func() error
		want codes.Code
	}{
		{"no key", one("api", ""), codes.InvalidArgument},
		{"neither tag", one("api", "x"), codes.InvalidArgument},
		{"the ledger's own tag", one("api", "paramconfig/api/x"), codes.InvalidArgument},
		{"a key that cannot be", one("api", "param_config_a//x"), codes.InvalidArgument},
		{"a key that is too long", one("api", "param_config_"+strings.Repeat("x", 500)), codes.InvalidArgument},
		{"a service that cannot be", one("a b", "param_config_x"), codes.InvalidArgument},
		{"a parameter that is not set", one("api", "param_config_y"), codes.NotFound},
		{"a service that has none", one("other", "param_config_all"), codes.InvalidArgument},
		{"no service", one("", "param_config_all"), codes.InvalidArgument},
		{"a setting that is not set", one("api", "tenant_config_y"), codes.NotFound},
		{"one of several is not set", many("param_config_api/x", "param_config_api/y"), codes.NotFound},
		{"one of several cannot be", many("param_config_api/x", "x"), codes.InvalidArgument},
		{"an empty key", many(""), codes.InvalidArgument},
		{"too many keys", many(make([]string, 1001)...), codes.InvalidArgument},
	} {
		if err := tc.call(); status.Code(err) != tc.want {
			t.Errorf("%s: %v, want %v", tc.name, err, tc.want)
		}
	}
}

// There, reads of param_config_* get whatever parameter of that service's was loaded
// first, whosever it is.
func TestSample_ParametersOfTheTenantOnly(t *testing.T) {
	f := start(t)
	sample := configuration.NewConfigServiceClient(f.conn)
	f.commit(t, f.as(t, "acme", identity.Writer), set("paramconfig/api/api-key", `"acme's"`, "paramconfig/api/acme-only", `1`, "tenantconfig/acme-only", `{}`))
	f.commit(t, f.as(t, "globex", identity.Writer), set("paramconfig/api/api-key", `"globex's"`))
	f.commit(t, f.as(t, "initech", identity.Writer), set("unrelated", `1`))
	for tenant, want := range map[ledger.Tenant]string{"acme": "acme-only=1 api-key=acme's", "globex": "api-key=globex's"} {
		got, err := sample.RetrieveConfig(f.as(t, tenant, identity.Reader), &configuration.RetrieveConfigRequest{ServiceName: "api", Key: "param_config_all"})
		if err != nil || secrets(got) != want {
			t.Errorf("%s gets %v, %v", tenant, got, err)
		}
	}
	for _, tenant := range []ledger.Tenant{"globex", "initech", "empty"} {
		ctx := f.as(t, tenant, identity.Admin)
		for _, req := range []*configuration.RetrieveConfigRequest{
			{ServiceName: "api", Key: "param_config_acme-only"},
			{ServiceName: "acme/dev/api", Key: "param_config_acme-only"},
			{ServiceName: "config-service/acme/dev/api", Key: "param_config_acme-only"},
			{Key: "param_config_api/acme-only"},
			{Key: "param_config_config-service/acme/dev/api/acme-only"},
			{Key: "tenant_config_acme-only"},
		} {
			if got, err := sample.RetrieveConfig(ctx, req); status.Code(err) != codes.NotFound {
				t.Errorf("%s gets %v for %v, %v", tenant, got, req, err)
			}
			if got, err := sample.RetrieveConfigs(ctx, &configuration.RetrieveConfigRequests{Keys: []string{req.Key}}); status.Code(err) != codes.NotFound {
				t.Errorf("%s gets %v for %v, %v", tenant, got, req.Key, err)
			}
		}
	}
}

// In the sample, anyone who reaches the service can make it load everything again.
func TestSample_Permissions(t *testing.T) {
	f := start(t, func(c *gateway.Config) { c.Tenants = []ledger.Tenant{"acme"} })
	sample := configuration.NewConfigServiceClient(f.conn)
	f.commit(t, f.as(t, "acme", identity.Writer), set("tenantconfig/x", `{}`))
	calls := map[string]func(context.Context) error{
		"retrieveConfig": func(ctx context.Context) error {
			_, err := sample.RetrieveConfig(ctx, &configuration.RetrieveConfigRequest{Key: "tenant_config_x"})
			return err
		},
		"retrieveConfigs": func(ctx context.Context) error {
			_, err := sample.RetrieveConfigs(ctx, &configuration.RetrieveConfigRequests{Keys: []string{"tenant_config_x"}})
			return err
		},
		"refreshConfig": func(ctx context.Context) error {
			_, err := sample.RefreshConfig(ctx, &configuration.Empty{})
			return err
		},
	}
	for name, call := range calls {
		for who, tc := range map[string]struct {
			ctx  context.Context
			want codes.Code
		}{
			"no token":                   {t.Context(), codes.Unauthenticated},
			"a forger":                   {bearer(t.Context(), "x.y.z"), codes.Unauthenticated},
			"a reader":                   {f.as(t, "acme", identity.Reader), codes.OK},
			"an auditor":                 {f.as(t, "acme", identity.Auditor), codes.OK},
			"a user without a role":      {f.as(t, "acme"), codes.PermissionDenied},
			"a tenant that is not here":  {f.as(t, "globex", identity.Admin), codes.FailedPrecondition},
			"an operator, no tenant":     {f.as(t, "", identity.Operator), codes.InvalidArgument},
			"an admin of another tenant": {bearer(t.Context(), f.token(t, identity.Claims{Tenant: "globex", Roles: []identity.Role{identity.Admin}}), "as-tenant", "acme"), codes.PermissionDenied},
		} {
			if err := call(tc.ctx); status.Code(err) != tc.want {
				t.Errorf("%s by %s: %v, want %v", name, who, err, tc.want)
			}
		}
	}
	// Health reveals nothing of any tenant, so it needs no token, as in the sample.
	if got, err := sample.HealthCheck(t.Context(), &configuration.Empty{}); err != nil || got.Data != "Healthy" {
		t.Errorf("health: %v, %v", got, err)
	}
}

// There, a change of a tenant's setting in DynamoDB refreshes nothing; here one of any
// tag is seen by the next read.
func TestSample_ChangesAreVisibleAtOnce(t *testing.T) {
	f := start(t)
	sample := configuration.NewConfigServiceClient(f.conn)
	writer, ctx := f.as(t, "acme", identity.Writer), f.as(t, "acme", identity.Reader)
	for i := range 20 {
		for key, asked := range map[string]string{
			"tenantconfig/s/x": "tenant_config_s/x", "tenant_config_y": "tenant_config_y",
			"paramconfig/s/x": "param_config_s/x", "param_config_s/y": "param_config_s/y",
		} {
			f.commit(t, writer, set(key, fmt.Sprint(i)))
			got, err := sample.RetrieveConfigs(ctx, &configuration.RetrieveConfigRequests{Keys: []string{asked}})
			if err != nil {
				t.Fatal(err)
			}
			for _, v := range got.Data {
				if v != fmt.Sprint(i) {
					t.Errorf("%s is %s after %d was committed", key, v, i)
				}
			}
		}
	}
}

// There, refreshing reaches the eight processes that DNS names. Here each process
// follows by itself, however many there are, and refreshConfig waits for it.
func TestSample_RefreshWaits(t *testing.T) {
	t.Parallel()
	server := ledgertest.Server(t)
	signer, err := identity.OpenSigner(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	verifier, err := identity.NewVerifier(identity.Config{Keys: signer.Keys(), Issuer: identity.LocalIssuer, Audience: identity.LocalAudience})
	if err != nil {
		t.Fatal(err)
	}
	token, err := signer.Mint(identity.Claims{Subject: "alice", Tenant: "acme", Roles: []identity.Role{identity.Reader}, TTL: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	ctx := bearer(t.Context(), token)
	writer := ledgertest.Start(t, server, ledgertest.Config{})
	var clients []configuration.ConfigServiceClient
	for range 9 {
		n := ledgertest.Start(t, server, ledgertest.Config{})
		g, err := gateway.New(gateway.Config{Replica: n.Replica, Verifier: verifier, Reads: true})
		if err != nil {
			t.Fatal(err)
		}
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		served := make(chan error, 1)
		go func() { served <- g.Serve(l) }()
		conn, err := grpc.NewClient(l.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			conn.Close()
			g.Close()
			if err := <-served; err != nil {
				t.Error(err)
			}
		})
		clients = append(clients, configuration.NewConfigServiceClient(conn))
	}
	for i := range 3 {
		change := ledger.Change{Key: "tenantconfig/x", Value: ledger.Value(fmt.Sprint(i))}
		if _, err := writer.Ledger.Commit(t.Context(), "acme", ledger.ChangeSet{Author: "bob", Changes: []ledger.Change{change}}); err != nil {
			t.Fatal(err)
		}
		for n, client := range clients {
			if _, err := client.RefreshConfig(ctx, &configuration.Empty{}); err != nil {
				t.Fatalf("gateway %d: %v", n, err)
			}
			got, err := client.RetrieveConfigs(ctx, &configuration.RetrieveConfigRequests{Keys: []string{"tenant_config_x"}})
			if err != nil || got.Data["tenant_config_x"] != fmt.Sprint(i) {
				t.Errorf("gateway %d has %v after %d was committed, %v", n, got, i, err)
			}
		}
	}
}

// A read by whichever of a setting's names is recorded where the policy asks for it.
func TestSample_ReadsAreRecorded(t *testing.T) {
	f := startRecorded(t)
	sample := configuration.NewConfigServiceClient(f.conn)
	f.commit(t, f.as(t, "acme", identity.Writer), set("paramconfig/secrets/x", `1`, "paramconfig/secrets/a/y", `1`, "tenantconfig/secret", `{}`, "tenantconfig/open", `{}`))
	f.setPolicy(t, "acme", `{"record":["paramconfig/secrets/","tenantconfig/secret"]}`)
	ctx := f.as(t, "acme", identity.Auditor)
	for _, req := range []*configuration.RetrieveConfigRequest{
		{ServiceName: "secrets", Key: "param_config_x"},
		{ServiceName: "secrets", Key: "param_config_y"},
		{ServiceName: "secrets", Key: "param_config_none"},
		{ServiceName: "secrets", Key: "param_config_all"},
		{ServiceName: "other", Key: "param_config_all"},
		{Key: "param_config_secrets/x"},
		{Key: "tenant_config_secret"},
		{Key: "tenant_config_open"},
	} {
		_, _ = sample.RetrieveConfig(ctx, req) // that a key is not set is also an answer
	}
	for _, keys := range [][]string{{"tenant_config_open", "tenant_config_secret"}, {"tenant_config_open"}, {"param_config_secrets/x", "param_config_none"}} {
		_, _ = sample.RetrieveConfigs(ctx, &configuration.RetrieveConfigRequests{Keys: keys})
	}
	if _, err := sample.RefreshConfig(ctx, &configuration.Empty{}); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, r := range f.recorded(t, ctx) {
		got = append(got, formatRead(r))
	}
	want := []string{
		"retrieveConfig paramconfig/secrets/x @1",
		"retrieveConfig paramconfig/secrets/y paramconfig/secrets/* @1",
		"retrieveConfig paramconfig/secrets/none paramconfig/secrets/* @0",
		"retrieveConfig paramconfig/secrets/* @1",
		"retrieveConfig paramconfig/secrets/x @1",
		"retrieveConfig tenantconfig/secret @1",
		"retrieveConfigs tenantconfig/secret @1",
		"retrieveConfigs paramconfig/secrets/x @0",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("recorded (+), not (-): %s", d)
	}
}

// Where a read cannot be recorded it is not answered.
func TestSample_ReadsThatCannotBeRecorded(t *testing.T) {
	f := start(t)
	sample := configuration.NewConfigServiceClient(f.conn)
	f.commit(t, f.as(t, "acme", identity.Writer), set("paramconfig/secrets/x", `1`))
	f.setPolicy(t, "acme", `{"record":["paramconfig/secrets/"]}`)
	ctx := f.as(t, "acme", identity.Reader)
	for _, req := range []*configuration.RetrieveConfigRequest{{ServiceName: "secrets", Key: "param_config_x"}, {ServiceName: "secrets", Key: "param_config_all"}, {ServiceName: "secrets", Key: "param_config_none"}} {
		if got, err := sample.RetrieveConfig(ctx, req); status.Code(err) != codes.Unavailable {
			t.Errorf("%v gets %v, %v", req, got, err)
		}
	}
	if got, err := sample.RetrieveConfigs(ctx, &configuration.RetrieveConfigRequests{Keys: []string{"param_config_secrets/x"}}); status.Code(err) != codes.Unavailable {
		t.Errorf("it gets %v, %v", got, err)
	}
}

// A caller that is limited to prefixes gets what is under them, by whichever name.
func TestSample_CallersWithPrefixes(t *testing.T) {
	f := start(t)
	f.commit(t, f.as(t, "acme", identity.Writer), set(
		"paramconfig/api/open/x", `"open"`, "paramconfig/api/closed/y", `"hidden"`, "paramconfig/api/closed/x", `"hidden"`, "paramconfig/db/z", `"hidden"`,
		"tenantconfig/open", `{"amcCode":"open"}`, "tenant_config_open", `{"amcCode":"hidden"}`, "tenantconfig/closed", `{"amcCode":"hidden"}`,
	))
	f.setGrants(t, "acme", `{"grants":[{"roles":["reader"],"prefixes":["paramconfig/api/open/","tenantconfig/open"]}]}`)
	sample, ctx := configuration.NewConfigServiceClient(f.conn), f.as(t, "acme", identity.Reader)
	for _, tc := range []struct {
		service, key string
		want         codes.Code
	}{
		{"api", "param_config_x", codes.OK},
		{"api", "param_config_open/x", codes.OK},
		{"api", "param_config_all", codes.OK},
		{"", "tenant_config_open", codes.OK},
		{"api", "param_config_y", codes.NotFound},
		{"db", "param_config_z", codes.PermissionDenied},
		{"db", "param_config_all", codes.PermissionDenied},
		{"", "param_config_db/z", codes.PermissionDenied},
		{"", "tenant_config_closed", codes.PermissionDenied},
		{"", "tenant_config_none", codes.PermissionDenied},
	} {
		got, err := sample.RetrieveConfig(ctx, &configuration.RetrieveConfigRequest{ServiceName: tc.service, Key: tc.key})
		if status.Code(err) != tc.want || strings.Contains(got.String(), "hidden") {
			t.Errorf("%s of %s: %v, %v, want %v", tc.key, tc.service, got, err, tc.want)
		}
	}
	for key, want := range map[string]codes.Code{
		"param_config_api/open/x": codes.OK, "tenant_config_open": codes.OK,
		"param_config_api/closed/x": codes.PermissionDenied, "tenant_config_closed": codes.PermissionDenied,
	} {
		got, err := sample.RetrieveConfigs(ctx, &configuration.RetrieveConfigRequests{Keys: []string{"tenant_config_open", key}})
		if status.Code(err) != want || strings.Contains(got.String(), "hidden") {
			t.Errorf("%s: %v, %v, want %v", key, got, err, want)
		}
	}
}

// A secret is shown to callers with permission to reveal it, which is recorded, and
// hidden from others.
func TestSample_Secrets(t *testing.T) {
	f := startSecret(t)
	f.commit(t, f.as(t, "acme", identity.Writer), set("paramconfig/s/key", `"`+canary+`"`, "tenantconfig/s/x", `{"amcCode":"`+canary+`"}`))
	sample := configuration.NewConfigServiceClient(f.conn)
	type answer interface{ String() string }
	calls := map[string]func(context.Context) (answer, error){
		"a parameter": func(ctx context.Context) (answer, error) {
			return sample.RetrieveConfig(ctx, &configuration.RetrieveConfigRequest{ServiceName: "s", Key: "param_config_key"})
		},
		"all parameters": func(ctx context.Context) (answer, error) {
			return sample.RetrieveConfig(ctx, &configuration.RetrieveConfigRequest{ServiceName: "s", Key: "param_config_all"})
		},
		"a setting": func(ctx context.Context) (answer, error) {
			return sample.RetrieveConfig(ctx, &configuration.RetrieveConfigRequest{Key: "tenant_config_s/x"})
		},
		"several": func(ctx context.Context) (answer, error) {
			return sample.RetrieveConfigs(ctx, &configuration.RetrieveConfigRequests{Keys: []string{"tenant_config_s/x", "param_config_s/key"}})
		},
	}
	auditor := f.as(t, "acme", identity.Auditor)
	for name, call := range calls {
		before := len(f.recorded(t, auditor))
		got, err := call(f.as(t, "acme", identity.Reader))
		switch {
		case name == "a setting":
			if status.Code(err) != codes.PermissionDenied {
				t.Errorf("a reader gets %v, %v", got, err)
			}
		case err != nil, !strings.Contains(got.String(), "***"):
			t.Errorf("a reader gets %s as %v, %v", name, got, err)
		}
		if strings.Contains(fmt.Sprint(got, err), canary) || strings.Contains(fmt.Sprint(got, err), "$secret") {
			t.Errorf("a reader gets %s as %v, %v", name, got, err)
		}
		if n := len(f.recorded(t, auditor)); n != before {
			t.Errorf("a read of %s that reveals nothing is recorded", name)
		}
		if got, err = call(f.as(t, "acme", identity.Reader, identity.Revealer)); err != nil || !strings.Contains(got.String(), canary) {
			t.Errorf("a revealer gets %s as %v, %v", name, got, err)
		}
		if reads := f.recorded(t, auditor)[before:]; len(reads) != 1 || !reads[0].Revealed || reads[0].Revision != 1 {
			t.Errorf("of %s is recorded %v", name, reads)
		}
	}
}
