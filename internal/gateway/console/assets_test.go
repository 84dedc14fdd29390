package console_test

import (
	"net/http"
	"strings"
	"testing"
)

// TestAssets are cached permanently by browsers, and match the hash in their names.
func TestAssets(t *testing.T) {
	f := start(t)
	v := f.anonymous()
	page := v.get(t, "/login")
	n := 0
	for _, e := range append(page.all("script"), page.all("link")...) {
		path := attr(e, "src") + attr(e, "href")
		a := v.get(t, path)
		if a.code != http.StatusOK || !strings.Contains(a.header.Get("Cache-Control"), "immutable") || len(a.body) == 0 {
			t.Errorf("%s: %d %v", path, a.code, a.header)
		}
		n++
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, f.web.URL+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Accept-Encoding", "gzip")
		if zipped := v.do(t, req); zipped.header.Get("Content-Encoding") != "gzip" || zipped.header.Get("Vary") != "Accept-Encoding" || len(zipped.body) >= len(a.body) {
			t.Errorf("%s with gzip: %v, %d bytes", path, zipped.header, len(zipped.body))
		}
	}
	if n < 5 {
		t.Errorf("the page loads %d files", n)
	}
	if a := v.get(t, "/-/assets/000000000000/console.css"); a.code != http.StatusNotFound {
		t.Errorf("a file of another version: %d", a.code)
	}
}

// The theme is the user's choice, also without scripts.
func TestTheme(t *testing.T) {
	f := start(t)
	v := f.anonymous()
	theme := func() string { return attr(v.get(t, "/login").all("html")[0], "data-theme") }
	if theme() != "" {
		t.Errorf("the first time it is %q", theme())
	}
	for _, choice := range []string{"dark", "light"} {
		a := v.post(t, "/-/theme", map[string][]string{"theme": {choice}, "to": {"//evil.example"}})
		if a.header.Get("Location") != "/" || theme() != choice {
			t.Errorf("%s: %q, and to %s", choice, theme(), a.header.Get("Location"))
		}
	}
	v.post(t, "/-/theme", map[string][]string{"theme": {`"><script>`}})
	if theme() != "" {
		t.Errorf("no theme at all is %q", theme())
	}
}
