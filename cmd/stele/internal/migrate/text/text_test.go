package text

import (
	"os"
	"testing"

	"github.com/stelehq/stele/cmd/stele/internal/yamljson"
	"go.yaml.in/yaml/v3"
)

func TestFormats(t *testing.T) {
	for _, tc := range []struct {
		name       string
		parse      func([]byte) (*yaml.Node, error)
		text, want string // no want: refused; "nothing": no document
	}{
		{"properties", Properties, "# c\n! c\nserver.port=8080\n spring.name : a b \nflag\nempty=\n", `{"server.port":"8080","spring.name":"a b ","flag":"","empty":""}`},
		{"properties, continued", Properties, "a=one,\\\n   two\nb=x\\\\\r\nc=3", `{"a":"one,two","b":"x\\","c":"3"}`},
		{"properties, escapes", Properties, `a\ b\:c=\u00e4\ud83d\ude00\t\q`, `{"a b:c":"ä😀\tq"}`},
		{"properties, a short escape", Properties, `a=\u00`, ""},
		{"properties, a name twice", Properties, "a=1\nb=2\na=3", ""},
		{"properties, comments only", Properties, "# c\n\n", "nothing"},
		{"env", Env, "# c\nexport A=1\nB = two words # c\nC='it # is'\nD=\"a\\nb\" # c\nE=\n", `{"A":"1","B":"two words","C":"it # is","D":"a\nb","E":""}`},
		{"env, an open quote", Env, `A="x`, ""},
		{"env, no name", Env, "=x", ""},
		{"env, comments only", Env, "# c", "nothing"},
	} {
		n, err := tc.parse([]byte(tc.text))
		got := "nothing"
		if err == nil && n != nil {
			var data []byte
			data, err = yamljson.ToJSON(n)
			got = string(data)
		}
		if (err != nil) != (tc.want == "") || err == nil && got != tc.want {
			t.Errorf("%s: %s, %v; want %s", tc.name, got, err, tc.want)
		}
	}
}

func TestUTF8(t *testing.T) {
	for text, want := range map[string]string{
		"":                           "",
		"a":                          "a",
		"\xef\xbb\xbf[\"ä\"]":        `["ä"]`,
		"\xff\xfe[\x00\xe4\x00]\x00": "[ä]",
		"\xfe\xff\x00[\x00\xe4\x00]": "[ä]",
		"[\x00]\x00":                 "[]",
		"\x00[\x00]":                 "[]",
	} {
		if got, err := UTF8([]byte(text)); err != nil || string(got) != want {
			t.Errorf("%q is %q, %v; want %q", text, got, err, want)
		}
	}
	for _, text := range []string{"\xff\xfe[", "a\xff"} {
		if got, err := UTF8([]byte(text)); err == nil {
			t.Errorf("%q is taken as %q", text, got)
		}
	}
}

func TestStripComments(t *testing.T) {
	for text, want := range map[string]string{
		`{"a": "// not /* one */ ,]",}`: `{"a": "// not /* one */ ,]" }`,
		"[1, // c\n2,\n]":               "[1,     \n2 \n]",
		"/* c\n */[1]":                  "    \n   [1]",
		"[1,2]":                         "[1,2]",
	} {
		if got, _ := StripComments([]byte(text)); string(got) != want {
			t.Errorf("%q becomes %q, want %q", text, got, want)
		}
	}
}

func FuzzFormats(f *testing.F) {
	for _, s := range []string{"a=1", `a\u00e4=x`, "A='x'", "[1,//\n]", "\xff\xfea\x00"} {
		f.Add([]byte(s))
	}
	if data, err := os.ReadFile("text.go"); err == nil {
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		text, err := UTF8(data)
		if err != nil {
			return
		}
		for _, parse := range []func([]byte) (*yaml.Node, error){Properties, Env} {
			if n, err := parse(text); err == nil && n != nil {
				if _, err := yamljson.ToJSON(n); err != nil {
					t.Errorf("%q: %v", text, err)
				}
			}
		}
		if plain, _ := StripComments(text); len(plain) != len(text) {
			t.Errorf("%q becomes %q", text, plain)
		}
	})
}
