package events_test

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stelehq/stele/schemas/events"
)

func TestTag(t *testing.T) {
	for key, want := range map[string]string{
		"tenantconfig/checkout/timeout_ms":   "tenantconfig",
		"paramconfig/db":                     "paramconfig",
		"flag":                               "flag",
		"tenant_config_payments/api_key":     "tenant_config",
		"tenant_config_payments":             "tenant_config",
		"param_config_shared/db/pool":        "param_config",
		"tenant_config/payments":             "tenant_config",
		"tenant_configuration/payments":      "tenant_configuration",
		"other/tenant_config_payments/limit": "other",
	} {
		if got := events.Tag(key); got != want {
			t.Errorf("the tag of %s is %s, not %s", key, got, want)
		}
	}
}

const id = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"

func full() events.ConfigurationChanged {
	return events.ConfigurationChanged{
		Tenant: "acme", Tag: "tenantconfig", Key: "tenantconfig/a", Operation: events.Set,
		Revision: 42, PreviousRevision: 7, CommitID: id, Position: 3,
		Time: time.Date(2026, 3, 1, 12, 0, 0, 123456789, time.UTC), Author: "ann", Message: "why",
		Value: jsontext.Value(`{"max":9007199254740993,"one":1.0}`),
	}
}

func TestConfigurationChanged_RoundTrip(t *testing.T) {
	want := full()
	text, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	got, err := events.ParseConfigurationChanged(text)
	if err != nil {
		t.Fatal(err)
	}
	again, err := json.Marshal(got)
	if err != nil || !bytes.Equal(text, again) {
		t.Errorf("%s was read as %s, %v", text, again, err)
	}
	if string(got.Value) != string(want.Value) {
		t.Errorf("the value %s was read as %s", want.Value, got.Value)
	}
}

func TestParseConfigurationChanged(t *testing.T) {
	for text, want := range map[string]string{
		`{"tenant":"acme","key":"a","operation":"set","revision":1,"new":{}}`: "",
		`[]`: "read the detail",
		`{"key":"a","operation":"set","revision":1}`:                    "no tenant",
		`{"tenant":"acme","operation":"set","revision":1}`:              "no key",
		`{"tenant":"acme","key":"a","operation":"set"}`:                 "no revision",
		`{"tenant":"acme","key":"a","operation":"drop","revision":1}`:   `"drop"`,
		`{"tenant":"acme","key":"a","operation":"set","revision":-1}`:   "revision",
		`{"tenant":"acme","tenant":"b","operation":"set","revision":1}`: "duplicate",
	} {
		_, err := events.ParseConfigurationChanged([]byte(text))
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
}

// The schema takes what the struct can say, and nothing that contradicts itself.
func TestSchema(t *testing.T) {
	schema := compile(t)
	for name, tc := range map[string]struct {
		change func(*events.ConfigurationChanged)
		valid  bool
	}{
		"all that there is": {func(*events.ConfigurationChanged) {}, true},
		"only what must be": {func(e *events.ConfigurationChanged) {
			e.Author, e.Message, e.Value, e.PreviousRevision = "", "", nil, 0
		}, true},
		"a deleted key":             {func(e *events.ConfigurationChanged) { e.Operation, e.Value = events.Delete, nil }, true},
		"a value that is too large": {func(e *events.ConfigurationChanged) { e.Value, e.ValueOmitted = nil, events.TooLarge }, true},
		"a value that was refused":  {func(e *events.ConfigurationChanged) { e.Value, e.ValueOmitted = nil, events.Refused }, true},
		"null":                      {func(e *events.ConfigurationChanged) { e.Value = jsontext.Value("null") }, true},
		"an inherited value":        {func(e *events.ConfigurationChanged) { e.Base = &events.Base{Tenant: "defaults", Revision: 2} }, true},
		"a base without a revision": {func(e *events.ConfigurationChanged) { e.Base = &events.Base{Tenant: "defaults"} }, false},
		"a deleted key with a base": {func(e *events.ConfigurationChanged) {
			e.Operation, e.Value, e.Base = events.Delete, nil, &events.Base{Tenant: "defaults", Revision: 2}
		}, false},
		"a deleted key with a value":  {func(e *events.ConfigurationChanged) { e.Operation = events.Delete }, false},
		"a value that is left out":    {func(e *events.ConfigurationChanged) { e.ValueOmitted = events.TooLarge }, false},
		"an unknown reason":           {func(e *events.ConfigurationChanged) { e.Value, e.ValueOmitted = nil, "whim" }, false},
		"no revision":                 {func(e *events.ConfigurationChanged) { e.Revision = 0 }, false},
		"a key with an empty segment": {func(e *events.ConfigurationChanged) { e.Key = "a//b" }, false},
		"a short id":                  {func(e *events.ConfigurationChanged) { e.CommitID = "ab" }, false},
	} {
		t.Run(name, func(t *testing.T) {
			e := full()
			tc.change(&e)
			text, err := json.Marshal(e)
			if err != nil {
				t.Fatal(err)
			}
			doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
			if err != nil {
				t.Fatal(err)
			}
			if err := schema.Validate(doc); (err == nil) != tc.valid {
				t.Errorf("%s: %v", text, err)
			}
		})
	}
}

func compile(t *testing.T) *jsonschema.Schema {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(events.ConfigurationChangedSchema))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	c.UseLoader(jsonschema.SchemeURLLoader{}) // no file is opened, no address asked
	c.AssertFormat()
	if err := c.AddResource("schema.json", doc); err != nil {
		t.Fatal(err)
	}
	schema, err := c.Compile("schema.json")
	if err != nil {
		t.Fatal(err)
	}
	return schema
}

func FuzzParseConfigurationChanged(f *testing.F) {
	f.Add([]byte(`{"tenant":"acme","key":"a","operation":"set","revision":1,"value":{"a":[1.0]}}`))
	f.Fuzz(func(t *testing.T, detail []byte) {
		e, err := events.ParseConfigurationChanged(detail)
		if err == nil && (e.Tenant == "" || e.Key == "" || e.Revision == 0) {
			t.Errorf("%s was taken as %+v", detail, e)
		}
	})
}
