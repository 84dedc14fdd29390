// Command apidoc writes what callers read of the API: the OpenAPI document of the REST
// API, and docs/api.md. It is built from the schema with its comments and rules, which
// method answers which path, and what each needs of its caller.
//
// grpc-gateway's own generator of OpenAPI 3 is not used: it describes protobuf's JSON,
// where revisions and settings are texts, and knows no file of bindings.
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
)

func main() {
	descriptors := flag.String("descriptors", "", "file of the schema's descriptors, with comments")
	bindings := flag.String("bindings", "gateway/rest/bindings.yaml", "file that says which method answers which path")
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
