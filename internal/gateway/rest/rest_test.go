package rest_test

import (
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stelehq/stele/internal/gateway/gatewaytest"
	"github.com/stelehq/stele/internal/gateway/identity"
)

func TestConfig_ValuesAreJSON(t *testing.T) {
	w := start(t)
	ann := w.as("acme", identity.Writer)
	w.must("POST", "/v1/commits", ann, `{"message": "first", "changes": [{"key": "n", "value": 9007199254740993}, {"key": "o", "value": {"a": 1.0, "b": [null]}}, {"key": "z", "value": null}]}`)
	for key, want := range map[string]string{"n": `9007199254740993`, "o": `{"a":1.0,"b":[null]}`, "z": `null`} {
		a := w.must("GET", "/v1/config/"+key, ann, "")
		if !strings.Contains(a.body, `"value":`+want+`,"revision":1`) {
			t.Errorf("%s: %s, want %s", key, a.body, want)
		}
	}
	w.must("PUT", "/v1/config/n", ann, " 1e400 \n")
	if a := w.must("GET", "/v1/diff?from=@1&prefix=n", ann, ""); !strings.Contains(a.body, `"diffs":[{"key":"n","from_value":9007199254740993,"from_revision":1,"to_value":1e400,"to_revision":2}]`) {
		t.Error(a.body)
	}
	if a := w.must("GET", "/v1/commits/@2?previous_values=true", ann, ""); !strings.Contains(a.body, `"previous_values":["9007199254740993"]`) {
		t.Error(a.body)
	}
}

func TestConfig_At(t *testing.T) {
	w := start(t)
	ann := w.as("acme", identity.Writer)
	w.must("PUT", "/v1/config/a", ann, "1")
	w.must("PUT", "/v1/config/a", ann, "2")
	for query, want := range map[string]string{
		"":                            `"value":2`,
		"?at=1":                       `"value":1`,
		"?at=@1":                      `"value":1`,
		"?at=%401":                    `"value":1`,
		"?at=2":                       `"value":2`,
		"?at=2100-01-01":              `is in the future`,
		"?at=2100-01-01T08:00Z":       `2100-01-01T08:00:00Z is in the future`,
		"?at=3":                       `NO_SUCH_MOMENT`,
		"?at=2h":                      `NO_SUCH_MOMENT`,
		"?at=HEAD~1":                  `only the command line counts from the head`,
		"?at=fortnight":               `is not a revision or time`,
		"?at=1&at=2":                  `at: it is there more than once`,
		"?at.revision=1":              `there is no such parameter`,
		"?key=b":                      `there is no such parameter`,
		"?min_revision=2":             `"value":2`,
		"?min_revision=-1":            `is not a whole number`,
		"?reveal=yes":                 `must be true or false`,
		"?at=%zz":                     `cannot parse the query`,
		"?" + strings.Repeat("x", 99): `there is no such parameter`,
	} {
		if a := w.do("GET", "/v1/config/a"+query, ann, ""); !strings.Contains(a.body, want) {
			t.Errorf("%s: %d %s, want %s", query, a.status, a.body, want)
		}
	}
}

func TestConfig_ConditionalHeaders(t *testing.T) {
	w := start(t)
	ann := w.as("acme", identity.Writer)
	steps := []struct {
		name, method, body string
		headers            []string
		status             int
		etag               string
	}{
		{"not there", "GET", "", nil, 404, ""},
		{"new", "PUT", "1", []string{"If-None-Match: *"}, 200, `"1"`},
		{"no longer new", "PUT", "2", []string{"If-None-Match: *"}, 412, ""},
		{"read", "GET", "", nil, 200, `"1"`},
		{"read again", "GET", "", []string{`If-None-Match: "1"`}, 304, `"1"`},
		{"read again, weakly", "GET", "", []string{`If-None-Match: "9", W/"1"`}, 304, `"1"`},
		{"as seen", "PUT", "2", []string{`If-Match: "1"`}, 200, `"2"`},
		{"not as seen", "PUT", "3", []string{`If-Match: "1"`}, 412, ""},
		{"read what changed", "GET", "", []string{`If-None-Match: "1"`}, 200, `"2"`},
		{"the revision of another history", "PUT", "3", []string{`If-Match: "2-0000000000000000"`}, 412, ""},
		{"read of another history", "GET", "", []string{`If-None-Match: "2-0000000000000000"`}, 200, `"2"`},
		{"by a bare revision", "PUT", "3", []string{`If-Match: "02"`}, 400, ""},
		{"by two tags", "PUT", "3", []string{`If-Match: "1", "2"`}, 400, ""},
		{"by any", "PUT", "3", []string{`If-Match: *`}, 400, ""},
		{"by a weak one", "PUT", "3", []string{`If-Match: W/"2"`}, 400, ""},
		{"by no tag", "PUT", "3", []string{`If-Match: 2`}, 400, ""},
		{"no JSON", "PUT", "{", nil, 400, ""},
		{"two values", "PUT", "1 2", nil, 400, ""},
		{"nothing", "PUT", "", nil, 400, ""},
		{"deleted with a body", "DELETE", "1", nil, 400, ""},
		{"deleted, not as seen", "DELETE", "", []string{`If-Match: "1"`}, 412, ""},
		{"deleted", "DELETE", "", []string{`If-Match: "2"`}, 200, ""},
		{"gone", "GET", "", nil, 404, ""},
	}
	tags := map[string]string{} // by revision
	for _, s := range steps {
		for i, h := range s.headers {
			for rev, tag := range tags {
				h = strings.ReplaceAll(h, `"`+rev+`"`, tag)
			}
			s.headers[i] = h
		}
		a := w.do(s.method, "/v1/config/a/b", ann, s.body, s.headers...)
		tag := a.header.Get("ETag")
		rev, _, _ := strings.Cut(strings.Trim(tag, `"`), "-")
		if s.status == 200 && s.method == "PUT" {
			tags[rev] = tag
		}
		if a.status != s.status || s.etag != "" && rev != strings.Trim(s.etag, `"`) || tag != "" && tag != tags[rev] {
			t.Errorf("%s: %d, ETag %s, want %d, %s: %s", s.name, a.status, a.header.Get("ETag"), s.status, s.etag, a.body)
		}
		if s.status == http.StatusNotModified && a.body != "" {
			t.Errorf("%s: %q", s.name, a.body)
		}
	}
	a := w.must("PUT", "/v1/config/c?message=why&request_id=r1", ann, "1")
	if again := w.must("PUT", "/v1/config/c?message=why&request_id=r1", ann, "1"); again.header.Get("Location") != a.header.Get("Location") {
		t.Errorf("repeated: %v and %v", a.header, again.header)
	}
	if a := w.must("GET", a.header.Get("Location"), ann, ""); !strings.Contains(a.body, `"message":"why"`) {
		t.Error(a.body)
	}
}

func TestErrors_Status(t *testing.T) {
	w := start(t)
	ann, bob := w.as("acme", identity.Writer), w.as("acme", identity.Reader)
	w.must("PUT", "/v1/config/a", ann, "1")
	cases := []struct {
		name, method, path, token, body string
		status                          int
		want                            []string
	}{
		{"no token", "GET", "/v1/head", "", "", 401, []string{`"UNAUTHENTICATED"`}},
		{"bad token", "GET", "/v1/head", "x", "", 401, []string{`"UNAUTHENTICATED"`}},
		{"no right", "PUT", "/v1/config/a", bob, "2", 403, []string{`"PERMISSION_DENIED"`}},
		{"bad key", "GET", "/v1/config/a%20b", bob, "", 400, []string{`"field":"key"`}},
		{"conflict", "POST", "/v1/commits", ann, `{"changes":[{"key":"a","value":2}],"preconditions":[{"key":"a","revision":7}]}`, 409, []string{`"PRECONDITION_FAILED"`, `"subject":"a"`}},
		{"head", "POST", "/v1/commits", ann, `{"changes":[{"key":"a","value":2}],"expected_head":0}`, 409, []string{`"type":"HEAD"`}},
		{"unknown field", "POST", "/v1/commits", ann, `{"changes":[{"key":"a","vlaue":2}]}`, 400, []string{`changes[0].vlaue: there is no such field`}},
		{"twice", "POST", "/v1/commits", ann, `{"message":"a","message":"b"}`, 400, []string{`duplicate`}},
		{"two of one", "POST", "/v1/rollback", ann, `{"to":[1]}`, 400, []string{`to: it must be one value`}},
		{"rubbish behind", "POST", "/v1/commits", ann, `{} {}`, 400, []string{`more than one JSON value`}},
		{"cut off", "POST", "/v1/commits", ann, `{"message":`, 400, nil},
		{"empty", "POST", "/v1/commits", ann, ``, 400, []string{`"field":"changes"`}},
		{"a list", "POST", "/v1/commits", ann, `[]`, 400, []string{`body: it must be an object`}},
		{"wrong kind", "POST", "/v1/commits", ann, `{"message":1}`, 400, []string{`message: it must be a string`}},
		{"query where a body is", "POST", "/v1/commits?message=x", ann, `{}`, 400, []string{`goes into the body`}},
		{"too large", "POST", "/v1/commits", ann, `{"message":"` + strings.Repeat("x", 9<<20) + `"}`, 413, nil},
		{"no path", "GET", "/v1/nothing", ann, "", 404, []string{`there is no such path`}},
		{"no method", "PATCH", "/v1/head", ann, "", 405, []string{`GET, HEAD, OPTIONS`}},
		{"no such commit", "GET", "/v1/commits/9", ann, "", 400, []string{`"head":"1"`}},
		{"no commit's number", "GET", "/v1/commits/x", ann, "", 400, nil},
		{"no commit's id", "GET", "/v1/commits/id/xyz", ann, "", 400, nil},
		{"not for tenants", "GET", "/v1/tenants", ann, "", 403, nil},
		{"not another's", "GET", "/v1/access?operation=read&key=a&prefix=b", ann, "", 400, []string{`choose one`}},
	}
	for _, c := range cases {
		a := w.do(c.method, c.path, c.token, c.body)
		if a.status != c.status {
			t.Errorf("%s: %d %s, want %d", c.name, a.status, a.body, c.status)
		}
		for _, want := range c.want {
			if !strings.Contains(a.body, want) {
				t.Errorf("%s: %s, want %s", c.name, a.body, want)
			}
		}
		if a.header.Get("Content-Type") != "application/json" || a.header.Get("X-Content-Type-Options") != "nosniff" || a.header.Get("X-Request-Id") == "" {
			t.Errorf("%s: headers %v", c.name, a.header)
		}
		if (c.status == 401) != (a.header.Get("WWW-Authenticate") == "Bearer") {
			t.Errorf("%s: WWW-Authenticate %q", c.name, a.header.Get("WWW-Authenticate"))
		}
	}
}

func TestErrors_RetryAfter(t *testing.T) {
	w := start(t)
	root, ann := w.token(identity.Claims{Roles: []identity.Role{identity.Operator}}), w.as("acme", identity.Writer)
	w.must("PUT", "/v1/config/policy/acme/limits", root, `{"requests_per_second":0.01,"burst":1}`, "As-Tenant: _system")
	w.must("GET", "/v1/head", ann, "")
	a := w.do("GET", "/v1/head", ann, "")
	if a.status != http.StatusTooManyRequests || a.header.Get("Retry-After") == "" || !strings.Contains(a.body, `"OVER_LIMIT"`) {
		t.Errorf("%d %v %s", a.status, a.header, a.body)
	}
}

func TestRequests_MethodsAndHeaders(t *testing.T) {
	w := start(t)
	ann := w.as("acme", identity.Writer)
	w.must("PUT", "/v1/config/a", ann, "1")
	if a := w.do("OPTIONS", "/v1/config/a", "", ""); a.status != 204 || a.header.Get("Allow") != "DELETE, GET, HEAD, OPTIONS, PUT" || a.header.Get("Access-Control-Allow-Origin") != "" {
		t.Errorf("OPTIONS: %d %v", a.status, a.header)
	}
	if a := w.do("HEAD", "/v1/config/a", ann, ""); a.status != 200 || !strings.HasPrefix(a.header.Get("ETag"), `"1-`) || a.body != "" {
		t.Errorf("HEAD: %d %v %q", a.status, a.header, a.body)
	}
	for _, override := range []string{"GET", "DELETE"} {
		w.do("POST", "/v1/config/a", ann, "", "X-HTTP-Method-Override: "+override, "Content-Type: application/x-www-form-urlencoded")
	}
	w.must("GET", "/v1/config/a", ann, "")
	if a := w.do("GET", "/v1/head", ann, "", "X-Request-Id: mine-1"); a.header.Get("X-Request-Id") != "mine-1" {
		t.Errorf("request id %q", a.header.Get("X-Request-Id"))
	}
	if a := w.do("GET", "/v1/head", ann, "", "X-Request-Id: <script>"); strings.Contains(a.header.Get("X-Request-Id"), "<") {
		t.Errorf("request id %q", a.header.Get("X-Request-Id"))
	}
}

func TestRequests_OnlyTwoHeadersReachTheGateway(t *testing.T) {
	w := start(t)
	ann, root := w.as("acme", identity.Writer), w.token(identity.Claims{Roles: []identity.Role{identity.Operator, identity.Admin}})
	bob := w.as("rival", identity.Writer)
	w.must("PUT", "/v1/config/a", ann, `"acme's"`)
	w.must("PUT", "/v1/config/a", bob, `"rival's"`)
	if a := w.must("GET", "/v1/config/a", root, "", "As-Tenant: acme"); !strings.Contains(a.body, "acme's") {
		t.Error(a.body)
	}
	for _, h := range []string{
		"Grpc-Metadata-As-Tenant: acme", "Grpcgateway-As-Tenant: acme", "Grpc-Metadata-Authorization: Bearer " + ann, "Grpc-Timeout: 1n", "Grpc-Timeout: x", "X-Forwarded-Host: acme",
		"Te: trailers", "Cookie: token=" + ann, "Connection: As-Tenant",
	} {
		if a := w.must("GET", "/v1/config/a", bob, "", h); !strings.Contains(a.body, "rival's") {
			t.Errorf("%s: %s", h, a.body)
		}
		if a := w.do("GET", "/v1/config/a", "", "", h); a.status != http.StatusUnauthorized {
			t.Errorf("%s, no token: %d %s", h, a.status, a.body)
		}
	}
	for name, headers := range map[string][]string{
		"another tenant": {"As-Tenant: acme"}, "two tenants": {"As-Tenant: rival", "As-Tenant: acme"}, "two tokens": {"Authorization: Bearer " + ann}, "no text": {"As-Tenant: acm\u00e9"},
	} {
		if a := w.do("GET", "/v1/config/a", bob, "", headers...); a.status < 400 || strings.Contains(a.body, "acme's") {
			t.Errorf("%s: %d %s", name, a.status, a.body)
		}
	}
}

func TestCommits_ById(t *testing.T) {
	w := start(t)
	ann := w.as("acme", identity.Writer)
	_, rest, _ := strings.Cut(w.must("PUT", "/v1/config/a", ann, "1").body, `"id":"`)
	id, _, _ := strings.Cut(rest, `"`)
	if len(id) != 64 {
		t.Fatalf("the id is %q", id)
	}
	byRevision := w.must("GET", "/v1/commits/1", ann, "").body
	for _, path := range []string{"/v1/commits/id/" + id, "/v1/commits/id/" + id[:8], "/v1/commits/id/" + strings.ToUpper(id)} {
		if d := cmp.Diff(info(byRevision), info(w.must("GET", path, ann, "").body)); d != "" {
			t.Errorf("%s (-by revision +by id):\n%s", path, d)
		}
	}
}

// info is an answer without its snapshot, which has an age.
func info(body string) string {
	before, _, _ := strings.Cut(body, `,"snapshot"`)
	return before
}

// A large body has memory before it is read, and gets none without a valid token that was not revoked.
func TestBody_WaitsForMemory(t *testing.T) {
	w := start(t)
	ann := w.as("acme", identity.Writer)
	large := `"` + strings.Repeat("x", 100_000) + `"`
	w.must("PUT", "/v1/config/a", ann, large)
	if used := w.memory.Total.Used(); used != 0 {
		t.Errorf("%d bytes are used after the answer", used)
	}
	eve := w.token(identity.Claims{Subject: "eve", Tenant: "acme", Roles: []identity.Role{identity.Writer}})
	w.must("PUT", "/v1/config/policy/revoked", w.as("", identity.Operator), `{"revoked":[{"subject":"eve"}]}`, "As-Tenant: _system")
	gatewaytest.Exhaust(t, w.memory)
	if a := w.do("PUT", "/v1/config/a", ann, large); a.status != http.StatusTooManyRequests || !strings.Contains(a.body, "NO_MEMORY") {
		t.Errorf("without memory: %d %s", a.status, a.body)
	}
	for _, token := range []string{"none", "", eve} {
		if a := w.do("PUT", "/v1/config/a", token, large); a.status != http.StatusUnauthorized {
			t.Errorf("the token %q: %d %s", token, a.status, a.body)
		}
	}
	w.must("PUT", "/v1/config/a", ann, `"small"`)
}

// Bodies that one tenant does not send whole leave memory for other tenants.
func TestBody_OneTenantLeavesMemory(t *testing.T) {
	w := start(t)
	mallory := w.as("acme", identity.Reader)
	for range 10 { // more than there is memory for
		c, err := net.Dial("tcp", w.server.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		fmt.Fprintf(c, "PUT /v1/config/a HTTP/1.1\r\nHost: stele\r\nAuthorization: Bearer %s\r\nContent-Length: %d\r\n\r\n\"", mallory, 8<<20)
	}
	for deadline := time.Now().Add(time.Minute); w.memory.Total.Used() < 32<<20; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("the bodies have %d bytes", w.memory.Total.Used())
		}
	}
	w.must("PUT", "/v1/config/a", w.as("globex", identity.Writer), `"`+strings.Repeat("x", 100_000)+`"`)
}
