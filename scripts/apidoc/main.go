// Command apidoc writes the API documentation: the OpenAPI document of the REST API,
// and docs/api.md. Its sources are the schema with its comments and constraints, the
// paths of methods, and the permissions that they need.
//
// It does not use grpc-gateway's own generator of OpenAPI 3, which describes protobuf's
// JSON, with revisions and settings as strings, and does not read a file of bindings.
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
)

func main() {
	descriptors := flag.String("descriptors", "", "file of the schema's descriptors, with comments")
	bindings := flag.String("bindings", "internal/gateway/rest/bindings.yaml", "file that says which method answers which path")
	out := flag.String("out", ".", "folder that schemas/openapi/stele.v1.json and docs/api.md are written to")
	flag.Parse()
	if err := run(*descriptors, *bindings, *out); err != nil {
		fmt.Fprintln(os.Stderr, "apidoc:", err)
		os.Exit(1)
	}
}

func run(descriptors, bindings, out string) error {
	a, err := load(descriptors, bindings)
	if err != nil {
		return err
	}
	document, err := a.document()
	if err != nil {
		return err
	}
	for path, text := range map[string][]byte{"schemas/openapi/stele.v1.json": document, "docs/api.md": a.markdown()} {
		path = filepath.Join(out, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, text, 0o644); err != nil {
			return err
		}
	}
	return nil
}
