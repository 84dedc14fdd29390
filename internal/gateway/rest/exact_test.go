package rest

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestExact(t *testing.T) {
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusNoContent) })
	h := Exact(mux)
	for path, want := range map[string]int{
		"/": 204, "/v1/head": 204, "/v1/config/t/b": 204, "/v1/config/t%2Fb": 204, "/acme/keys/": 204, "/v1/config/..a/b..": 204,
		"//": 400, "/v1//head": 400, "/v1/config/t//b": 400, "/v1/config/t%2F%2Fb": 400, "/v1/config/t/./a": 400, "/v1/config/t/%2e/a": 400,
		"/v1/config/t/x/../../a": 400, "/v1/config/t%2Fx%2F..%2F..%2Fa": 400, "/acme//keys": 400, "/acme/keys//": 400, "/v1/config/..": 400,
	} {
		for _, method := range []string{"GET", "PUT", "DELETE"} {
			w := httptest.NewRecorder()
			h.ServeHTTP(w, httptest.NewRequest(method, "http://gateway"+path, nil))
			if w.Code != want || want == 400 && !strings.Contains(w.Body.String(), "segment is empty") {
				t.Errorf("%s %s: %d %s, want %d", method, path, w.Code, w.Body, want)
			}
		}
	}
}
