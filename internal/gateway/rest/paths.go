package rest

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/stelehq/stele/schemas/openapi"
)

const (
	documentPath = "/v1/openapi.json"
	watchPath    = "/v1/watch"
	watchAllPath = "/v1/all-commits:watch"
	keyPath      = "/v1/config/"
)

// paths are all paths, and the methods of each.
type paths []resource

type resource struct {
	segments []string // of the path; "{...}" is any one
	deep     bool     // the last is any number of them
	methods  string   // as the header Allow has them
}

// readPaths reads the document, which has all of them.
func readPaths() (paths, error) {
	var doc struct {
		Paths map[string]map[string]any `json:"paths"`
	}
	if err := json.Unmarshal(openapi.Document, &doc); err != nil {
		return nil, fmt.Errorf("read the OpenAPI document: %w", err)
	}
	var all paths
	for _, path := range slices.Sorted(maps.Keys(doc.Paths)) {
		methods := []string{"OPTIONS"}
		for m := range doc.Paths[path] {
			methods = append(methods, strings.ToUpper(m))
			if m == "get" && path != watchPath && path != watchAllPath {
				methods = append(methods, "HEAD")
			}
		}
		slices.Sort(methods)
		all = append(all, resource{
			segments: strings.Split(path, "/"), deep: strings.HasPrefix(path, keyPath), methods: strings.Join(methods, ", "),
		})
	}
	return all, nil
}

// methods are the HTTP methods of a path, separated by ", "; empty if the path does not
// exist.
func (p paths) methods(path string) string {
	segments := strings.Split(path, "/")
	for _, r := range p {
		if len(segments) != len(r.segments) && !(r.deep && len(segments) > len(r.segments)) {
			continue
		}
		same := func(want, got string) bool { return want == got || strings.HasPrefix(want, "{") }
		if slices.EqualFunc(r.segments, segments[:len(r.segments)], same) {
			return r.methods
		}
	}
	return ""
}

func allows(methods, method string) bool {
	return slices.Contains(strings.Split(methods, ", "), method)
}
