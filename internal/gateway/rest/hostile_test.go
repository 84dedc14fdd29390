package rest_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stelehq/stele/internal/gateway/identity"
)

// hostilePaths try to reach other tenants' data, or are not keys.
var hostilePaths = []string{
	"/v1/config/../config/a", "/v1/config/%2e%2e/a", "/v1/config/%2e%2e%2fa", "/v1/config/.", "/v1/config//a", "/v1/config/a//b", "/v1/config/a/", "/v1/config/%00", "/v1/config/a%00b",
	"/v1/config/%2Fa", "/v1/config/a%2F%2Fb", "/v1/config/%252e%252e/a", "/v1/config/..%5crival%5ca", "/v1/config/\u043a\u043b\u044e\u0447", "/v1/config/%ff%fe", "/v1/config/a%0d%0aX:1",
	"/v1/config/a:batchGet", "/v1/config/*", "/v1/config/{key}", "/v1/config/a?at=1&tenant=rival", "/v1/config/a;tenant=rival", "/v1/config?prefix=../rival", "/v1/config?prefix=%00", "/v1//config/a",
	"/v1/config/" + strings.Repeat("a", 600), "/v1/config/" + strings.Repeat("a/", 3000), "/v1/commits/id/%00", "/v1/commits/@", "/v1/commits/-1", "/v1/commits/18446744073709551616", "/v1/commits/1/2",
	"/v1/sinks/../status", "/v1/sinks/%2e%2e/parked", "/v1/sinks//parked", "/v1/watch/", "/v1/watch?prefix=../", "/v1/openapi.json/", "/v1", "/v1/", "/v1/.", "//v1/config/a", "/V1/config/a", "/v1/CONFIG/a",
}

func TestPaths_HostileReachNothing(t *testing.T) {
	w := start(t)
	ann, bob := w.as("acme", identity.Writer), w.as("rival", identity.Writer)
	for _, key := range []string{"a", "a/b", "rival/a", "key"} {
		w.must("PUT", "/v1/config/"+key, bob, `"secret of rival"`)
	}
	for _, path := range hostilePaths {
		for _, method := range []string{"GET", "PUT", "DELETE", "POST"} {
			a := w.raw(method, path, ann)
			if strings.Contains(a.body, "secret of rival") || a.status >= 500 || a.status == 200 && method != "GET" {
				t.Errorf("%s %s: %d %s", method, path, a.status, a.body)
			}
		}
	}
	if a := w.do("GET", "/v1/config/rival/a", ann, ""); a.status != 404 { // a key like any other
		t.Errorf("rival/a: %d %s", a.status, a.body)
	}
	if a := w.must("GET", "/v1/config", ann, ""); !strings.Contains(a.body, `"entries":[]`) {
		t.Errorf("something was set: %s", a.body)
	}
}

// raw sends a path unchanged, without a client's normalization.
func (w *world) raw(method, path, token string) answer {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	r := httptest.NewRequestWithContext(ctx, method, "/", strings.NewReader("1"))
	r.URL = &url.URL{}
	if u, err := url.ParseRequestURI(path); err == nil {
		r.URL = u
	} else {
		r.URL.Path = path
	}
	r.Header.Set("Authorization", "Bearer "+token)
	rec := httptest.NewRecorder()
	w.handler.ServeHTTP(rec, r)
	return answer{rec.Code, rec.Header(), rec.Body.String()}
}

// FuzzHandler checks that no request panics, and that no answer contains data of
// another tenant.
func FuzzHandler(f *testing.F) {
	w := start(f)
	ann, bob := w.as("acme", identity.Writer), w.as("rival", identity.Writer)
	w.must("PUT", "/v1/config/a", bob, `"secret of rival"`)
	for _, path := range hostilePaths {
		f.Add("GET", path, "", "", "")
	}
	f.Add("POST", "/v1/commits", `{"changes":[{"key":"a","value":1,"delete":false}],"preconditions":[{"key":"a","revision":1}]}`, "rival", `"1"`)
	f.Add("POST", "/v1/rollback", `{"to":"@1","dry_run":true}`, "", "*")
	f.Add("PUT", "/v1/config/a?message=x", `[1,{"a":null}]`, "acme", `W/"1", "2"`)
	f.Add("GET", "/v1/commits?since=2h&key=a&prefix=b", "", "acme\x00", "x")
	f.Fuzz(func(t *testing.T, method, path, body, tenant, etag string) {
		u, err := url.ParseRequestURI(path)
		if err != nil || u.Path == "/v1/watch" { // which does not end
			return
		}
		r := httptest.NewRequest(http.MethodGet, "/", strings.NewReader(body))
		r.Method, r.URL = method, u
		r.Header = http.Header{"Authorization": {"Bearer " + ann}, "If-Match": {etag}, "If-None-Match": {etag}}
		if tenant != "" {
			r.Header.Set("As-Tenant", tenant)
		}
		rec := httptest.NewRecorder()
		w.handler.ServeHTTP(rec, r)
		if rec.Code >= 500 && rec.Code != http.StatusNotImplemented {
			t.Errorf("%s %s: %d %s", method, path, rec.Code, rec.Body)
		}
		if strings.Contains(rec.Body.String(), "secret of rival") {
			t.Errorf("%s %s shows the secret: %s", method, path, rec.Body)
		}
	})
}
