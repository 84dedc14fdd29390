package yamljson

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/go-json-experiment/json/jsontext"
)

func TestParse_CoreSchema(t *testing.T) {
	for yaml, want := range map[string]string{
		"1.0":                          "1.0",
		"9007199254740993":             "9007199254740993",
		"1e3":                          "1e3",
		"-0":                           "-0",
		"+1":                           `"+1"`,
		"01234":                        `"01234"`,
		"-01":                          `"-01"`,
		".5":                           "0.5",
		"-.5e-3":                       "-0.5e-3",
		"1.":                           "1",
		"1.e5":                         "1e5",
		"0644":                         `"0644"`,
		"00":                           `"00"`,
		"0x1F":                         `"0x1F"`,
		"0xFFFFFFFFFFFFFFFFFF":         `"0xFFFFFFFFFFFFFFFFFF"`,
		"0o17":                         `"0o17"`,
		"a: 1\n8080: x\ntrue: y\n~: z": `{"a":1,"8080":"x","true":"y","~":"z"}`,
		"x: &x {a: 1, b: 2}\ny:\n  <<: *x\n  b: 3":                    `{"x":{"a":1,"b":2},"y":{"b":3,"a":1}}`,
		"x: &x {a: 1}\nz: &z {a: 2, c: 3, <<: *x}\ny: {<<: [*x, *z]}": `{"x":{"a":1},"z":{"a":2,"c":3},"y":{"a":1,"c":3}}`,
		"{<<: {a: {b: 1}}, c: 1}":                                     `{"c":1,"a":{"b":1}}`,
		"{'<<': 1}":                                                   `{"<<":1}`,
		"a: <<":                                                       `{"a":"<<"}`,
		"0b1":                                                         `"0b1"`,
		"1_000":                                                       `"1_000"`,
		"yes":                                                         `"yes"`,
		"No":                                                          `"No"`,
		"TRUE":                                                        "true",
		"~":                                                           "null",
		"'1'":                                                         `"1"`,
		"!!str 1":                                                     `"1"`,
		"!!float 1":                                                   "1",
		`!!int "7"`:                                                   "7",
		"2001-01-01":                                                  `"2001-01-01"`,
		"1:30":                                                        `"1:30"`,
		"{a: , b: [x, 2]}":                                            `{"a":null,"b":["x",2]}`,
		"a: |\n  x\n  y\n":                                            `{"a":"x\ny\n"}`,
		"a: &x {b: 1}\nc: *x":                                         `{"a":{"b":1},"c":{"b":1}}`,
		`{"smile": "\ud83d\ude00"}`:                                   `{"smile":"😀"}`,
		"{\"a\":\t1.50}":                                              `{"a":1.50}`,
		"'quoted <<': 1":                                              `{"quoted <<":1}`,
		"\"1\": a":                                                    `{"1":"a"}`,
		"- a\n-\n- 'it''s'":                                           `["a",null,"it's"]`,
		"[12345678901234567890.12345e1]":                              "[12345678901234567890.12345e1]",
	} {
		n, err := Parse([]byte(yaml))
		if err != nil {
			t.Errorf("%q: %v", yaml, err)
			continue
		}
		got, err := ToJSON(n)
		if err != nil || string(got) != want {
			t.Errorf("%q is %s, %v; want %s", yaml, got, err, want)
		}
	}
}

func TestParse_ValuesThatJSONCannotHold(t *testing.T) {
	bomb := "a: &a [x, x, x, x, x, x, x, x, x, x]\n"
	for c := 'b'; c < 'j'; c++ {
		prev := string(c - 1)
		bomb += string(c) + ": &" + string(c) + " [" + strings.Repeat("*"+prev+", ", 10) + "]\n"
	}
	for yaml, want := range map[string]string{
		"":                 "empty",
		"a: 1\nb: .inf":    "line 2: JSON has no number .inf",
		"a:\n- -.INF":      "line 2: JSON has no number",
		"? [a]\n: x":       "a collection is not the name",
		"a: 1\nb: 2\na: 3": `line 3: "a" occurs twice, first in line 1`,
		"y:\n  <<: 1":      `line 2: the merge key`,
		"y:\n  <<: [1]":    `line 2: the merge key`,
		"a: !!int 0xFF":    "JSON has nothing for !!int",
		"a: !!binary aGk=": "JSON has nothing for !!binary",
		"a: !secret x":     "JSON has nothing for !secret",
		"a: !!set {b: }":   "JSON has nothing for the tag !!set",
		"a: !!int x":       "JSON has nothing for !!int",
		"a: &x [*x]":       "contains itself",
		"a: 1\n---\nb: 2":  "second document",
		"a: [":             "yaml: ",
		bomb:               "aliases are expanded",
	} {
		n, err := Parse([]byte(yaml))
		if err == nil {
			_, err = ToJSON(n)
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40q: %v; want an error with %q", yaml, err, want)
		}
	}
}

func TestParseAll(t *testing.T) {
	for stream, want := range map[string]int{
		"": 0, "# a comment": 0, "a: 1": 1, "a: 1\n---\nb: 2\n---\n# nothing here\n": 2, "---\n---\na: 1": 1, "---\n''\n": 1, "---\n~\n": 1,
	} {
		docs, err := ParseAll([]byte(stream))
		if err != nil || len(docs) != want {
			t.Errorf("%q has %d documents, %v; want %d", stream, len(docs), err, want)
		}
	}
	merges := "a0: &a0 {k: 1}\n"
	for i := 1; i < 40; i++ {
		merges += fmt.Sprintf("a%d: &a%d {<<: [%s]}\n", i, i, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*a%d, ", i-1), 10), ", "))
	}
	docs, err := ParseAll([]byte(merges))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := ToJSON(docs[0]); err != nil || !strings.HasSuffix(string(got), `"a39":{"k":1}}`) {
		t.Errorf("merges of merges: %v, %.80s", err, got)
	}
}

// FuzzEncode compares written YAML with reading it back.
func FuzzEncode(f *testing.F) {
	for _, s := range []string{`{"a":1.0,"true":"yes","b":["x\ny",null,1e3]}`, `"- a: #"`, `{"":" lead"}`, `"\u0085\ud83d\ude00"`, `"\ufeff"`, `-0`, `{"<<":{}}`, `[[],{}]`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		v := jsontext.Value(s)
		if v.Canonicalize(jsontext.CanonicalizeRawInts(false), jsontext.CanonicalizeRawFloats(false)) != nil {
			t.Skip()
		}
		var b bytes.Buffer
		if err := Encode(&b, v); err != nil {
			t.Fatalf("encode %s: %v", v, err)
		}
		n, err := Parse(b.Bytes())
		if err != nil {
			t.Fatalf("%s is written as unreadable YAML: %v\n%s", v, err, b.Bytes())
		}
		got, err := ToJSON(n)
		if err != nil {
			t.Fatalf("%s: %v\n%s", v, err, b.Bytes())
		}
		back := jsontext.Value(got)
		if err := back.Canonicalize(jsontext.CanonicalizeRawInts(false), jsontext.CanonicalizeRawFloats(false)); err != nil || string(back) != string(v) {
			t.Fatalf("%s is returned as %s (%v) from\n%s", v, back, err, b.Bytes())
		}
	})
}
