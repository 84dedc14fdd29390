package parameterstore_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/routes"
	"github.com/stelehq/stele/internal/projector"
	"github.com/stelehq/stele/internal/projector/fakeaws"
	"github.com/stelehq/stele/internal/projector/parameterstore"
	"github.com/stelehq/stele/internal/projector/sinktest"
	"go.uber.org/goleak"
)

var epoch = ledger.Epoch{1, 2, 3, 4, 5, 6, 7, 8}

func TestMain(m *testing.M) {
	os.Setenv("AWS_ACCESS_KEY_ID", "fake")
	os.Setenv("AWS_SECRET_ACCESS_KEY", "fake")
	goleak.VerifyTestMain(m)
}

func start(t testing.TB) *fakeaws.Server {
	t.Helper()
	aws, err := fakeaws.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(aws.Close)
	return aws
}

// settings are the settings of a sink without rate limits, and may contain more.
func settings(aws *fakeaws.Server, e ledger.Epoch, more string) projector.Settings {
	return projector.Settings{Name: "params", Local: true, Epoch: e, Log: slog.New(slog.DiscardHandler), JSON: fmt.Appendf(nil,
		`{"endpoint": %q, "region": %q, "rate": 200, "reads": 100000, "recreate_after": "0s" %s}`, aws.URL, fakeaws.Region, more)}
}

func open(t testing.TB, aws *fakeaws.Server, more string) projector.Store {
	t.Helper()
	s, err := parameterstore.Open(t.Context(), settings(aws, epoch, more))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s.(projector.Store)
}

func write(rev ledger.Revision, key ledger.Key, v ledger.Value) projector.Write {
	return projector.Write{Tenant: "acme", Key: key, Value: v, Revision: rev, Route: &routes.Route{}}
}

func secret(w projector.Write, key string) projector.Write {
	w.Route = &routes.Route{Secure: true, KMSKey: key}
	return w
}

// must writes with calls as large as the sink's limits, and fails the test on any
// error.
func must(t testing.TB, s projector.Store, writes ...projector.Write) {
	t.Helper()
	for i, err := range try(t, s, writes...) {
		if err != nil {
			t.Fatalf("write %s%s: %v", writes[i].Key, writes[i].Revision, err)
		}
	}
}

func try(t testing.TB, s projector.Store, writes ...projector.Write) []error {
	t.Helper()
	errs, err := s.Write(t.Context(), writes)
	if err != nil {
		t.Fatalf("write: %v", err)
	}
	return errs
}

// refusal is the reason of a refused write.
func refusal(t testing.TB, err error) string {
	t.Helper()
	r, ok := errors.AsType[*projector.RefusedError](err)
	if !ok {
		t.Fatalf("%v is not a refusal", err)
	}
	return r.Reason
}

// puts is how many versions clients have made of a parameter.
func puts(aws *fakeaws.Server, name string) int {
	n := 0
	for _, c := range aws.Parameters.Changes(name) {
		if !c.Deleted && !c.ByHand {
			n++
		}
	}
	return n
}

func TestStore(t *testing.T) {
	for name, more := range map[string]string{
		"Default":    "",
		"Own":        `, "layout": "/{prefix}/{tenant}/config/{path}", "prefix": "platform/prod"`,
		"ShortPages": "",
	} {
		t.Run(name, func(t *testing.T) {
			sinktest.Store(t, func(t *testing.T) sinktest.Place {
				aws := start(t)
				aws.SetFaults(fakeaws.Faults{ShortPages: name == "ShortPages"})
				return sinktest.Place{
					Open: func(ctx context.Context, e ledger.Epoch) (projector.Store, error) {
						s, err := parameterstore.Open(ctx, settings(aws, e, more))
						if err != nil {
							return nil, err
						}
						return s.(projector.Store), nil
					},
					Fit: func(e ledger.Epoch) (projector.Fit, error) { return parameterstore.Fit(settings(aws, e, more)) },
					Put: func(t testing.TB, name, text string) {
						if err := aws.Parameters.Edit(name, func(v *fakeaws.Version) { v.Value = text }); err != nil {
							t.Fatal(err)
						}
					},
					Delete: func(t testing.TB, name string) {
						if !aws.Parameters.Remove(name) {
							t.Fatalf("%s is not there", name)
						}
					},
					Refused: write(1, "tenantconfig/empty", `""`),
				}
			})
		})
	}
}

func TestWrite_Parameters(t *testing.T) {
	aws := start(t)
	s := open(t, aws, "")
	must(t, s,
		write(1, "paramconfig/a", `"plain \"text\""`),
		write(2, "paramconfig/b/c", `{"x":[1.0,9007199254740993]}`),
		secret(write(3, "paramconfig/s", `"hidden"`), ""),
		secret(write(4, "paramconfig/k", `1`), "alias/mine"),
		write(5, "paramconfig/big", ledger.Value(`"`+strings.Repeat("x", 4097)+`"`)),
	)
	for name, want := range map[string]fakeaws.Version{
		"/stele/acme/paramconfig/a":   {Type: "String", Tier: "Standard", Value: `plain "text"`, Description: "stele 0102030405060708/1 string"},
		"/stele/acme/paramconfig/b/c": {Type: "String", Tier: "Standard", Value: `{"x":[1.0,9007199254740993]}`, Description: "stele 0102030405060708/2 json"},
		"/stele/acme/paramconfig/s":   {Type: "SecureString", Tier: "Standard", Value: "hidden", KeyID: "alias/aws/ssm", Description: "stele 0102030405060708/3 string"},
		"/stele/acme/paramconfig/k":   {Type: "SecureString", Tier: "Standard", Value: "1", KeyID: "alias/mine", Description: "stele 0102030405060708/4 json"},
		"/stele/acme/paramconfig/big": {Type: "String", Tier: "Advanced", Value: strings.Repeat("x", 4097), Description: "stele 0102030405060708/5 string"},
	} {
		got, _ := aws.Parameters.Get(name)
		want.Name, want.Version, want.DataType, want.Modified = name, 1, "text", got.Modified
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s is\n%.200v, want\n%.200v", name, got, want)
		}
	}
}

// Secrets are read back decrypted, and are the same only under the same type and key.
func TestSecureStrings(t *testing.T) {
	aws := start(t)
	s := open(t, aws, "")
	w := secret(write(1, "s", `"hidden"`), "alias/mine")
	must(t, s, w)
	item, ok, err := s.Read(t.Context(), "/stele/acme/s")
	if err != nil || !ok || item.Value != `"hidden"` || !s.Same(item, w) {
		t.Fatalf("read back: %+v %v %v", item, ok, err)
	}
	if s.Same(item, write(1, "s", `"hidden"`)) || s.Same(item, secret(w, "alias/other")) {
		t.Error("it is the same under another type or key")
	}
	must(t, s, secret(write(2, "s", `"hidden"`), "alias/other"))
	if v, _ := aws.Parameters.Get("/stele/acme/s"); v.KeyID != "alias/other" {
		t.Errorf("under another key of the route it is encrypted with %s", v.KeyID)
	}
	// A parameter cannot become another type; when it was deleted, it can.
	plain := write(3, "s", `"open"`)
	if err := try(t, s, plain)[0]; err == nil {
		t.Error("a secret was made plain")
	}
	for _, again := range []projector.Store{s, open(t, aws, "")} { // that read it
		if err := try(t, again, plain)[0]; !strings.Contains(refusal(t, err), "delete the parameter") {
			t.Errorf("a secret made plain: %v", err)
		}
	}
	aws.Parameters.Remove("/stele/acme/s")
	must(t, s, plain)
	if v, _ := aws.Parameters.Get("/stele/acme/s"); v.Type != "String" {
		t.Errorf("after that it is a %s", v.Type)
	}
}

// A key of KMS that is dead is in the way of its own parameters alone.
func TestWrite_DisabledKMSKey(t *testing.T) {
	aws := start(t)
	dead := secret(write(1, "dead", `"hidden"`), "alias/dead")
	must(t, open(t, aws, ""), dead, write(1, "a", `1`))
	aws.SetFaults(fakeaws.Faults{DeadKeys: []string{"alias/dead"}})
	dead.Revision = 2
	fresh := secret(write(2, "fresh", `"hidden"`), "alias/dead")
	s := open(t, aws, "")
	errs := try(t, s, dead, write(2, "a", `2`), fresh)
	if errs[1] != nil || !strings.Contains(retried(t, errs[0]), "kms_key") || !strings.Contains(retried(t, errs[2]), "kms_key") {
		t.Errorf("with a dead key: %v", errs)
	}
	if v, _ := aws.Parameters.Get("/stele/acme/a"); v.Value != "2" {
		t.Errorf("next to it is %s", v.Value)
	}
	// A sweep also continues past it.
	scanned := make(map[ledger.Key]projector.Item)
	if err := s.Scan(t.Context(), "acme", func(i projector.Item) error { scanned[i.Key] = i; return nil }); err != nil {
		t.Fatal(err)
	}
	if len(scanned) != 2 || scanned["a"].Err != nil || scanned["a"].Value != "2" || scanned["dead"].Err == nil || scanned["dead"].Name != "/stele/acme/dead" {
		t.Errorf("scanned are %+v", scanned)
	}
	aws.SetFaults(fakeaws.Faults{})
	must(t, s, dead, fresh)
}

// An error that can be fixed in the account is never a rejection: the write succeeds
// after that.
func TestWrite_RetriedErrors(t *testing.T) {
	first := secret(write(1, "s", `"hidden"`), "alias/mine")
	for what, f := range map[string]fakeaws.Faults{
		"writes are denied":      {Denied: []string{"PutParameter"}},
		"reads are denied":       {Denied: []string{"GetParameters"}},
		"the key is dead":        {DeadKeys: []string{"alias/mine"}},
		"the key does not exist": {UnknownKeys: true},
		"the account is full":    {},
		"describing is too old":  {DescribedAt: time.Now().Add(-time.Hour)},
	} {
		t.Run(what, func(t *testing.T) {
			aws := start(t)
			switch what {
			case "the account is full":
				must(t, open(t, aws, ""), write(1, "other", `1`))
				aws.SetLimits(fakeaws.Limits{Standard: 1})
			case "describing is too old":
				must(t, open(t, aws, ""), first)
			}
			aws.SetFaults(f)
			s := open(t, aws, "")
			errs, err := s.Write(t.Context(), []projector.Write{first})
			if err != nil {
				t.Fatal(err)
			}
			retried(t, errs[0])
			aws.SetFaults(fakeaws.Faults{})
			aws.SetLimits(fakeaws.Limits{})
			aws.AddKey("alias/mine")
			must(t, s, first)
			aws.SetFaults(fakeaws.Faults{UnknownKeys: true})
			second := first
			second.Revision = 2
			must(t, s, second)
		})
	}
}

// retried is the text of an error that is not a rejection.
func retried(t testing.TB, err error) string {
	t.Helper()
	if _, refused := errors.AsType[*projector.RefusedError](err); err == nil || refused {
		t.Fatalf("%v, want an error that is retried", err)
	}
	return err.Error()
}

// While DescribeParameters is behind, what it knows is written, and the rest later.
func TestScan_StaleDescriptions(t *testing.T) {
	aws := start(t)
	must(t, open(t, aws, ""), keys(3, 1)...)
	aws.SetFaults(fakeaws.Faults{DescribedAt: time.Now()})
	if err := aws.Parameters.Edit("/stele/acme/k1", func(v *fakeaws.Version) { v.Value = "by hand" }); err != nil {
		t.Fatal(err)
	}
	s := open(t, aws, "")
	again := keys(3, 2)
	errs := try(t, s, again...)
	if errs[0] != nil || errs[2] != nil || !strings.Contains(retried(t, errs[1]), "not of the same version yet") {
		t.Errorf("at once: %v", errs)
	}
	aws.SetFaults(fakeaws.Faults{})
	must(t, s, again[1])
}

// A SecureString keeps the key that it was found with, unless the route names one.
func TestWrite_KeepsTheKMSKey(t *testing.T) {
	aws := start(t)
	if err := aws.Parameters.Edit("/stele/acme/s", func(v *fakeaws.Version) {
		v.Type, v.KeyID, v.Value = fakeaws.SecureString, "alias/theirs", "hidden"
	}); err != nil {
		t.Fatal(err)
	}
	s := open(t, aws, "")
	item, _, err := s.Read(t.Context(), "/stele/acme/s")
	if err != nil || !item.Secret {
		t.Fatalf("%+v, %v", item, err)
	}
	w := secret(write(1, "s", `"hidden"`), "")
	w.Replace = &item
	for rev := range ledger.Revision(3) {
		w.Revision = rev + 1
		if rev == 2 {
			s = open(t, aws, "")
		}
		must(t, s, w)
		if v, _ := aws.Parameters.Get("/stele/acme/s"); v.KeyID != "alias/theirs" || v.Version != int64(rev)+2 {
			t.Errorf("version %d is encrypted with %s", v.Version, v.KeyID)
		}
		w.Replace = nil
	}
	item, _, _ = s.Read(t.Context(), "/stele/acme/s")
	if !s.Same(item, w) {
		t.Error("its key counts as drift")
	}
	w.Route.KMSKey, w.Revision = "alias/ours", 4
	must(t, s, w)
	if v, _ := aws.Parameters.Get("/stele/acme/s"); v.KeyID != "alias/ours" {
		t.Errorf("by a route that names a key it is %s", v.KeyID)
	}
}

// A parameter grows into the advanced tier and stays there; AWS would refuse to bring
// it back.
func TestTiers(t *testing.T) {
	aws := start(t)
	s := open(t, aws, "")
	big, small := ledger.Value(`"`+strings.Repeat("x", 8192)+`"`), ledger.Value(`"x"`)
	tier := func(want string) {
		t.Helper()
		if v, _ := aws.Parameters.Get("/stele/acme/a"); v.Tier != want {
			t.Fatalf("version %d is of the tier %s, want %s", v.Version, v.Tier, want)
		}
	}
	must(t, s, write(1, "a", small))
	tier("Standard")
	must(t, s, write(2, "a", big))
	tier("Advanced")
	must(t, s, write(3, "a", small))
	tier("Advanced")
	must(t, open(t, aws, ""), write(4, "a", `"y"`)) // another process reads the tier
	tier("Advanced")
	must(t, s, write(5, "a", ""), write(6, "b", `1`))
	must(t, s, write(7, "a", small))
	tier("Standard")
	// A hand makes it advanced, which the sink learns from the refusal.
	if err := aws.Parameters.Edit("/stele/acme/a", func(v *fakeaws.Version) { v.Tier = "Advanced" }); err != nil {
		t.Fatal(err)
	}
	w := write(8, "a", `"z"`)
	if err := try(t, s, w)[0]; err == nil {
		t.Fatal("AWS takes an advanced parameter back")
	} else if _, refused := errors.AsType[*projector.RefusedError](err); refused {
		t.Fatalf("rejected permanently: %v", err)
	}
	must(t, s, w)
	tier("Advanced")
}

// The tier that the settings say.
func TestTierSetting(t *testing.T) {
	for tier, want := range map[string][2]string{ // of a small value, and of a second one below the account's limit
		"standard": {"Standard", ""}, "advanced": {"Advanced", "Advanced"}, "intelligent": {"Standard", "Advanced"},
	} {
		aws := start(t)
		aws.SetLimits(fakeaws.Limits{Standard: 1})
		s := open(t, aws, fmt.Sprintf(`, "tier": %q`, tier))
		must(t, s, write(1, "a", `1`))
		second := write(1, "b", `2`)
		if err := try(t, s, second)[0]; (err == nil) != (want[1] != "") || err != nil && !strings.Contains(retried(t, err), `"tier"`) {
			t.Errorf("%s: %v", tier, err)
		}
		for i, name := range []string{"/stele/acme/a", "/stele/acme/b"} {
			if v, _ := aws.Parameters.Get(name); v.Tier != want[i] {
				t.Errorf("%s: %s is of the tier %q, want %q", tier, name, v.Tier, want[i])
			}
		}
		must(t, s, write(2, "a", `3`))
		must(t, open(t, aws, fmt.Sprintf(`, "tier": %q`, tier)), write(3, "a", `4`))
	}
	// Existing parameters become advanced.
	aws := start(t)
	w := write(1, "a", `1`)
	must(t, open(t, aws, ""), w)
	must(t, open(t, aws, `, "tier": "advanced"`), w)
	if v, _ := aws.Parameters.Get("/stele/acme/a"); v.Tier != fakeaws.Advanced {
		t.Errorf("it is %s", v.Tier)
	}
}

// An account that is nearly full is a warning.
func TestWarnings(t *testing.T) {
	aws := start(t)
	s := open(t, aws, "")
	warnings := func(tenant ledger.Tenant) []string {
		if err := s.Scan(t.Context(), tenant, func(projector.Item) error { return nil }); err != nil {
			t.Fatal(err)
		}
		return s.(projector.Warner).Warnings()
	}
	fill := func(tenant string, from, to int) {
		for i := from; i < to; i++ {
			if err := aws.Parameters.Edit(fmt.Sprintf("/stele/%s/%d", tenant, i), func(v *fakeaws.Version) { v.Value = "x" }); err != nil {
				t.Fatal(err)
			}
		}
	}
	fill("acme", 0, 4500)
	fill("globex", 0, 4499)
	if w := append(warnings("acme"), warnings("globex")...); len(w) != 0 {
		t.Errorf("with 8,999 it warns: %v", w)
	}
	fill("globex", 4499, 4500)
	if w := warnings("globex"); len(w) != 1 || !strings.Contains(w[0], "9000 standard parameters") {
		t.Errorf("with 9,000 it warns: %v", w)
	}
}

// Of two keys of which one is a level of the other the services of the AWS sample can
// load neither: the second one is parked, until the first one is gone.
func TestSample_NestedKeys(t *testing.T) {
	aws := start(t)
	const preset = `, "preset": "aws-sample"`
	key := func(path string, rev ledger.Revision, v ledger.Value) projector.Write {
		return write(rev, ledger.Key("paramconfig/"+path), v)
	}
	errs := try(t, open(t, aws, preset), key("svc/a/b", 1, `1`), key("svc/a", 1, `1`), key("svc/x/y/z", 1, `1`), key("svc/ab", 1, `1`))
	if errs[1] != nil || errs[2] != nil || errs[3] != nil || !strings.Contains(refusal(t, errs[0]), "/config-service/acme/dev/svc/a cannot both be there") {
		t.Fatalf("both at once: %v", errs)
	}
	s := open(t, aws, preset) // which knows nothing
	for path, other := range map[string]string{"svc/a/b": "svc/a", "svc/a/b/c": "svc/a", "svc/x": "svc/x/y/z", "svc/x/y": "svc/x/y/z"} {
		if err := try(t, s, key(path, 2, `1`))[0]; !strings.Contains(refusal(t, err), "/"+other+" cannot") {
			t.Errorf("%s: %v", path, err)
		}
	}
	must(t, s, key("svc/a", 2, `2`), key("svc/x/y/z", 2, `2`), key("svc/x/y/w", 2, `1`))
	must(t, s, key("svc/a", 3, ""))
	must(t, s, key("svc/a/b", 3, `1`))
	// In a layout that no such service reads both are fine.
	must(t, open(t, aws, ""), write(1, "svc/a", `1`), write(1, "svc/a/b", `1`))
	fit, err := parameterstore.Fit(settings(aws, epoch, preset))
	if err != nil || fit.InTheWay == nil {
		t.Errorf("a plan does not say so: %v", err)
	}
}

func TestRefusals(t *testing.T) {
	aws := start(t)
	s := open(t, aws, "")
	deep := ledger.Key("l" + strings.Repeat("/l", 13))
	for what, c := range map[string]struct {
		w    projector.Write
		want string
	}{
		"empty string":         {write(1, "a", `""`), "empty string"},
		"8 KB":                 {write(1, "a", ledger.Value(`"`+strings.Repeat("é", 4097)+`"`)), "8194 bytes"},
		"8 KB of JSON":         {write(1, "a", ledger.Value(`["`+strings.Repeat("x", 8189)+`"]`)), "8193 bytes"},
		"reference":            {write(1, "a", `"{{ssm:x}}"`), "reference"},
		"reference over lines": {write(1, "a", `["{{","}}"]`), "reference"},
		"sixteen levels":       {write(1, deep, `1`), "16 levels"},
	} {
		reason := refusal(t, try(t, s, c.w)[0])
		if !strings.Contains(reason, c.want) {
			t.Errorf("%s: %s, want %q", what, reason, c.want)
		}
	}
	must(t, s, write(1, deep[2:], `1`)) // fifteen
	if n := aws.Calls("PutParameter"); n != 1 {
		t.Errorf("%d requests were made for what cannot be", n-1)
	}
}

// What AWS keeps for itself, and what is too long, depends on the layout.
func TestWrite_RejectedNames(t *testing.T) {
	aws := start(t)
	for _, c := range []struct {
		more   string
		tenant ledger.Tenant
		key    ledger.Key
		want   string
	}{
		{`, "layout": "/{tenant}/{path}"`, "aws-dev", "a", `"aws"`},
		{`, "layout": "/{tenant}/{path}"`, "ssm", "a", `"ssm"`},
		{`, "layout": "/{tenant}/{path}"`, "awesome", "aws", ""},
		{`, "prefix": "` + strings.Repeat("p", 500) + `"`, "acme", ledger.Key(strings.Repeat("k", 512)), "characters"},
		{`, "strip": "a_"`, "acme", "a_b", ""},
		{`, "strip": "a_"`, "acme", "a_", "without a name"},
		{`, "strip": "a_"`, "acme", "a_/b", "without a name"},
		{`, "strip": "a_"`, "acme", "b", "begin with a_"},
		{`, "preset": "aws-sample"`, "acme", "paramconfig/payments/constructor", "AWS sample"},
		{`, "preset": "aws-sample"`, "prototype", "paramconfig/payments/x", "AWS sample"},
		{`, "preset": "aws-sample"`, "acme", "tenantconfig/payments/x", "begin with paramconfig/"},
	} {
		s := open(t, aws, c.more)
		w := write(1, c.key, `1`)
		w.Tenant = c.tenant
		err := try(t, s, w)[0]
		if c.want == "" {
			if err != nil {
				t.Errorf("%s of %s: %v", c.key, c.tenant, err)
			}
			continue
		}
		if reason := refusal(t, err); !strings.Contains(reason, c.want) {
			t.Errorf("%s of %s: %s, want %q", c.key, c.tenant, reason, c.want)
		}
		if c.tenant == "acme" {
			continue
		}
		if err := s.Scan(t.Context(), c.tenant, func(i projector.Item) error { return fmt.Errorf("there is %s", i.Name) }); err != nil {
			t.Errorf("scan %s: %v", c.tenant, err)
		}
	}
	if n := aws.Calls("PutParameter"); n != 2 {
		t.Errorf("%d requests were made for what cannot be", n-2)
	}
}

// The AWS sample reads /config-service/TENANT/ENV/SERVICE/PARAMETER for a request of
// param_config_SERVICE/PARAMETER.
func TestAWSSample(t *testing.T) {
	aws := start(t)
	must(t, open(t, aws, `, "preset": "aws-sample"`), write(1, "paramconfig/payments/timeout", `"30"`))
	must(t, open(t, aws, `, "preset": "aws-sample", "env": "prod", "strip": "param_config_"`), write(1, "param_config_payments/timeout", `"40"`))
	for name, want := range map[string]string{"/config-service/acme/dev/payments/timeout": "30", "/config-service/acme/prod/payments/timeout": "40"} {
		if v, _ := aws.Parameters.Get(name); v.Value != want {
			t.Errorf("%s is %q, want %q", name, v.Value, want)
		}
	}
}

// A parameter below a tenant's path that does not belong to a key is still an item.
func TestScan_ForeignNames(t *testing.T) {
	aws := start(t)
	s := open(t, aws, `, "preset": "aws-sample"`)
	for _, name := range []string{"/config-service/acme/dev/constructor", "/config-service/acme/dev/a/.."} {
		if err := aws.Parameters.Edit(name, func(v *fakeaws.Version) { v.Value = "x" }); err != nil {
			t.Fatal(err)
		}
		n := 0
		err := s.Scan(t.Context(), "acme", func(i projector.Item) error {
			n++
			if i.Name != name || i.Key != "" || i.Tenant != "acme" || i.Revision != 0 {
				t.Errorf("%s is scanned as %+v", name, i)
			}
			return s.Remove(t.Context(), i)
		})
		if err != nil || n != 1 {
			t.Fatalf("%d items are scanned: %v", n, err)
		}
		if _, ok := aws.Parameters.Get(name); ok {
			t.Errorf("%s was not removed", name)
		}
	}
	for _, name := range []string{"", "/", "/config-service", "/config-service/acme", "/config-service/acme/dev/", "/config-service/ACME/dev/a", "/config-service/acme/prod/a", "/config-service/acme/dev/a:1"} {
		if _, _, err := s.Read(t.Context(), name); err == nil || refusal(t, err) == "" {
			t.Errorf("%q is read", name)
		}
	}
}

func TestOpen_Rejects(t *testing.T) {
	aws := start(t)
	for more, want := range map[string]string{
		`, "layout": "/aws-config/{tenant}/{path}"`:     `"aws"`,
		`, "prefix": "SSM"`:                             `"ssm"`,
		`, "layout": "/{prefix}/{path}/{tenant}"`:       "{tenant} is a level",
		`, "layout": "/{prefix}/{path}"`:                "{tenant} is a level",
		`, "layout": "/x-{tenant}/{path}"`:              "{tenant} is a level",
		`, "layout": "/{tenant}/x-{path}"`:              "{tenant} is a level",
		`, "layout": "x/{tenant}/{path}"`:               "{tenant} is a level",
		`, "layout": "/{tenant}/{tenant}/{path}"`:       `'{'`,
		`, "layout": "/a b/{tenant}/{path}"`:            `' '`,
		`, "layout": "/a//{tenant}/{path}"`:             "without a name",
		`, "layout": "/{tenant}/{env}/{path}"`:          `set "env"`,
		`, "layout": "/{tenant}/{path}", "prefix": "x"`: "no {prefix}",
		`, "env": "dev"`:                                "no {env}",
		`, "preset": "x"`:                               "unknown preset",
		`, "strip": "a b"`:                              "strip",
		`, "recreate_after": "soon"`:                    "recreate_after",
		`, "rate": -1`:                                  "rate",
		`, "tier": "gold"`:                              "use standard, advanced or intelligent",
		`, "prefixes": "x"`:                             "unknown",
	} {
		text := strings.Replace(string(settings(aws, epoch, more).JSON), `"recreate_after": "0s" , "recreate_after"`, `"recreate_after"`, 1)
		text = strings.Replace(text, `"rate": 200, `, "", 1)
		_, err := parameterstore.Open(t.Context(), projector.Settings{Name: "params", Local: true, JSON: []byte(text)})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", more, err, want)
		}
	}
}

// Tags come with the request that creates a parameter, because AWS takes none with
// others. A parameter that another program creates meanwhile is read before the next try.
func TestWrite_Tags(t *testing.T) {
	server := start(t)
	s := open(t, server, `, "tags": {"tenant": "{tenant}", "team": "platform"}`)
	must(t, s, write(1, "a", `"x"`))
	must(t, s, write(2, "a", `"y"`))
	if tags := server.Parameters.Tags("/stele/acme/a"); len(tags) != 2 || tags["tenant"] != "acme" || tags["team"] != "platform" {
		t.Errorf("the tags are %v", tags)
	}
	edited := false
	server.SetFaults(fakeaws.Faults{Before: func(operation string) {
		if operation == "PutParameter" && !edited {
			edited = true
			if err := server.Parameters.Edit("/stele/acme/b", func(v *fakeaws.Version) { v.Value = "mine" }); err != nil {
				t.Error(err)
			}
		}
	}})
	w := write(3, "b", `"ours"`)
	if err := try(t, s, w)[0]; err == nil || strings.Contains(err.Error(), "refus") {
		t.Errorf("a parameter that exists by now is created: %v", err)
	}
	must(t, s, w)
	if v, _ := server.Parameters.Get("/stele/acme/b"); v.Value != "ours" {
		t.Errorf("after another try it is %q", v.Value)
	}
}
