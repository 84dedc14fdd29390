package changefile

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/stelehq/stele/internal/ledger"
)

func TestParse_YAMLAndChangeLog(t *testing.T) {
	for name, c := range map[string]struct {
		text string
		want File
	}{
		"yaml": {`
message: Give checkout more time
changes:
  - key: tenantconfig/checkout/timeout_ms
    value: 3000.0
  - {key: tenantconfig/checkout/retries, delete: true}
  - key: tenantconfig/checkout/hosts
    value:
      - a
      - no
expect:
  tenantconfig/checkout/timeout_ms: 41
  tenantconfig/checkout/beta: absent
  tenantconfig/checkout/retries: "@7"
`, File{ChangeSet: ledger.ChangeSet{
			Message: "Give checkout more time",
			Changes: []ledger.Change{
				{Key: "tenantconfig/checkout/timeout_ms", Value: "3000.0"},
				{Key: "tenantconfig/checkout/retries", Delete: true},
				{Key: "tenantconfig/checkout/hosts", Value: `["a","no"]`},
			},
			Preconditions: []ledger.Precondition{
				{Key: "tenantconfig/checkout/timeout_ms", Revision: 41},
				{Key: "tenantconfig/checkout/beta"},
				{Key: "tenantconfig/checkout/retries", Revision: 7},
			},
		}}},
		"a line of a change log": {
			`{"time":"2022-10-10T10:40:23Z","author":"a","message":"m","source":"f46f","tenant":"test","changes":[{"key":"a/b","value":{"x":9007199254740993}},{"key":"a/c","value":null}]}`,
			File{Tenant: "test", ChangeSet: ledger.ChangeSet{Message: "m", Changes: []ledger.Change{
				{Key: "a/b", Value: `{"x":9007199254740993}`}, {Key: "a/c", Value: "null"},
			}}},
		},
	} {
		got, err := Parse([]byte(c.text))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if d := diff(&c.want, got); d != "" {
			t.Errorf("%s (-want +got):\n%s", name, d)
		}
	}
}

func TestParse_ErrorsNameTheLine(t *testing.T) {
	for text, want := range map[string]string{
		"- a":             "line 1: a change set is a mapping",
		"message: x":      "line 1: the change set has no changes",
		"changes: []":     "has no changes",
		"changes: {a: 1}": "line 1: changes is a list",
		"changes:\n- {key: a, value: 1}\nexpects: {}":              `line 3: unknown field "expects"`,
		"changes:\n- key: a\n  valeu: 1":                           `line 3: unknown field "valeu"`,
		"changes:\n- key: a\n":                                     "line 2: set a value or delete",
		"changes:\n- {key: a, value: 1, delete: true}":             "line 2: set a value or delete",
		"changes:\n- {key: a, delete: false}":                      "line 2: delete is true",
		"changes:\n- value: 1":                                     "line 2: the change has no key",
		"changes:\n- {key: a//b, value: 1}":                        "line 2: key",
		"changes:\n- {key: a, value: .nan}":                        "line 2: JSON has no number",
		"changes:\n- {key: a, value: 1}\n- {key: a, delete: true}": "line 3: a is changed twice, first in line 2",
		"changes:\n- {key: a, value: 1}\nexpect: {a: 0}":           "line 3: \"0\" is not a revision",
		"changes:\n- {key: a, value: 1}\nexpect: {a: old}":         "line 3: \"old\" is not a revision",
		"{\"changes\":[{\"key\":\"a\",\n\"values\":1}]}":           `line 2: unknown field "values"`,
	} {
		if _, err := Parse([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v; want an error with %q", text, err, want)
		}
	}
}

func TestParse_ReadsAnExport(t *testing.T) {
	want := &File{ChangeSet: ledger.ChangeSet{Changes: []ledger.Change{{Key: "a/b", Value: `{"x":1.0}`}, {Key: "a/c", Value: `"true"`}}}}
	for name, text := range map[string]string{
		"JSON lines":  `{"key":"a/b","revision":3,"value":{"x":1.0}}` + "\n" + `{"key":"a/c","revision":1,"value":"true"}` + "\n",
		"YAML":        "key: \"a/b\"\nrevision: 3\nvalue:\n  x: 1.0\n---\nkey: \"a/c\"\nrevision: 1\nvalue: \"true\"\n",
		"with a mark": "\xef\xbb\xbf" + `{"key":"a/b","revision":3,"value":{"x":1.0}}` + "\n" + `{"key":"a/c","revision":1,"value":"true"}`,
	} {
		got, err := Parse([]byte(text))
		if d := diff(want, got); err != nil || d != "" {
			t.Errorf("%s: %v (-want +got):\n%s", name, err, d)
		}
	}
	for text, want := range map[string]string{
		`{"key":"a/b","value":"***","secret":true}`:                  "--reveal",
		`{"key":"a/b","value":1}` + "\n" + `{"key":"a/b","value":2}`: "set twice, first in line 1",
		`{"key":"a/b"}`:                            "a key and a value",
		`{"key":"a/b","value":1,"delete":true}`:    `unknown field "delete"`,
		`{"changes":[]}` + "\n" + `{"changes":[]}`: "second document",
	} {
		if _, err := Parse([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
}

func TestParse_ReadsACommitOfTheLog(t *testing.T) {
	got, err := Parse([]byte(`{"tenant":"acme","revision":2,"id":"bb","parent":"aa","time":"2024-01-02T00:00:00Z","author":"ann","message":"m","reverts":[1],"base":{"tenant":"b"},"promotion":{"tenant":"p"},"copy":{"from":"a","to":"b"},"changes":[{"key":"a/b","value":2,"previous_revision":1,"was":1}]}`))
	want := &File{Tenant: "acme", ChangeSet: ledger.ChangeSet{Message: "m", Changes: []ledger.Change{{Key: "a/b", Value: "2"}}}}
	if d := diff(want, got); err != nil || d != "" {
		t.Errorf("%v (-want +got):\n%s", err, d)
	}
}

// diff ignores the hash of the request, which the ledger computes.
func diff(want, got any) string {
	return cmp.Diff(want, got, cmpopts.IgnoreUnexported(ledger.ChangeSet{}))
}
