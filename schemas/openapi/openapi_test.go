package openapi_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stelehq/stele/schemas/openapi"
)

// TestDocument holds the document to what OpenAPI 3.1 wants of it.
func TestDocument(t *testing.T) {
	var doc map[string]any
	if err := json.Unmarshal(openapi.Document, &doc); err != nil {
		t.Fatal(err)
	}
	if doc["openapi"] != "3.1.0" {
		t.Errorf("openapi is %v", doc["openapi"])
	}
	compiler := jsonschema.NewCompiler()
	compiler.UseLoader(jsonschema.SchemeURLLoader{})
	if err := compiler.AddResource("doc.json", doc); err != nil {
		t.Fatal(err)
	}
	schemas := doc["components"].(map[string]any)["schemas"].(map[string]any)
	for name := range schemas {
		if _, err := compiler.Compile("doc.json#/components/schemas/" + name); err != nil {
			t.Errorf("the schema %s: %v", name, err)
		}
	}
	resolve(t, doc, doc, "")
	ids := make(map[any]string)
	for path, item := range doc["paths"].(map[string]any) {
		for verb, op := range item.(map[string]any) {
			op := op.(map[string]any)
			at := verb + " " + path
			if other, taken := ids[op["operationId"]]; taken || op["operationId"] == nil {
				t.Errorf("%s: the operationId %v is missing, or that of %s", at, op["operationId"], other)
			}
			ids[op["operationId"]] = at
			if op["summary"] == nil || op["responses"].(map[string]any)["200"] == nil {
				t.Errorf("%s: no summary, or no answer", at)
			}
			parameters, _ := op["parameters"].([]any)
			names := make(map[string]bool)
			for _, p := range parameters {
				p := p.(map[string]any)
				if name, ok := p["name"].(string); ok && p["in"] == "path" {
					names[name] = p["required"] == true
				}
			}
			for _, segment := range strings.Split(path, "/") {
				if strings.HasPrefix(segment, "{") && !names[strings.Trim(segment, "{}")] {
					t.Errorf("%s: the parameter %s is not declared", at, segment)
				}
			}
		}
	}
	t.Logf("%d operations, %d schemas", len(ids), len(schemas))
}

// resolve follows every reference.
func resolve(t *testing.T, doc map[string]any, v any, at string) {
	t.Helper()
	switch v := v.(type) {
	case map[string]any:
		if ref, ok := v["$ref"].(string); ok {
			var to any = doc
			for _, part := range strings.Split(strings.TrimPrefix(ref, "#/"), "/") {
				in, _ := to.(map[string]any)
				to = in[part]
			}
			if to == nil {
				t.Errorf("%s: %s leads nowhere", at, ref)
			}
		}
		for name, inner := range v {
			resolve(t, doc, inner, at+"/"+name)
		}
	case []any:
		for _, inner := range v {
			resolve(t, doc, inner, at+"/[]")
		}
	}
}
