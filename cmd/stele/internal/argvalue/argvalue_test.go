package argvalue

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stelehq/stele/internal/ledger"
)

func TestValue(t *testing.T) {
	dir := t.TempDir()
	file := func(name, content string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return "@" + path
	}
	pem := "-----BEGIN KEY-----\nMIIB\n-----END KEY-----\n"
	large := strings.Repeat("x", 200_000)
	for _, tc := range []struct {
		name, arg, stdin string
		asString, asJSON bool
		want             string // empty: refused
		warns            bool
	}{
		{name: "a number", arg: "3000", want: "3000"},
		{name: "a text", arg: "hello", want: `"hello"`},
		{name: "a text that JSON refuses", arg: "01234", want: `"01234"`},
		{name: "a file", arg: file("key.pem", pem), want: `"-----BEGIN KEY-----\nMIIB\n-----END KEY-----\n"`},
		{name: "a large file", arg: file("large", large), want: `"` + large + `"`},
		{name: "a JSON file", arg: file("a.json", "{\n  \"a\": 1\n}\n"), want: `{"a":1}`},
		{name: "a JSON file as a string", arg: file("b.json", "5\n"), asString: true, want: `"5\n"`},
		{name: "standard input", arg: "-", stdin: pem, want: `"-----BEGIN KEY-----\nMIIB\n-----END KEY-----\n"`},
		{name: "the texts of both, as JSON", arg: `"@key.pem"`, want: `"@key.pem"`},
		{name: "a file that does not exist", arg: "@" + filepath.Join(dir, "none")},
		{name: "no file name", arg: "@"},
		{name: "a file that is too long", arg: file("huge", strings.Repeat(" ", 2<<20))},
		{name: "a comma too many", arg: `{"a":1,}`, want: `"{\"a\":1,}"`, warns: true},
		{name: "a name twice", arg: `{"a":1,"a":2}`, want: `"{\"a\":1,\"a\":2}"`, warns: true},
		{name: "an open array", arg: `[1,2`, want: `"[1,2"`, warns: true},
		{name: "a name without quotes", arg: `{a:1}`, want: `"{a:1}"`, warns: true},
		{name: "Python's True inside", arg: `{"a":True}`, want: `"{\"a\":True}"`, warns: true},
		{name: "not a number", arg: `{"a":NaN}`, want: `"{\"a\":NaN}"`, warns: true},
		{name: "Python's True", arg: `True`, want: `"True"`, warns: true},
		{name: "single quotes", arg: `{'a':1}`, want: `"{'a':1}"`, warns: true},
		{name: "the same with --string", arg: `{'a':1}`, asString: true, want: `"{'a':1}"`},
		{name: "the same with --json", arg: `{'a':1}`, asJSON: true},
		{name: "invalid UTF-8", arg: "\xff"},
		{name: "invalid UTF-8 in JSON", arg: "\"\xff\"", warns: true},
		{name: "invalid UTF-8 with --string", arg: "\xff", asString: true},
		{name: "invalid UTF-8 in a file", arg: file("binary", "\xfe\xff")},
	} {
		t.Run(tc.name, func(t *testing.T) {
			warned := ""
			r := &Reader{String: tc.asString, JSON: tc.asJSON, Stdin: strings.NewReader(tc.stdin), Warn: func(m string) { warned += m }}
			got, err := r.Value(tc.arg)
			if string(got) != tc.want || (err == nil) != (tc.want != "") {
				t.Errorf("%.60q is %.60q, %v; want %.60q", tc.arg, got, err, tc.want)
			}
			if (warned != "") != tc.warns {
				t.Errorf("the warning is %q", warned)
			}
		})
	}
}

func TestValue_StandardInputIsReadOnce(t *testing.T) {
	r := &Reader{Stdin: strings.NewReader("a")}
	if v, err := r.Value("-"); v != ledger.Value(`"a"`) || err != nil {
		t.Errorf("%q, %v", v, err)
	}
	if _, err := r.Value("-"); err == nil {
		t.Error("the second value is read from what is left")
	}
}
