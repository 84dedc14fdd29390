package rest_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stelehq/stele/internal/gateway/identity"
	"github.com/stelehq/stele/schemas/openapi"
)

// TestDocument_Answers requests everything in the document and checks each
// answer against its schema, and for unknown members.
func TestDocument_Answers(t *testing.T) {
	w := start(t)
	d := readDocument(t)
	root := w.token(identity.Claims{Tenant: "acme", Roles: []identity.Role{identity.Operator, identity.Admin}})
	w.must("POST", "/v1/commits", root, `{"message":"first","changes":[{"key":"a/b","value":{"n":9007199254740993}},{"key":"c","value":null}]}`)
	w.must("PUT", "/v1/config/a/b", root, "[1]")
	w.must("DELETE", "/v1/config/c", root, "")
	calls := []struct{ method, path, body string }{
		{"GET", "/v1/config/a/b?at=1", ""},
		{"GET", "/v1/config/x", ""},
		{"GET", "/v1/config?prefix=a", ""},
		{"GET", "/v1/config?keys_only=true&page_size=1", ""},
		{"POST", "/v1/config:batchGet", `{"keys":["a/b","x"],"at":"@2"}`},
		{"PUT", "/v1/config/d", `"x"`},
		{"DELETE", "/v1/config/d", ""},
		{"POST", "/v1/commits", `{"changes":[{"key":"e","delete":true}]}`},
		{"POST", "/v1/commits", `{}`},
		{"GET", "/v1/commits?previous_values=true&encoded=true", ""},
		{"GET", "/v1/commits/1?previous_values=true&encoded=true", ""},
		{"GET", "/v1/head", ""}, {"GET", "/v1/commit-counts?spans=4", ""},
		{"GET", "/v1/diff?from=0", ""},
		{"GET", "/v1/blame", ""},
		{"POST", "/v1/rollback", `{"to":"1","dry_run":true}`},
		{"POST", "/v1/rollback", `{"to":1,"prefix":"c"}`},
		{"POST", "/v1/revert", `{"revisions":[1]}`},
		{"POST", "/v1/revert", `{"revisions":[2],"dry_run":true}`},
		{"POST", "/v1/copy", `{"from":"a/b","to":"a/c","rename":true,"dry_run":true}`},
		{"POST", "/v1/copy", `{"from":"a/","to":"x/"}`},
		{"GET", "/v1/blame", ""},
		{"GET", "/v1/commits", ""},
		{"GET", "/v1/reads", ""},
		{"GET", "/v1/tenants", ""},
		{"GET", "/v1/all-commits", ""},
		{"GET", "/v1/all-commits?page_size=1&omit_values=true&author=A&grep=FIRST&since=2020-01-01T00:00:00Z&until=2999-01-01T00:00:00Z", ""},
		{"POST", "/v1/shred", `{"confirm":"other"}`},
		{"GET", "/v1/status", ""}, {"GET", "/v1/gateways", ""},
		{"GET", "/v1/access?operation=write&prefix=a", ""},
		{"POST", "/v1/commits:plan", `{"commit":{"changes":[{"key":"a/b","value":{"x":1}}]}}`},
		{"PUT", "/v1/config/_schema/a", `{"type":["object","array"],"maxItems":1}`},
		{"PUT", "/v1/config/a/b", `[1,2]`},
		{"GET", "/v1/bases", ""},
		{"GET", "/v1/bases:explain?key=a/b", ""},
		{"POST", "/v1/bases:preview", `{"changes":[{"key":"a/b","value":[1,2]}]}`},
		{"GET", "/v1/schemas", ""},
		{"GET", "/v1/schemas:explain?key=a/b", ""},
		{"POST", "/v1/schemas:checkValue", `{"key":"a/b","value":[1,2]}`},
		{"POST", "/v1/schemas:checkSchema", `{"prefix":"a","document":{"type":"object"}}`},
		{"GET", "/v1/config:search?pattern=a&where=value%20%3D%3D%201&ignore_case=true&page_size=1", ""},
		{"GET", "/v1/schemas:checkLive?prefix=a", ""},
		{"GET", "/v1/checkpoint", ""},
		{"GET", "/v1/proofs/inclusion?tree_size=1&from_revision=1&to_revision=1", ""},
		{"GET", "/v1/proofs/consistency?old_size=1&new_size=1", ""},
		{"GET", "/v1/sinks", ""},
		{"GET", "/v1/sinks/x/parked", ""},
		{"GET", "/v1/sinks/x/drift", ""},
		{"POST", "/v1/sinks/x/replay", `{}`},
		{"POST", "/v1/sinks/x/retry", `{"key":"a"}`},
		{"POST", "/v1/sinks/x/skip", `{}`},
		{"POST", "/v1/sinks/x/check", `{"name":"y"}`},
		{"POST", "/v1/sinks/x/resolve", `{"resolution":"RESOLUTION_REPAIR"}`},
		{"GET", "/v1/routes", ""},
		{"POST", "/v1/routes:plan", `{"routes":{"sinks":{},"routes":[]}}`},
		{"POST", "/v1/rotate", `{}`},
		{"POST", "/v1/clock:reset", `{"reason":"a clock was wrong"}`},
		{"GET", "/v1/openapi.json", ""},
	}
	asked := make(map[string]bool)
	for _, c := range calls {
		path, _, _ := strings.Cut(c.path, "?")
		template, op := d.operation(path, c.method)
		if op == nil {
			t.Errorf("%s %s is not in the document", c.method, path)
			continue
		}
		asked[c.method+" "+template] = true
		d.checkQuery(t, op, c.path)
		if body, ok := op["requestBody"].(map[string]any); ok && strings.HasPrefix(c.body, "{") {
			if err := d.check(body["content"].(map[string]any)["application/json"].(map[string]any)["schema"], c.body); err != nil {
				t.Errorf("%s %s: the request: %v", c.method, c.path, err)
			}
		}
		a := w.do(c.method, c.path, root, c.body)
		if err := d.check(d.answer(op, a.status), a.body); err != nil {
			t.Errorf("%s %s: %d %s: %v", c.method, c.path, a.status, a.body, err)
		}
	}
	for path, item := range d.doc["paths"].(map[string]any) {
		for verb := range item.(map[string]any) {
			if at := strings.ToUpper(verb) + " " + path; !asked[at] && path != "/v1/watch" && path != "/v1/all-commits:watch" && path != "/v1/commits/id/{id}" {
				t.Errorf("%s was not asked for", at)
			}
		}
	}
}

func TestDocument_Events(t *testing.T) {
	w := start(t)
	d := readDocument(t)
	ann := w.as("acme", identity.Writer)
	w.must("PUT", "/v1/config/a", ann, "1")
	s := w.watch("?initial_state=true", ann)
	_, op := d.operation("/v1/watch", "GET")
	schemas := op["responses"].(map[string]any)["200"].(map[string]any)["content"].(map[string]any)["text/event-stream"].(map[string]any)["x-events"].(map[string]any)
	w.must("PUT", "/v1/config/a", ann, "2")
	for _, want := range []string{"created", "state", "commit"} {
		_, name, data := s.event()
		if err := d.check(schemas[name], data); name != want || err != nil {
			t.Errorf("%s: %s %s: %v", want, name, data, err)
		}
	}
}

func TestDocument_EventsOfAllTenants(t *testing.T) {
	w := start(t)
	d := readDocument(t)
	olga := w.token(identity.Claims{Roles: []identity.Role{identity.Operator}})
	_, op := d.operation("/v1/all-commits:watch", "GET")
	schemas := op["responses"].(map[string]any)["200"].(map[string]any)["content"].(map[string]any)["text/event-stream"].(map[string]any)["x-events"].(map[string]any)
	s := w.stream("/v1/all-commits:watch", olga)
	w.must("PUT", "/v1/config/a", w.as("acme", identity.Writer), "1")
	if _, name, data := s.event(); name != "commit" || d.check(schemas[name], data) != nil {
		t.Errorf("%s %s: %v", name, data, d.check(schemas[name], data))
	}
}

// document is the OpenAPI document with schemas that allow nothing more than they name.
type document struct {
	doc      map[string]any
	compiler *jsonschema.Compiler
	compiled map[string]*jsonschema.Schema
}

func readDocument(t *testing.T) *document {
	t.Helper()
	d := &document{compiler: jsonschema.NewCompiler(), compiled: make(map[string]*jsonschema.Schema)}
	if err := json.Unmarshal(openapi.Document, &d.doc); err != nil {
		t.Fatal(err)
	}
	for name, s := range d.doc["components"].(map[string]any)["schemas"].(map[string]any) {
		if s := s.(map[string]any); s["properties"] != nil && name != "Status" {
			s["additionalProperties"] = false
		}
	}
	d.compiler.UseLoader(jsonschema.SchemeURLLoader{})
	d.compiler.AssertFormat()
	if err := d.compiler.AddResource("doc.json", d.doc); err != nil {
		t.Fatal(err)
	}
	return d
}

func (d *document) operation(path, method string) (template string, op map[string]any) {
	all := d.doc["paths"].(map[string]any)
	for _, template := range slices.Backward(slices.Sorted(maps.Keys(all))) { // literal segments before variables
		have, want := strings.Split(path, "/"), strings.Split(template, "/")
		if strings.HasSuffix(template, "/{key}") && len(have) > len(want) {
			have = have[:len(want)]
		}
		if slices.EqualFunc(have, want, func(h, w string) bool { return h == w || strings.HasPrefix(w, "{") }) {
			op, _ := all[template].(map[string]any)[strings.ToLower(method)].(map[string]any)
			return template, op
		}
	}
	return "", nil
}

// checkQuery holds that the document has every parameter that a call uses.
func (d *document) checkQuery(t *testing.T, op map[string]any, path string) {
	t.Helper()
	u, err := url.Parse(path)
	if err != nil {
		t.Fatal(err)
	}
	for name := range u.Query() {
		known := func(p any) bool { return p.(map[string]any)["name"] == name && p.(map[string]any)["in"] == "query" }
		if parameters, _ := op["parameters"].([]any); !slices.ContainsFunc(parameters, known) {
			t.Errorf("%s: the document has no parameter %s", path, name)
		}
	}
}

// answer is the schema of an operation's answer.
func (d *document) answer(op map[string]any, status int) any {
	if status != http.StatusOK {
		return map[string]any{"$ref": "#/components/schemas/Status"}
	}
	return op["responses"].(map[string]any)["200"].(map[string]any)["content"].(map[string]any)["application/json"].(map[string]any)["schema"]
}

func (d *document) check(schema any, body string) error {
	ref, _ := schema.(map[string]any)["$ref"].(string)
	v, err := jsonschema.UnmarshalJSON(strings.NewReader(body))
	if err != nil || ref == "" {
		return err
	}
	if d.compiled[ref] == nil {
		if d.compiled[ref], err = d.compiler.Compile("doc.json" + ref); err != nil {
			return fmt.Errorf("compile %s: %w", ref, err)
		}
	}
	return d.compiled[ref].Validate(v)
}
