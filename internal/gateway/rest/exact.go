package rest

import (
	"net/http"
	"slices"
	"strings"
)

// Exact answers 400 for a path with an empty, "." or ".." segment, also one that is
// escaped, in front of a mux that would redirect it: a client follows a redirect with its
// method, body and token, and would write or delete another key.
func Exact(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if path, ok := strings.CutPrefix(r.URL.Path, "/"); ok && path != "" {
			segments := strings.Split(strings.TrimSuffix(path, "/"), "/")
			if slices.ContainsFunc(segments, func(s string) bool { return s == "" || s == "." || s == ".." }) {
				fail(w, invalid("path", `a segment is empty, "." or ".."`))
				return
			}
		}
		next.ServeHTTP(w, r)
	})
}
