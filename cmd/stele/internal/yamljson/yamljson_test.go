package yamljson

import (
	"bytes"
	"strings"
	"testing"

	"github.com/go-json-experiment/json/jsontext"
)

func TestYAMLMeansWhatTheCoreSchemaSays(t *testing.T) {
	for yaml, want := range map[string]string{
		"1.0":                            "1.0",
		"9007199254740993":               "9007199254740993",
		"1e3":                            "1e3",
		"-0":                             "-0",
		"+1":                             "1",
		".5":                             "0.5",
		"-.5e-3":                         "-0.5e-3",
		"1.":                             "1",
		"1.e5":                           "1e5",
		"0644":                           "644",
		"00":                             "0",
		"0x1F":                           "31",
		"0xFFFFFFFFFFFFFFFFFF":           "4722366482869645213695",
		"0o17":                           "15",
		"0b1":                            `"0b1"`,
		"1_000":                          `"1_000"`,
		"yes":                            `"yes"`,
		"No":                             `"No"`,
		"TRUE":                           "true",
		"~":                              "null",
		"'1'":                            `"1"`,
		"!!str 1":                        `"1"`,
		"!!float 1":                      "1",
		`!!int "7"`:                      "7",
		"2001-01-01":                     `"2001-01-01"`,
		"1:30":                           `"1:30"`,
		"{a: , b: [x, 2]}":               `{"a":null,"b":["x",2]}`,
		"a: |\n  x\n  y\n":               `{"a":"x\ny\n"}`,
		"a: &x {b: 1}\nc: *x":            `{"a":{"b":1},"c":{"b":1}}`,
		`{"smile": "\ud83d\ude00"}`:      `{"smile":"😀"}`,
		"{\"a\":\t1.50}":                 `{"a":1.50}`,
		"'quoted <<': 1":                 `{"quoted <<":1}`,
		"\"1\": a":                       `{"1":"a"}`,
		"- a\n-\n- 'it''s'":              `["a",null,"it's"]`,
		"[12345678901234567890.12345e1]": "[12345678901234567890.12345e1]",
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

func TestWhatJSONCannotHoldIsRefusedWithItsLine(t *testing.T) {
	bomb := "a: &a [x, x, x, x, x, x, x, x, x, x]\n"
	for c := 'b'; c < 'j'; c++ {
		prev := string(c - 1)
		bomb += string(c) + ": &" + string(c) + " [" + strings.Repeat("*"+prev+", ", 10) + "]\n"
	}
	for yaml, want := range map[string]string{
		"":                           "empty",
		"a: 1\nb: .inf":              "line 2: JSON has no number .inf",
		"a:\n- -.INF":                "line 2: JSON has no number",
		"a: 1\n8080: x":              `line 2: "8080" is no name`,
		"true: x":                    `"true" is no name`,
		"? [a]\n: x":                 "a collection is no name",
		"a: 1\nb: 2\na: 3":           `line 3: "a" occurs twice, first in line 1`,
		"x: &x {a: 1}\ny:\n  <<: *x": `line 3: "<<"`,
		"a: !!binary aGk=":           "JSON has nothing for !!binary",
		"a: !secret x":               "JSON has nothing for !secret",
		"a: !!set {b: }":             "JSON has nothing for the tag !!set",
		"a: !!int x":                 "JSON has nothing for !!int",
		"a: &x [*x]":                 "contains itself",
		"a: 1\n---\nb: 2":            "second document",
		"a: [":                       "yaml: ",
		bomb:                         "aliases are expanded",
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

// FuzzEncode holds written YAML against reading it back.
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
			t.Fatalf("%s comes back as %s (%v) from\n%s", v, back, err, b.Bytes())
		}
	})
}
