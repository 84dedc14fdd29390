package stele_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/open-feature/go-sdk/openfeature"
	"github.com/stelehq/stele/client"
	"github.com/stelehq/stele/client/clienttest"
	stele "github.com/stelehq/stele/client/openfeature"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	code := m.Run()
	openfeature.Shutdown()
	if err := goleak.Find(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// world is a ledger, a client of it, and OpenFeature on top.
type world struct {
	server *clienttest.Server
	client *client.Client
	flags  *openfeature.Client
}

func start(t *testing.T, cfg stele.Config) world {
	t.Helper()
	s := clienttest.Start(t)
	c, err := client.Open(t.Context(), s.Config("acme", "flags/"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	domain := t.Name()
	if err := openfeature.SetNamedProviderAndWait(domain, stele.NewProvider(c, cfg)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { openfeature.SetNamedProviderAndWait(domain, openfeature.NoopProvider{}) })
	return world{s, c, openfeature.NewClient(domain)}
}

func (w world) set(t *testing.T, flag, value string) {
	t.Helper()
	if _, err := w.client.Ledger().Set(t.Context(), "flags/"+flag, json.RawMessage(value), ""); err != nil {
		t.Fatal(err)
	}
}

const rollout = `{
	"state": "ENABLED",
	"variants": {"new": true, "old": false},
	"defaultVariant": "old",
	"targeting": {"if": [
		{"ends_with": [{"var": "email"}, "@example.com"]}, "new",
		{"sem_ver": [{"var": "app"}, ">=", "2.1.0"]}, "new",
		{"==": [{"var": "plan"}, "odd"]}, "none such",
		{"==": [{"var": "plan"}, "broken"]}, {"no_such_operator": [1]},
		{"==": [{"var": "$flagd.flagKey"}, "other"]}, "new",
		null
	]},
	"metadata": {"owner": "checkout", "tier": 2}
}`

func TestProvider_EvaluatesFlags(t *testing.T) {
	w := start(t, stele.Config{})
	for flag, value := range map[string]string{
		"on":       "true",
		"text":     `"blue"`,
		"big":      "9007199254740993",
		"ten":      "1e1",
		"half":     "0.5",
		"object":   `{"max":3,"big":9007199254740993,"list":[1,"a"]}`,
		"null":     "null",
		"rollout":  rollout,
		"disabled": `{"state":"DISABLED","variants":{"on":true},"defaultVariant":"on"}`,
		"open":     `{"state":"ENABLED","variants":{"on":true},"defaultVariant":null}`,
		"empty":    `{"state":"ENABLED","variants":null}`,
		"lost":     `{"state":"ENABLED","variants":{"on":true},"defaultVariant":"off"}`,
		"state":    `{"state":"MAYBE","variants":{"on":true},"defaultVariant":"on"}`,
		"ref":      `{"state":"ENABLED","variants":{"on":true},"defaultVariant":"on","targeting":{"$ref":"shared"}}`,
		"panic":    `{"state":"ENABLED","variants":{"on":true},"defaultVariant":"on","targeting":{"if":"x"}}`,
	} {
		w.set(t, flag, value)
	}
	user := func(kv ...any) openfeature.EvaluationContext {
		attributes := make(map[string]any)
		for i := 0; i < len(kv); i += 2 {
			attributes[kv[i].(string)] = kv[i+1]
		}
		return openfeature.NewEvaluationContext("user-1", attributes)
	}
	type want struct {
		value   any
		variant string
		reason  openfeature.Reason
		code    openfeature.ErrorCode
	}
	for _, tc := range []struct {
		flag     string
		fallback any
		user     openfeature.EvaluationContext
		want     want
	}{
		{"on", false, user(), want{true, "static", openfeature.StaticReason, ""}},
		{"text", "red", user(), want{"blue", "static", openfeature.StaticReason, ""}},
		{"big", int64(1), user(), want{int64(9007199254740993), "static", openfeature.StaticReason, ""}},
		{"ten", int64(1), user(), want{int64(10), "static", openfeature.StaticReason, ""}},
		{"half", int64(1), user(), want{int64(1), "", openfeature.ErrorReason, openfeature.TypeMismatchCode}},
		{"half", 0.1, user(), want{0.5, "static", openfeature.StaticReason, ""}},
		{"on", "x", user(), want{"x", "", openfeature.ErrorReason, openfeature.TypeMismatchCode}},
		{"object", any(nil), user(), want{`{"big":9007199254740993,"list":[1,"a"],"max":3}`, "static", openfeature.StaticReason, ""}},
		{"no such", true, user(), want{true, "", openfeature.ErrorReason, openfeature.FlagNotFoundCode}},
		{"null", true, user(), want{true, "", openfeature.ErrorReason, openfeature.ParseErrorCode}},
		{"empty", true, user(), want{true, "", openfeature.ErrorReason, openfeature.ParseErrorCode}},
		{"lost", true, user(), want{true, "", openfeature.ErrorReason, openfeature.ParseErrorCode}},
		{"state", true, user(), want{true, "", openfeature.ErrorReason, openfeature.ParseErrorCode}},
		{"ref", true, user(), want{true, "", openfeature.ErrorReason, openfeature.ParseErrorCode}},
		{"panic", true, user(), want{true, "", openfeature.ErrorReason, openfeature.ParseErrorCode}},
		{"disabled", false, user(), want{false, "", openfeature.DisabledReason, ""}},
		{"open", false, user(), want{false, "", openfeature.DefaultReason, ""}},
		{"rollout", true, user(), want{false, "old", openfeature.DefaultReason, ""}},
		{"rollout", false, user("email", "a@example.com"), want{true, "new", openfeature.TargetingMatchReason, ""}},
		{"rollout", true, user("email", 5), want{false, "old", openfeature.DefaultReason, ""}},
		{"rollout", false, user("app", "2.10.0"), want{true, "new", openfeature.TargetingMatchReason, ""}},
		{"rollout", true, user("app", "2.0.9"), want{false, "old", openfeature.DefaultReason, ""}},
		{"rollout", true, user("plan", "odd"), want{true, "", openfeature.ErrorReason, openfeature.GeneralCode}},
		{"rollout", true, user("plan", "broken"), want{true, "", openfeature.ErrorReason, openfeature.ParseErrorCode}},
		{"rollout", true, user("f", func() {}), want{true, "", openfeature.ErrorReason, openfeature.InvalidContextCode}},
	} {
		var got want
		take := func(v any, d openfeature.EvaluationDetails) { got = want{v, d.Variant, d.Reason, d.ErrorCode} }
		switch fallback := tc.fallback.(type) {
		case bool:
			d, _ := w.flags.BooleanValueDetails(t.Context(), tc.flag, fallback, tc.user)
			take(d.Value, d.EvaluationDetails)
		case string:
			d, _ := w.flags.StringValueDetails(t.Context(), tc.flag, fallback, tc.user)
			take(d.Value, d.EvaluationDetails)
		case int64:
			d, _ := w.flags.IntValueDetails(t.Context(), tc.flag, fallback, tc.user)
			take(d.Value, d.EvaluationDetails)
		case float64:
			d, _ := w.flags.FloatValueDetails(t.Context(), tc.flag, fallback, tc.user)
			take(d.Value, d.EvaluationDetails)
		default:
			d, _ := w.flags.ObjectValueDetails(t.Context(), tc.flag, fallback, tc.user)
			text, err := json.Marshal(d.Value)
			if err != nil {
				t.Fatal(err)
			}
			take(string(text), d.EvaluationDetails)
		}
		if got != tc.want {
			t.Errorf("%s for %v is %+v, and not %+v", tc.flag, tc.user.Attributes(), got, tc.want)
		}
	}
	d, err := w.flags.BooleanValueDetails(t.Context(), "rollout", true, user())
	if err != nil {
		t.Fatal(err)
	}
	owner, _ := d.FlagMetadata.GetString("owner")
	tier, _ := d.FlagMetadata.GetFloat("tier")
	revision, _ := d.FlagMetadata.GetInt("revision")
	if owner != "checkout" || tier != 2 || revision == 0 {
		t.Errorf("the metadata is %v", d.FlagMetadata)
	}
}

func TestFractional_IsStableAndFair(t *testing.T) {
	w := start(t, stele.Config{})
	w.set(t, "f", `{"state":"ENABLED","variants":{"a":"a","b":"b","c":"c"},"defaultVariant":"c",
		"targeting":{"fractional":[["a",10],["b",90],["c",0]]}}`)
	w.set(t, "by", `{"state":"ENABLED","variants":{"a":"a","b":"b","c":"c"},"defaultVariant":"c",
		"targeting":{"fractional":[{"cat":["salt",{"var":"company"}]},["a"],["b"]]}}`)
	counts := make(map[string]int)
	for i := range 5000 {
		who := openfeature.NewEvaluationContext(fmt.Sprint("user-", i), map[string]any{"company": "same"})
		first, second := w.flags.String(t.Context(), "f", "", who), w.flags.String(t.Context(), "f", "", who)
		if first != second {
			t.Fatalf("%s gets %s, and then %s", who.TargetingKey(), first, second)
		}
		counts[first]++
		counts["by "+w.flags.String(t.Context(), "by", "", who)]++
	}
	if counts["a"] < 400 || counts["a"] > 600 || counts["b"] != 5000-counts["a"] {
		t.Errorf("the counts are %v", counts)
	}
	if counts["by a"] != 5000 && counts["by b"] != 5000 {
		t.Errorf("one company gets both: %v", counts)
	}
	if got := w.flags.String(t.Context(), "f", "", openfeature.NewTargetlessEvaluationContext(nil)); got != "c" {
		t.Errorf("without a targeting key it is %q", got)
	}
}

// Every provider of flagd's flags must put the same caller into the same bucket: this is
// what they have agreed on.
func TestFractional_EqualsOtherProviders(t *testing.T) {
	w := start(t, stele.Config{})
	const quarters = `{"state":"ENABLED","variants":{"red":"red","blue":"blue","green":"green","yellow":"yellow"},"targeting":{"fractional":[
		{"cat":[%s,{"var":"email"}]},["red",25],["blue",25],["green",25],["yellow",25]]}}`
	for _, flag := range []string{"headerColor", "footerColor"} {
		w.set(t, flag, fmt.Sprintf(quarters, `{"var":"$flagd.flagKey"}`))
	}
	w.set(t, "seeded", fmt.Sprintf(quarters, `"my-seed"`))
	for _, tc := range []struct{ flag, who, want string }{
		{"headerColor", "rachel", "blue"},
		{"headerColor", "monica", "yellow"},
		{"headerColor", "joey", "red"},
		{"headerColor", "ross", "blue"},
		{"footerColor", "ross", "yellow"},
		{"seeded", "rachel", "green"},
		{"seeded", "monica", "red"},
	} {
		who := openfeature.NewTargetlessEvaluationContext(map[string]any{"email": tc.who + "@faas.com"})
		if got := w.flags.String(t.Context(), tc.flag, "", who); got != tc.want {
			t.Errorf("%s of %s is %s, and not %s", tc.flag, tc.who, got, tc.want)
		}
	}
}

func TestProvider_EmitsEvents(t *testing.T) {
	w := start(t, stele.Config{MaxAge: 8 * time.Second})
	events := make(chan string, 100)
	for _, kind := range []openfeature.EventType{openfeature.ProviderConfigChange, openfeature.ProviderStale, openfeature.ProviderReady} {
		callback := func(d openfeature.EventDetails) { events <- string(kind) + " " + strings.Join(d.FlagChanges, ",") }
		w.flags.AddHandler(kind, &callback)
	}
	next := func(want string) {
		t.Helper()
		select {
		case got := <-events:
			if got != want {
				t.Errorf("the event is %q, and not %q", got, want)
			}
		case <-time.After(60 * time.Second):
			t.Fatalf("there is no event %q", want)
		}
	}
	next("PROVIDER_READY ")
	w.set(t, "checkout/new", "true")
	next("PROVIDER_CONFIGURATION_CHANGED checkout/new")
	if !w.flags.Boolean(t.Context(), "checkout/new", false, openfeature.EvaluationContext{}) {
		t.Error("it is off")
	}
	if _, err := w.client.Ledger().Commit(t.Context(), client.ChangeSet{Delete: []string{"flags/checkout/new"}}); err != nil {
		t.Fatal(err)
	}
	next("PROVIDER_CONFIGURATION_CHANGED checkout/new")
	address := w.client.Status().Gateway
	w.server.StopGateway(address)
	next("PROVIDER_STALE ")
	if state := w.flags.State(); state != openfeature.StaleState {
		t.Errorf("the state is %s", state)
	}
	if _, err := w.server.StartGateway(address); err != nil {
		t.Fatal(err)
	}
	next("PROVIDER_READY ")
}

func TestInit_ClientWithoutFlags(t *testing.T) {
	s := clienttest.Start(t)
	c, err := client.Open(t.Context(), s.Config("acme", "tenantconfig/"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	p := stele.NewProvider(c, stele.Config{})
	if err := p.InitWithContext(context.Background(), openfeature.EvaluationContext{}); err == nil || !strings.Contains(err.Error(), "flags/") {
		t.Errorf("the error is %v", err)
	}
	p.Shutdown()
}
