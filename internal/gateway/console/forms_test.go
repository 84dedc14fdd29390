package console_test

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stelehq/stele/internal/gateway/gatewaytest"
	"github.com/stelehq/stele/internal/gateway/identity"
)

// A large form has memory before it is received, and gets none without a valid token.
func TestForm_WaitsForMemory(t *testing.T) {
	f := start(t)
	setup(t, f)
	writer := f.writer(t, "acme")
	large := url.Values{"key": {"big/key"}, "value": {`"` + strings.Repeat("x", 100_000) + `"`}, "message": {"large"}}
	if a := writer.post(t, "/acme/new", large); a.code != http.StatusSeeOther {
		t.Errorf("a large value: %d %s", a.code, brief(a.main()))
	}
	if used := f.bodies.Share.Total.Used(); used != 0 {
		t.Errorf("%d bytes are used after the answer", used)
	}
	forged := f.anonymous()
	forged.client.Jar.SetCookies(nil, []*http.Cookie{{Name: sessionCookie(f), Value: "forged"}})
	revoked := f.login(t, identity.Claims{Subject: "eve", Tenant: "acme", Roles: []identity.Role{identity.Writer}})
	f.set(t, f.system(t), "revoke", "policy/revoked", `{"revoked":[{"subject":"eve"}]}`)
	for name, v := range map[string]*browser{"without a token": f.anonymous(), "with a forged one": forged, "with a revoked one": revoked} {
		for _, path := range []string{"/login", "/-/theme", "/acme/new"} {
			if a := v.post(t, path, large); a.code != http.StatusSeeOther || !strings.HasPrefix(a.header.Get("Location"), "/login") {
				t.Errorf("%s %s: %d to %q", path, name, a.code, a.header.Get("Location"))
			}
		}
	}
	gatewaytest.Exhaust(t, f.bodies.Share)
	if a := writer.post(t, "/acme/new", large); a.code != http.StatusTooManyRequests {
		t.Errorf("without memory: %d %s", a.code, brief(a.main()))
	}
	if a := writer.post(t, "/acme/new", url.Values{"key": {"small/key"}, "value": {"1"}, "message": {"small"}}); a.code != http.StatusSeeOther {
		t.Errorf("a small form: %d %s", a.code, brief(a.main()))
	}
}

// sessionCookie is the name of the cookie with the token.
func sessionCookie(f *fixture) string {
	_, port, _ := net.SplitHostPort(f.web.Listener.Addr().String())
	return "stele-" + port + "-session"
}

// Forms without a token that are never sent whole hold no memory: they are answered before. Nor are
// those read whose length is not known.
func TestForm_NeverSentWhole(t *testing.T) {
	f := start(t)
	for _, path := range []string{"/login", "/-/theme", "/logout", "/acme/changes"} {
		for _, body := range []string{"Content-Length: 8000000\r\n\r\ntoken=", "Transfer-Encoding: chunked\r\n\r\n6\r\ntoken=\r\n0\r\n\r\n"} {
			c := dialRaw(t, f)
			fmt.Fprintf(c, "POST %s HTTP/1.1\r\nHost: stele\r\nCookie: stele-80-session=forged\r\nContent-Type: application/x-www-form-urlencoded\r\n%s", path, body)
			resp, err := http.ReadResponse(bufio.NewReader(c), nil)
			if err != nil {
				t.Errorf("%s with %.20s: %v", path, body, err)
			} else if to := resp.Header.Get("Location"); resp.StatusCode != http.StatusSeeOther || to != "/login" {
				t.Errorf("%s with %.20s: %d to %q", path, body, resp.StatusCode, to)
			}
		}
	}
}

// ParseForm does not read bodies of other types, and the server would wait for them without a deadline.
func TestForm_OtherTypesAreRejected(t *testing.T) {
	f := start(t)
	for _, kind := range []string{"text/plain", "multipart/form-data; boundary=b", "", "application/json"} {
		for _, length := range []string{"Content-Length: 30000\r\n\r\n", "Transfer-Encoding: chunked\r\n\r\n"} {
			c := dialRaw(t, f)
			fmt.Fprintf(c, "POST /-/theme HTTP/1.1\r\nHost: stele\r\nContent-Type: %s\r\nConnection: close\r\n%s", kind, length)
			c.(*net.TCPConn).CloseWrite()
			resp, err := http.ReadResponse(bufio.NewReader(c), nil)
			if err != nil {
				t.Errorf("%q with %.20s: %v", kind, length, err)
			} else if resp.StatusCode != http.StatusBadRequest {
				t.Errorf("%q with %.20s: %d, want %d", kind, length, resp.StatusCode, http.StatusBadRequest)
			}
		}
	}
}

// dialRaw opens a connection for requests that no client of HTTP would make.
func dialRaw(t *testing.T, f *fixture) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", f.web.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(20 * time.Second))
	return c
}
