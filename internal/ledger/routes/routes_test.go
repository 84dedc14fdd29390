package routes_test

import (
	"strings"
	"testing"

	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/routes"
)

const document = `{
	"strict": true,
	"sinks": {"files": {"kind": "directory", "path": "/srv"}, "dynamodb": {}, "bus": {"kind": "eventbridge"}},
	"routes": [
		{"prefix": "tenantconfig/", "sinks": ["dynamodb", "bus"], "drift": "adopt"},
		{"prefix": "tenantconfig/secret/", "sinks": ["files"], "secure": true, "kms_key": "alias/k"},
		{"prefix": "tenantconfig/secret/x", "sinks": []},
		{"prefix": "param", "sinks": ["files"], "values": true, "secret": false}
	]
}`

func parse(t *testing.T, text string) *routes.Table {
	t.Helper()
	table, err := routes.Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return table
}

func TestMatch_LongestPrefix(t *testing.T) {
	table := parse(t, document)
	for key, want := range map[ledger.Key]string{
		"tenantconfig/a":          "dynamodb bus",
		"tenantconfig/secret/a":   "files",
		"tenantconfig/secret/x":   "",
		"tenantconfig/secret/x/y": "",
		"tenantconfig/secret/xy":  "files",
		"param_config_x":          "none",
		"param":                   "files",
		"param/x":                 "files",
		"tenantconfi/a":           "none",
		"other":                   "none",
	} {
		got := "none"
		if r := table.Route(key); r != nil {
			got = strings.Join(r.Sinks, " ")
		}
		if got != want {
			t.Errorf("%s goes to %q, not %q", key, got, want)
		}
	}
	if s := table.Sinks["files"]; s.Kind != "directory" || string(s.Settings) != `{"path":"/srv"}` {
		t.Errorf("the sink files is %s with %s", s.Kind, s.Settings)
	}
	if s := table.Sinks["dynamodb"]; s.Kind != "dynamodb" || string(s.Settings) != `{}` {
		t.Errorf("the sink dynamodb is %s with %s", s.Kind, s.Settings)
	}
	if r := table.Route("param"); r.Drift != routes.Report || !r.Values || r.Secure {
		t.Errorf("the route of param is %+v", r)
	}
}

func TestParse_Rejects(t *testing.T) {
	for text, want := range map[string]string{
		`{`:                          "read the routes",
		`{"sink":{}}`:                `unknown field "/sink"`,
		`[]`:                         "an object with",
		`{"sinks":{"a":{"kind":1}}}`: `"/sinks/a/kind": it must be a string`,
		`{"sinks":{"A":{}}}`:         `"A"`,
		`{"sinks":{"":{}}}`:          "0 bytes",
		`{"sinks":{"a":{},"a":{}}}`:  "duplicate",
		`{"routes":[{"prefix":"a","sinks":["b"]}]}`:                           `unknown sink "b"`,
		`{"routes":[{"prefix":"a b"}]}`:                                       `routes[0]`,
		`{"routes":[{"prefix":"a"},{"prefix":"a"}]}`:                          "already",
		`{"routes":[{"prefix":"a","drift":"fix"}]}`:                           "use report, repair or adopt",
		`{"routes":[{"prefix":"a","drift":"repair","adopt_deletions":true}]}`: "adopt_deletions requires drift: adopt",
		`{"sinks":{"a":{"drift_limit":{"items":-1}}}}`:                        "sink a: drift_limit is -1 items and 5 percent",
		`{"sinks":{"a":{"drift_limit":{"percent":101}}}}`:                     "percent must be from 0 to 100",
		`{"sinks":{"a":{"drift_limit":{"share":1}}}}`:                         "unknown field",
		`{"routes":[{"prefix":"a","kms_key":"k"}]}`:                           "secure",
		`{"routes":[{"prefix":"a","sink":["b"]}]}`:                            `unknown field "/routes/0/sink"`,
	} {
		if _, err := routes.Parse([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
}

// A change of how a sink handles its keys changes its routing, and nothing else does.
func TestRoutes_OfASink(t *testing.T) {
	base := parse(t, document).Routing("files")
	for name, c := range map[string]struct {
		old, new string
		changes  bool
	}{
		"its settings":               {`"/srv"`, `"/var"`, true},
		"a prefix of its routes":     {`"param"`, `"params"`, true},
		"a longer prefix of another": {`"tenantconfig/secret/x"`, `"tenantconfig/secret/y"`, true},
		"security":                   {`alias/k`, `alias/l`, true},
		"secrecy":                    {`"secret": false`, `"secret": true`, true},
		"another sink":               {`"dynamodb": {}`, `"dynamodb": {"table": "t"}`, false},
		"policy of drift":            {`"adopt"`, `"repair"`, false},
		"strictness":                 {`"strict": true`, `"strict": false`, false},
	} {
		if got := parse(t, strings.Replace(document, c.old, c.new, 1)).Routing("files"); (got != base) != c.changes {
			t.Errorf("%s: the routing of files is\n%s and was\n%s", name, got, base)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(document))
	f.Add([]byte(`{"sinks":{"a":{"kind":1}},"routes":[{}]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		table, err := routes.Parse(text)
		if err != nil {
			return
		}
		for name := range table.Sinks {
			table.Routing(name)
		}
		table.Route("tenantconfig/a")
		if _, err := routes.Parse([]byte(table.String())); err != nil {
			t.Fatalf("%s was read, and what it says is not: %v", text, err)
		}
	})
}

// The drift limit of a sink is the projector's; what it leaves out is the default.
func TestDriftLimit(t *testing.T) {
	table := parse(t, `{"sinks":{"a":{},"b":{"drift_limit":{"items":100},"x":1},"c":{"drift_limit":{"items":0,"percent":0}}}}`)
	for name, want := range map[string]routes.DriftLimit{"a": {Items: 10, Percent: 5}, "b": {Items: 100, Percent: 5}, "c": {}} {
		if got := table.Sinks[name].DriftLimit; got != want {
			t.Errorf("that of %s is %+v, want %+v", name, got, want)
		}
	}
	if s := string(table.Sinks["b"].Settings); s != `{"x":1}` {
		t.Errorf("the kind reads %s", s)
	}
	limit := routes.DriftLimit{Items: 10, Percent: 5}
	for _, tc := range []struct {
		n, total int
		want     bool
	}{{10, 36, false}, {11, 36, true}, {20, 400, false}, {21, 400, true}, {0, 0, false}, {11, 0, true}} {
		if limit.Exceeded(tc.n, tc.total) != tc.want {
			t.Errorf("%d of %d: exceeded is %t", tc.n, tc.total, !tc.want)
		}
	}
}
