package document

import (
	"errors"
	"strings"
	"testing"

	"github.com/stelehq/stele/cmd/stele/internal/yamljson"
)

// unread means that a file is refused, and comments that it has only comments.
const (
	unread   = "(error)"
	comments = "(comments)"
)

func TestFormats(t *testing.T) {
	for _, tc := range []struct{ name, file, text, want string }{
		{"properties", "a.properties", "# c\n! c\nserver.port=8080\n spring.name : a b \nflag\nempty=\n", `{"server.port":"8080","spring.name":"a b ","flag":"","empty":""}`},
		{"properties, blank separator", "a.properties", "a b=c\nd\t=\te\nf\\ g=h", `{"a":"b=c","d":"e","f g":"h"}`},
		{"properties, continued", "a.properties", "a=one,\\\n   two\nb=x\\\\\r\nc=3\nd=x\\\r\n # y", `{"a":"one,two","b":"x\\","c":"3","d":"x# y"}`},
		{"properties, continued at the end", "a.properties", `a=x\`, `{"a":"x"}`},
		{"properties, a comment is not continued", "a.properties", "# x\\\na=1", `{"a":"1"}`},
		{"properties, escapes", "a.properties", `a\ b\:c=\u00e4\ud83d\ude00\t\q`, `{"a b:c":"ä😀\tq"}`},
		{"properties, empty name", "a.properties", "=x", `{"":"x"}`},
		{"properties, Latin-1", "a.properties", "a=gr\xfc\xdfe", `{"a":"grüße"}`},
		{"properties, UTF-8", "a.properties", "a=grüße", `{"a":"grüße"}`},
		{"properties, a short escape", "a.properties", `a=\u00`, unread},
		{"properties, a name twice", "a.properties", "a=1\nb=2\na=3", `{"a":"3","b":"2"}`},
		{"properties, documents", "a.properties", "a=1\n#---\na=2\n", `[{"a":"1"},{"a":"2"}]`},
		{"properties, a heading", "a.properties", "a=1\n# b\n#---\nb=2\n", `{"a":"1","b":"2"}`},
		{"properties, comments only", "a.properties", "# c\n\n", comments},
		{"env", "prod.env", "# c\nexport A=1\nB = two words # c\nC='it # is'\nD=\"a\\nb\" # c\nE=\nF: g#h\nG=a=b", `{"A":"1","B":"two words","C":"it # is","D":"a\nb","E":"","F":"g#h","G":"a=b"}`},
		{"env, several lines", ".env", "A=\"-----BEGIN\nx\n-----END\"\nB='a\n b'\r\nC=1", `{"A":"-----BEGIN\nx\n-----END","B":"a\n b","C":"1"}`},
		{"env, variables", ".env.local", "A=1\nB=${A}-$A-${C:-x}-${A-y}-$$A-$1-$\nD='$A'\nE=\"\\$A $A\"\nA=2", `{"A":"2","B":"1-1-x-1-$A-$1-$","D":"$A","E":"$A 1"}`},
		{"env, escapes", ".env", `A="a\qb\tb\\c\$x\"d"` + "\n" + `B='it\'s\n'` + "\n" + `C=a\nb`, `{"A":"a\\qb\tb\\c$x\"d","B":"it's\\n","C":"a\\nb"}`},
		{"env, a variable of the environment", ".env", "A=$HOME/x", unread},
		{"env, an operator", ".env", "A=${B:?needed}", unread},
		{"env, an open quote", ".env", `A="x`, unread},
		{"env, text after a quote", ".env", `A="x" y`, unread},
		{"env, no name", ".env", "=x", unread},
		{"env, no value", ".env", "A", unread},
		{"env, comments only", ".env", "# c", comments},
		{"toml", "a.toml", "t='x'\n[s]\ni=0xFF\nn=1_000\nf=1.0\ng=6.02e23\nb=true\nd=1979-05-27\nz=1979-05-27 07:32:00Z\nl=1979-05-27T07:32:00\nh=07:32:00\nm=9007199254740993\n[[s.a]]\nx={y=[1,2.5]}\n",
			`{"s":{"a":[{"x":{"y":[1,2.5]}}],"b":true,"d":"1979-05-27","f":1.0,"g":6.02e+23,"h":"07:32:00","i":255,"l":"1979-05-27T07:32:00","m":9007199254740993,"n":1000,"z":"1979-05-27T07:32:00Z"},"t":"x"}`},
		{"toml, a name twice", "a.toml", "a=1\na=2", unread},
		{"toml, infinity", "a.toml", "a=inf", unread},
		{"toml, too large", "a.toml", "a=9223372036854775808", unread},
		{"toml, comments only", "a.toml", "# c\n", comments},
		{"json", "a.json", `{"a": 1.0}`, `{"a":1.0}`},
		{"json with comments", "a.jsonc", "// c\n{\"a\": [1, /* x */ 2,],\n}", `{"a":[1,2]}`},
		{"json, a name twice", "a.json", `{"a":1,"a":2}`, unread},
		{"json, comments only", "a.json", "// c", comments},
		{"yaml", "a.yml", "a: &x {b: 1}\nc: {<<: *x, d: yes}\n", `{"a":{"b":1},"c":{"d":"yes","b":1}}`},
		{"yaml, documents", "a.yaml", "a: 1\n---\n# nothing\n---\nb: 2\n", `[{"a":1},{"b":2}]`},
		{"yaml, comments only", "a.yaml", "# c\n", comments},
		{"utf-16", "a.JSON", "\xff\xfe[\x001\x00]\x00", `[1]`},
		{"no text", "a.yaml", "a: \xff\xff\xff", unread},
	} {
		doc, err := Read(tc.file, []byte(tc.text), false)
		name, _ := Name(tc.file)
		got := comments
		switch {
		case err != nil:
			got = unread
		case len(doc.Values) > 0:
			got = doc.Values[name]
		}
		if got != tc.want {
			t.Errorf("%s: %s, %v; want %s", tc.name, got, err, tc.want)
		}
	}
}

func TestRead_Remarks(t *testing.T) {
	for _, tc := range []struct{ file, text, want string }{
		{"a.properties", "a=\xfc", "read as Latin-1, because it is not valid UTF-8"},
		{"a.properties", "a=ü", ""},
		{"a.properties", "a=1\nb=2\na=3", "a occurs in line 1 and again in line 3, which counts"},
		{".env", "A=1\nA=3", "A occurs in line 1 and again in line 2, which counts"},
		{"a.yaml", "a: 1\nb: [no, 010]\n", "2 values kept as text that YAML 1.1 reads as a boolean or a number, first in line 2: no"},
		{"a.yaml", "on: 'yes'\nb: 08:30 is early\nc: 1.0\nd: 0\n", ""},
	} {
		doc, err := Read(tc.file, []byte(tc.text), false)
		got := ""
		for _, remark := range doc.Remarks {
			got += remark
		}
		if err != nil || got != tc.want {
			t.Errorf("%s, %q: %q, %v; want %q", tc.file, tc.text, got, err, tc.want)
		}
	}
}

func TestName(t *testing.T) {
	for file, want := range map[string]string{
		"a/b.yaml": "a/b", "a/B.YML": "a/B", "a.b.json": "a.b", "a.toml": "a", "c.jsonc": "c", ".env": ".env", "x/.env.local": "x/.env.local",
		"x/prod.env": "x/prod", ".yaml": ".yaml", "a/.json": "a/.json", "a.txt": "", "Makefile": "", "a.environment": "", "env": "", "d.yaml/x": "",
	} {
		if got, ok := Name(file); got != want || ok != (want != "") {
			t.Errorf("%s: %q, %t; want %q", file, got, ok, want)
		}
	}
}

func TestSkipped(t *testing.T) {
	var s Skipped
	for _, file := range []string{"a/1.TXT", "a/2.txt", "3.txt", "4.txt", "Makefile"} {
		s.AddFormat(file)
	}
	s.Links.Add("link")
	if n := s.Count(); n != 6 {
		t.Errorf("%d files, want 6", n)
	}
	if c := s.Formats[".txt"]; c.Count != 4 || len(c.Examples) != 3 || c.Examples[0] != "a/1.TXT" {
		t.Errorf(".txt: %+v", c)
	}
	if c := s.Formats[""]; c == nil || c.Count != 1 {
		t.Errorf("without an extension: %+v", c)
	}
}

func TestRead_Template(t *testing.T) {
	for _, tc := range []struct{ file, text, want string }{
		{"chart/templates/a.yaml", "replicas: {{ .Values.replicas }}", "template"},
		{"chart/templates/b/a.yaml", "{{- if true }}\na: 1\n{{- end }}", "template"},
		{"templates/a.yaml", "name: '{{ include \"chart.name\" . }}'", "template"},
		{"templates/a.json", `{"a": {{ .Release.Name | quote }}}`, "template"},
		{"templates/mail.json", `{"text": "Dear {{name}}"}`, "read"},
		{"templates/mail.yaml", `text: "Dear {{name}}`, "if it is a template, import the rendered file instead"}, // damaged: its keys are kept
		{"templates/a.yaml", "a: 1", "read"},
		{"values.yaml", "a: '{{ .Values.b }}'", "read"},
		{"values.yaml", "a: {{ .Values.b }}", "if it is a template, import the rendered file instead"},
		{"templates.yaml", "a: {{ .Values.b }}", "if it is a template, import the rendered file instead"},
	} {
		doc, err := Read(tc.file, []byte(tc.text), false)
		got := "read"
		switch {
		case errors.Is(err, ErrTemplate):
			got = "template"
		case err != nil:
			got = err.Error()
		case len(doc.Values) != 1:
			t.Errorf("%s: %v", tc.file, doc.Values)
		}
		if !strings.HasSuffix(got, tc.want) {
			t.Errorf("%s with %s: %s, want %s", tc.file, tc.text, got, tc.want)
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
		if got, _ := stripComments([]byte(text)); string(got) != want {
			t.Errorf("%q becomes %q, want %q", text, got, want)
		}
	}
}

// fuzz checks that a file of any content is read as JSON, flattened or not, or refused.
func fuzz(f *testing.F, file string, seeds ...string) {
	for _, s := range seeds {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		_, err := Read(file, data, false)
		if err != nil {
			return
		}
		doc, err := Read(file, data, true)
		if err != nil {
			return // two leaves have one name
		}
		for name, value := range doc.Values {
			if _, err := yamljson.FromJSON([]byte(value)); err != nil {
				t.Errorf("%q: %s is %q: %v", data, name, value, err)
			}
		}
	})
}

func FuzzYAML(f *testing.F) {
	fuzz(f, "a.yaml", "a: &x [1, no]\nb: *x\n---\n<<: {c: 0x1}\n", "a: &a {b: *a}")
}
func FuzzJSON(f *testing.F) { fuzz(f, "a.json", "// c\n{\"a\": [1,],}", "\xff\xfe[\x00]\x00") }
func FuzzTOML(f *testing.F) {
	fuzz(f, "a.toml", "[a.b]\nc=1.5e3\nd=1979-05-27\n[[x]]\ny={z=0b1}", "a=[[[[")
}
func FuzzProperties(f *testing.F) {
	fuzz(f, "a.properties", "a=1\\\n 2\n#---\nb\\u00e4:\xfc", `a=\`)
}
func FuzzEnv(f *testing.F) { fuzz(f, ".env", "export A=\"x\\n\ny\"\nB=${A:-z}'\nC='\\''", "A=$A") }

// A fault of JSON names its line, also after comments.
func TestRead_JSONFaultNamesLine(t *testing.T) {
	for data, want := range map[string]string{
		"{\n\"a\": 1,\n\"a\": 2}":           "line 3: the name \"a\" occurs twice in an object",
		"{\n// one\n\"a\": 1,\n\"a\": 2\n}": "line 4: the name \"a\" occurs twice in an object",
		"{\n\"a\": x}":                      "line 2: invalid character 'x' at start of value",
	} {
		if _, err := Read("settings.json", []byte(data), false); err == nil || err.Error() != want {
			t.Errorf("%q: %v, want %s", data, err, want)
		}
	}
}
