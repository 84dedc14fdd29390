package console_test

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/stelehq/stele/internal/gateway/identity"
	"github.com/stelehq/stele/internal/ledger"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/grpc/metadata"
)

// TestEscaping: user input is text on every page, never markup.
func TestEscaping(t *testing.T) {
	f := start(t)
	const hostile = `"></code><script>alert(1)</script><img src=x onerror=alert(1)>'{{1}}`
	ctx := metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer "+f.token(t, identity.Claims{
		Subject: `<b onclick=x>eve</b>`, Tenant: "acme", Roles: []identity.Role{identity.Admin, identity.Writer}}))
	f.set(t, ctx, hostile+" \u202etxt.exe", "a/key", `"first"`)
	f.set(t, ctx, hostile, "a/key", `{"</pre><script>alert(2)</script>":"`+"\u202e"+`evil\u003c"}`)
	v := f.writer(t, "acme")
	for _, path := range []string{
		"/acme/", "/acme/keys/a/", "/acme/keys/a/key", "/acme/keys/a/key?edit=1", "/acme/history", "/acme/commits/1", "/acme/commits/2", "/acme/commits/2/revert", "/acme/delete/a/key",
		"/acme/keys/?filter=" + "%3Cscript%3Ealert(3)%3C/script%3E", "/acme/history?author=%22%3E%3Cscript%3E&text=%3Cimg+src%3Dx%3E&since=%3Cscript%3E", "/acme/keys/a/key?written=%3Cscript%3E",
		"/login?to=%22%3E%3Cscript%3Ealert(1)%3C/script%3E",
	} {
		a := v.get(t, path)
		if a.code >= 500 {
			t.Errorf("%s: %d", path, a.code)
		}
		for n := range a.doc.Descendants() {
			if n.Data == "img" || n.Data == "b" || n.Data == "script" && attr(n, "src") == "" {
				t.Errorf("%s has user text as markup: %s", path, n.Data)
			}
		}
		if strings.Contains(a.text(), "\u202e") { // what a button copies is exact
			t.Errorf("%s has a mark that turns the text after it", path)
		}
	}
	if a := v.get(t, "/acme/raw/a/key"); a.header.Get("Content-Type") != "application/json" || !strings.HasPrefix(a.header.Get("Content-Disposition"), "attachment") || !strings.Contains(a.body, "\u202e") {
		t.Errorf("the value itself: %v", a.header)
	}
}

// TestLargeValues: a page shows the beginning, and the rest can be downloaded.
func TestLargeValues(t *testing.T) {
	f := start(t)
	value := `"` + strings.Repeat("x", ledger.MaxValue-2) + `"`
	f.set(t, f.as(t, "acme"), "large", "a/large", value)
	f.set(t, f.as(t, "acme"), "larger", "a/large", strings.Replace(value, "x", "y", 1))
	v := f.writer(t, "acme")
	for _, path := range []string{"/acme/keys/a/", "/acme/keys/a/large", "/acme/history", "/acme/commits/2", "/acme/commits/2/revert"} {
		if a := v.get(t, path); a.code != http.StatusOK || len(a.body) > 200<<10 {
			t.Errorf("%s: %d, %d bytes", path, a.code, len(a.body))
		}
	}
	if a := v.get(t, "/acme@1/raw/a/large"); a.body != value {
		t.Errorf("the value itself has %d bytes", len(a.body))
	}
}

// TestReveal_IsRecorded: reads by pages are recorded like all others.
func TestReveal_IsRecorded(t *testing.T) {
	f := start(t)
	f.set(t, f.system(t), "record", "policy/acme/reads", `{"prefixes":["tenantconfig/"]}`)
	setup(t, f)
	f.writer(t, "acme").get(t, "/acme/keys/"+timeoutKey)
	list, err := f.ledger.ListReads(f.as(t, "acme"), &stelev1.ListReadsRequest{})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range list.Reads {
		if r.Subject == "alice" && r.Method == stelev1.Config_Get_FullMethodName && len(r.Keys) == 1 && r.Keys[0] == timeoutKey {
			return
		}
	}
	t.Errorf("the records are %v", list.Reads)
}

// Pages are compressed, except for those with a secret. A page with a value of the largest size takes
// less than 300 KB.
func TestPages_Compressed(t *testing.T) {
	f := start(t)
	member := make([]byte, 32)
	var value strings.Builder
	for i := range 6_800 {
		sum := sha256.Sum256(binary.AppendUvarint(member[:0], uint64(i)))
		fmt.Fprintf(&value, `,"%x"`, sum)
	}
	f.set(t, f.as(t, "acme"), "large", "a/large", "["+value.String()[1:]+"]")
	v := f.writer(t, "acme")
	for _, path := range []string{"/acme/keys/a/large", "/acme/keys/a/large?edit=1", "/acme/history"} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, f.web.URL+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Accept-Encoding", "gzip")
		a := v.do(t, req)
		if a.header.Get("Content-Encoding") != "gzip" || a.header.Get("Vary") != "Accept-Encoding" || len(a.body) > 300_000 {
			t.Errorf("%s: %v, %d bytes", path, a.header, len(a.body))
		}
		req.Header.Set("Accept-Encoding", "identity")
		if a := v.do(t, req); a.header.Get("Content-Encoding") != "" || !strings.HasPrefix(a.body, "<!doctype html>") {
			t.Errorf("%s for a client that does not read gzip: %v", path, a.header)
		}
	}
}
