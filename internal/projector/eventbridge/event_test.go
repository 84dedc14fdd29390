package eventbridge_test

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/projector"
	"github.com/stelehq/stele/schemas/events"
)

func TestEvent_Content(t *testing.T) {
	server, sink := start(t, `{"source":"com.example.stele"}`)
	set := write(4, `{"max":9007199254740993,"one":1.0,"html":"<&>"}`, loud)
	deleted := write(2, "", loud)
	deleted.Key, deleted.Previous, deleted.Message, deleted.Author = "flag", 0, "", ""
	secret := write(3, `"s3cret"`, quiet)
	inherited := write(6, "1", loud)
	inherited.Base = ledger.Source{Tenant: "defaults", Revision: 2}
	all(t, sink, set, deleted, secret, inherited, write(5, "null", loud))

	const time = `"time":"2026-03-01T12:00:00.123456789Z"`
	want := []string{
		`{"tenant":"acme","tag":"tenantconfig","key":"tenantconfig/k4","operation":"set","revision":5,"previous_revision":4,"commit_id":"` + set.Commit.String() +
			`","position":1,` + time + `,"author":"ann","message":"why","value":{"max":9007199254740993,"one":1.0,"html":"<&>"}}`,
		`{"tenant":"acme","tag":"flag","key":"flag","operation":"delete","revision":3,"previous_revision":0,"commit_id":"` + deleted.Commit.String() +
			`","position":2,` + time + `}`,
		`{"tenant":"acme","tag":"tenantconfig","key":"tenantconfig/k3","operation":"set","revision":4,"previous_revision":3,"commit_id":"` + secret.Commit.String() +
			`","position":0,` + time + `,"author":"ann","message":"why"}`,
		`{"tenant":"acme","tag":"tenantconfig","key":"tenantconfig/k6","operation":"set","revision":7,"previous_revision":6,"commit_id":"` + inherited.Commit.String() +
			`","position":0,"base":{"tenant":"defaults","revision":2},` + time + `,"author":"ann","message":"why","value":1}`,
	}
	schema := schemaOf(t)
	for i, e := range server.Buses.Events() {
		if i < len(want) && string(e.Detail) != want[i] {
			t.Errorf("the detail is\n%s, not\n%s", e.Detail, want[i])
		}
		if e.Source != "com.example.stele" || e.DetailType != "Configuration Changed" || e.Bus != "default" || !e.Time.Equal(set.Time.Truncate(1e9)) {
			t.Errorf("the event is %+v", e)
		}
		schema(e.Detail)
	}
	if v := details(t, server)["tenantconfig/k5"].Value; string(v) != "null" {
		t.Errorf("null came as %q", v)
	}
}

// schemaOf returns a check of details against the published schema.
func schemaOf(t *testing.T) func(detail []byte) {
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
	return func(detail []byte) {
		t.Helper()
		doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(detail))
		if err != nil {
			t.Fatal(err)
		}
		if err := schema.Validate(doc); err != nil {
			t.Errorf("%.500s is not as its schema says: %v", detail, err)
		}
	}
}

// A value that cannot be in an event does not prevent the event.
func TestEvent_OmittedValues(t *testing.T) {
	server, sink := start(t, `{}`)
	nested := func(levels int) ledger.Value {
		return ledger.Value(strings.Repeat("[", levels) + strings.Repeat("]", levels))
	}
	text := func(bytes int) ledger.Value { return ledger.Value(`"` + strings.Repeat("x", bytes-2) + `"`) }
	cases := []struct {
		name  string
		value ledger.Value
		want  events.Omission
	}{
		{"small", `{"a":1}`, ""},
		{"just small enough", text(249_600), ""},
		{"too large", text(250_000), events.TooLarge},
		{"as large as values are", text(ledger.MaxValue), events.TooLarge},
		{"as deep as new values can be", nested(ledger.MaxDepth), ""},
		{"as deep as the bus takes", nested(999), ""},
		{"too deep for the bus", nested(1000), events.Refused},
		{"too deep to be in an event", nested(10_000), events.Refused},
		{"the largest number", "9223372036854775807", ""},
		{"a number that is too large", "9223372036854775808", events.Refused},
	}
	writes := make([]projector.Write, len(cases))
	for i, tc := range cases {
		// A journal can hold values from before ParseValue limited the depth.
		deep := strings.HasPrefix(string(tc.value), strings.Repeat("[", ledger.MaxDepth+1))
		if v, err := ledger.ParseValue(string(tc.value)); (err != nil) != deep || !deep && v != tc.value {
			t.Fatalf("%s: parsed as %.80s, %v", tc.name, v, err)
		}
		writes[i] = write(i, tc.value, loud)
	}
	all(t, sink, writes...)
	came, schema := details(t, server), schemaOf(t)
	for i, tc := range cases {
		d := came[string(writes[i].Key)]
		if d.Revision != uint64(writes[i].Revision) || d.ValueOmitted != tc.want {
			t.Errorf("%s: revision %d came, the value left out for %q", tc.name, d.Revision, d.ValueOmitted)
		}
		if v := string(d.Value); (v == string(tc.value)) != (tc.want == "") || tc.want != "" && v != "" {
			t.Errorf("%s: the value came as %.80s", tc.name, v)
		}
	}
	for _, e := range server.Buses.Events() {
		schema(e.Detail)
	}
	if len(server.Buses.Events()) != len(cases) {
		t.Errorf("%d events came for %d changes", len(server.Buses.Events()), len(cases))
	}
}

func TestBatches_LargeEvents(t *testing.T) {
	server, sink := start(t, `{}`)
	var writes []projector.Write
	for i := range 20 {
		writes = append(writes, write(i, ledger.Value(`"`+strings.Repeat("x", 240_000)+`"`), loud))
	}
	all(t, sink, writes...)
	if n := server.Calls("PutEvents"); n != 5 {
		t.Errorf("20 events of 240,000 bytes took %d requests, not 5", n)
	}
	for key, d := range details(t, server) {
		if d.ValueOmitted != "" {
			t.Errorf("the value of %s was left out for %q", key, d.ValueOmitted)
		}
	}
}

// Old commits, of an import, and a tenant's own clock: the event has their time.
func TestEvent_TimeOfTheCommit(t *testing.T) {
	server, sink := start(t, `{}`)
	for i, at := range []time.Time{time.Unix(0, 0), time.Date(2012, 10, 1, 9, 0, 0, 999, time.FixedZone("", 3600))} {
		w := write(i, "1", quiet)
		w.Time = at
		all(t, sink, w)
		if e := server.Buses.Events()[i]; !e.Time.Equal(at.Truncate(time.Second)) || !details(t, server)[string(w.Key)].Time.Equal(at) {
			t.Errorf("the event of %s is %s: %s", at, e.Time, e.Detail)
		}
	}
}
