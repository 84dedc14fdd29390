package aws_test

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/stelehq/stele/internal/projector"
	"github.com/stelehq/stele/internal/projector/eventbridge"
	"github.com/stelehq/stele/internal/projector/fakeaws"
	"go.yaml.in/yaml/v3"
)

// value is what a node is in a stack whose parameters have their defaults.
func (tmpl *template) value(t *testing.T, n *yaml.Node) any {
	t.Helper()
	switch {
	case n.Tag == "!Ref":
		p := at(tmpl.parameters[n.Value], "Default")
		if p == nil {
			t.Fatalf("line %d: %s has no default", n.Line, n.Value)
		}
		return p.Value
	case n.Tag == "!Sub":
		return substitution.ReplaceAllStringFunc(n.Value, func(name string) string {
			p := at(tmpl.parameters[name[2:len(name)-1]], "Default")
			if p == nil {
				t.Fatalf("line %d: %s has no default", n.Line, name)
			}
			return p.Value
		})
	case n.Kind == yaml.MappingNode:
		out := make(map[string]any)
		for name, m := range members(n) {
			out[name] = tmpl.value(t, m)
		}
		return out
	case n.Kind == yaml.SequenceNode:
		var out []any
		for _, c := range n.Content {
			out = append(out, tmpl.value(t, c))
		}
		return out
	}
	return n.Value
}

func (tmpl *template) pattern(t *testing.T, rule string) *fakeaws.Pattern {
	t.Helper()
	text, err := json.Marshal(tmpl.value(t, at(tmpl.resources[rule], "Properties", "EventPattern")))
	if err != nil {
		t.Fatal(err)
	}
	p, err := fakeaws.ParsePattern(text)
	if err != nil {
		t.Fatalf("%s: %v", rule, err)
	}
	return p
}

// The rules match what the sink says and what AWS says, and each only its own.
func TestRules(t *testing.T) {
	server, err := fakeaws.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	for _, setting := range server.Environ() {
		name, value, _ := strings.Cut(setting, "=")
		t.Setenv(name, value)
	}
	sink, err := eventbridge.Open(t.Context(), projector.Settings{Name: "bus", JSON: []byte("{}")})
	if err != nil {
		t.Fatal(err)
	}
	defer sink.Close()
	if _, err := sink.Write(t.Context(), []projector.Write{{Tenant: "acme", Key: "tenantconfig/a", Value: "1", Revision: 1, Time: time.Now()}}); err != nil {
		t.Fatal(err)
	}
	changed, err := json.Marshal(server.Buses.Events()[0])
	if err != nil {
		t.Fatal(err)
	}
	parameter, err := os.ReadFile("../../../cmd/stele-lambda/internal/bridge/testdata/parameter-store-change.json")
	if err != nil {
		t.Fatal(err)
	}
	foreign := strings.ReplaceAll(string(parameter), "/stele/", "/stelenot/")
	if foreign == string(parameter) {
		t.Fatal("the event is of no parameter of Stele's")
	}

	tmpl := read(t)
	for rule, want := range map[string]string{"ConfigurationChanged": string(changed), "ParameterChanged": string(parameter)} {
		p := tmpl.pattern(t, rule)
		for _, e := range []string{string(changed), string(parameter), foreign} {
			if p.Match([]byte(e)) != (e == want) {
				t.Errorf("%s and the event %s: matches %t", rule, e, e != want)
			}
		}
	}
}
