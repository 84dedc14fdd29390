package ledger_test

import (
	"bytes"
	"encoding/json"
	"io"
	"reflect"
	"strings"
	"testing"

	"github.com/stelehq/stele/internal/ledger"
)

func TestParseValue_KeepsTheText(t *testing.T) {
	for _, tc := range []struct {
		name, text, want string // no want: refused
	}{
		{"white space between tokens goes", " {\n\t\"a\" : [ 1 , 2 ] }\r\n", `{"a":[1,2]}`},
		{"white space in strings stays", `" a  b "`, `" a  b "`},
		{"a number beyond float64", "9007199254740993", "9007199254740993"},
		{"a number's own form", "[1.0,1e2,-0,0.10]", "[1.0,1e2,-0,0.10]"},
		{"a number of no float64", "1e400", "1e400"},
		{"a string's escapes", `"\u00e4\/\u0022"`, `"\u00e4\/\u0022"`},
		{"members in their order", `{"b":1,"a":2}`, `{"b":1,"a":2}`},
		{"null", "null", "null"},
		{"the empty string", `""`, `""`},
		{"a name twice", `{"a":1,"a":2}`, ""},
		{"a name twice, written differently", `{"a":1,"\u0061":2}`, ""},
		{"invalid UTF-8", "\"\xff\"", ""},
		{"half a surrogate pair", `"\ud800"`, ""},
		{"nothing", "", ""},
		{"white space only", " ", ""},
		{"two values", "1 2", ""},
		{"a comment", "1 // one", ""},
		{"a comma too many", "[1,]", ""},
		{"not a number", "NaN", ""},
		{"nested as deep as can be", strings.Repeat("[", ledger.MaxDepth) + strings.Repeat("]", ledger.MaxDepth), strings.Repeat("[", ledger.MaxDepth) + strings.Repeat("]", ledger.MaxDepth)},
		{"nested too deep", strings.Repeat(`{"a":`, ledger.MaxDepth+1) + "1" + strings.Repeat("}", ledger.MaxDepth+1), ""},
		{"brackets in a string", `"` + strings.Repeat(`\\[\"{`, 200) + `"`, `"` + strings.Repeat(`\\[\"{`, 200) + `"`},
		{"wide and not deep", "[" + strings.Repeat("[],{},", 200) + "1]", "[" + strings.Repeat("[],{},", 200) + "1]"},
		{"too long", `"` + strings.Repeat("x", ledger.MaxValue) + `"`, ""},
		{"the longest, with white space", strings.Repeat(" ", 99) + `"` + strings.Repeat("x", ledger.MaxValue-2) + `"`, `"` + strings.Repeat("x", ledger.MaxValue-2) + `"`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := ledger.ParseValue(tc.text)
			if string(got) != tc.want || (err == nil) != (tc.want != "") {
				t.Errorf("ParseValue = %.80q, %v; want %.80q", got, err, tc.want)
			}
		})
	}
}

// Text that is JSON and nested too deep does not become a string in silence.
func TestTextValue_NestedTooDeep(t *testing.T) {
	if v, err := ledger.TextValue(strings.Repeat("[", ledger.MaxDepth+1) + strings.Repeat("]", ledger.MaxDepth+1)); err == nil {
		t.Errorf("%.40s", v)
	}
}

func TestStringValue(t *testing.T) {
	for _, tc := range []struct{ name, text, want string }{
		{"plain", "hello", `"hello"`},
		{"empty", "", `""`},
		{"a last newline stays", "-----END KEY-----\n", `"-----END KEY-----\n"`},
		{"characters of HTML stay", "<&>", `"<&>"`},
		{"a replacement character that was written", "\ufffd", "\"\ufffd\""},
		{"invalid UTF-8", "a\xff", ""},
		{"half a character", "\xc3", ""},
		{"too long with its quotes", strings.Repeat("x", ledger.MaxValue-1), ""},
	} {
		got, err := ledger.StringValue(tc.text)
		if string(got) != tc.want || (err == nil) != (tc.want != "") {
			t.Errorf("%s: StringValue = %.80q, %v; want %.80q", tc.name, got, err, tc.want)
		}
	}
}

func TestTextValue(t *testing.T) {
	for text, want := range map[string]string{
		"5": "5", "5\n": "5", `{"a": 1}`: `{"a":1}`, "hello": `"hello"`, `{"a":1,}`: `"{\"a\":1,}"`, "01234": `"01234"`, "\xff": "", "\"\xff\"": "",
	} {
		got, err := ledger.TextValue(text)
		if string(got) != want || (err == nil) != (want != "") {
			t.Errorf("TextValue(%q) = %q, %v; want %q", text, got, err, want)
		}
	}
}

// A value that cannot be parsed may still be a secret.
func TestParseValue_ErrorsRevealNothing(t *testing.T) {
	for _, text := range []string{
		"hunter2", `{"hunter2":1,"hunter2":2}`, `{"a":"\hunter2"}`, "\"hunter2\xff\"", `["hunter2" hunter2]`, `"hunter2` + strings.Repeat("x", 2*ledger.MaxValue),
	} {
		if _, err := ledger.ParseValue(text); err == nil || strings.Contains(err.Error(), "hunter2") || strings.Contains(err.Error(), `\h`) {
			t.Errorf("%.40q: %v", text, err)
		}
	}
}

func FuzzParseValue(f *testing.F) {
	for _, s := range []string{`{"a": [1, 2.0, -1e5, "x\u00e4", null, true]}`, "9007199254740993", ` " a " `, "[[[[]]]]", `{"":{"":""}}`, `"\ud83d\ude00"`, "\"\u2028\"", "<>&"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		v, err := ledger.ParseValue(s)
		if err != nil {
			return
		}
		if again, err := ledger.ParseValue(string(v)); err != nil || again != v {
			t.Fatalf("%q is kept as %q, and that as %q: %v", s, v, again, err)
		}
		var compact bytes.Buffer
		if err := json.Compact(&compact, []byte(v)); err != nil || compact.String() != string(v) {
			t.Fatalf("%q is kept as %q, which is %q without white space: %v", s, v, &compact, err)
		}
		if before, after := meaning(t, s), meaning(t, string(v)); !reflect.DeepEqual(before, after) {
			t.Fatalf("%q means %v and is kept as %q, which means %v", s, before, v, after)
		}
	})
}

// meaning is what encoding/json reads, with exact numbers.
func meaning(t *testing.T, s string) any {
	d := json.NewDecoder(strings.NewReader(s))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		t.Fatalf("%q was accepted, and encoding/json says: %v", s, err)
	}
	if _, err := d.Token(); err != io.EOF {
		t.Fatalf("%q was accepted, and more than one value is in it", s)
	}
	return v
}
