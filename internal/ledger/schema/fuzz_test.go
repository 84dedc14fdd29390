package schema

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stelehq/stele/internal/ledger"
)

// hostile are documents that are after a panic, a hang, or a file.
var hostile = []string{
	`{"$ref":"#"}`,
	`{"allOf":[{"$ref":"#/$defs/a"}],"$defs":{"a":{"anyOf":[{"$ref":"#"}]}}}`,
	`{"$ref":"file:///etc/passwd"}`,
	`{"$ref":"/etc/passwd"}`,
	`{"$ref":"https://example.com/x"}`,
	`{"$schema":"file:///etc/passwd"}`,
	`{"$schema":"stele:///p"}`,
	`{"$schema":"https://example.com/meta"}`,
	`{"$id":"http://json-schema.org/draft-07/schema","$ref":"schema"}`,
	`{"$id":"file:///etc/","$ref":"passwd"}`,
	`{"$dynamicRef":"#x","$dynamicAnchor":"x"}`,
	`{"minimum":1e999999999}`,
	`{"multipleOf":1e-999999999}`,
	`{"minLength":1e300}`,
	`{"pattern":"(((a{100}){100}){100})"}`,
	`{"pattern":"` + strings.Repeat("(a{1000})", 100) + `"}`,
	`{"pattern":"(a*)*b"}`,
	`{"enum":[` + strings.Repeat(`{"a":[1,2,3]},`, 1000) + `1]}`,
	strings.Repeat(`{"not":`, 200) + `true` + strings.Repeat(`}`, 200),
	`{"allOf":[` + strings.Repeat(`{},`, 5000) + `{}]}`,
	`{"$defs":{"~":1,"%":{"$ref":"#/$defs/~0"}},"$ref":"#/$defs/%25"}`,
	`{"properties":{"$ref":{"$ref":"#"}}}`,
	`{"$anchor":"a","items":{"$ref":"#a"}}`,
	`{"uniqueItems":true,"items":{"const":1e400}}`,
	`{"if":{"$ref":"#/$defs/x"},"then":false,"$defs":{"x":{"format":"regex"}}}`,
	`{"unevaluatedProperties":false,"allOf":[{"properties":{"a":true}}]}`,
	`{"dependentSchemas":{"a":{"$ref":"#"}}}`,
	`true`, `false`, `1`, `[]`, `{}`, `"x"`,
}

// bomb wants a number of steps that is exponential in its length.
func bomb() string {
	var b strings.Builder
	b.WriteString(`{"$ref":"#/$defs/d00","$defs":{`)
	for i := range 40 {
		b.WriteString(`"d` + itoa(i) + `":{"allOf":[{"$ref":"#/$defs/d` + itoa(i+1) + `"},{"$ref":"#/$defs/d` + itoa(i+1) + `"}]},`)
	}
	b.WriteString(`"d40":{"type":"integer"}}}`)
	return b.String()
}

func itoa(i int) string { return string(rune('0'+i/10)) + string(rune('0'+i%10)) }

func alone(document string) *Set {
	return (*Set)(nil).with("acme", []Document{{Prefix: "p", Text: ledger.Value(document)}})
}

// FuzzDocument compiles and applies arbitrary documents: neither may panic, hang or
// load anything.
func FuzzDocument(f *testing.F) {
	for _, d := range append(hostile, bomb()) {
		f.Add(d, `{"a":[1,2,{"b":"ccc"}]}`)
		f.Add(d, `[[[[1]]],1e400,"aaaaaaaaaaaaaaaaaaaa"]`)
	}
	f.Fuzz(func(t *testing.T, document, value string) {
		d, err := ledger.ParseValue(document)
		if err != nil {
			return
		}
		v, err := ledger.ParseValue(value)
		if err != nil {
			return
		}
		begun := time.Now()
		s := alone(string(d))
		if s.compile("p").err == nil {
			for _, hidden := range []bool{false, true} {
				found, _, err := s.Check(t.Context(), "p", v, hidden)
				if err != nil {
					t.Fatal(err)
				}
				for _, w := range found {
					if hidden && w.Found != `"***"` {
						t.Errorf("a secret's %v", w)
					}
					_ = w.String()
				}
			}
		}
		if took := time.Since(begun); took > 10*time.Second {
			t.Errorf("took %s", took)
		}
	})
}

// FuzzSameAsTheLibrary compares what is applied here with what the library that compiles
// makes of it, which has no bounds and passes the suite of the standard.
func FuzzSameAsTheLibrary(f *testing.F) {
	documents := []string{
		`{"type":"object","properties":{"a":{"type":"integer"},"b":{"type":["string","null"]}},"required":["a"],"additionalProperties":false}`,
		`{"properties":{"a":true},"patternProperties":{"^x":{"type":"string"}},"unevaluatedProperties":false}`,
		`{"allOf":[{"properties":{"a":true}}],"anyOf":[{"properties":{"b":{"type":"integer"}}},{"required":["c"]}],"unevaluatedProperties":{"type":"string"}}`,
		`{"oneOf":[{"type":"integer"},{"minimum":2},{"multipleOf":0.1}]}`,
		`{"prefixItems":[{"type":"integer"}],"items":{"type":"string"},"minItems":1,"maxItems":3,"uniqueItems":true}`,
		`{"prefixItems":[true],"contains":{"type":"string"},"unevaluatedItems":false}`,
		`{"contains":{"minimum":2},"minContains":1,"maxContains":2}`,
		`{"contains":{"minimum":2},"minContains":0}`,
		`{"if":{"properties":{"a":{"const":1}},"required":["a"]},"then":{"required":["b"]},"else":{"not":{"required":["b"]}}}`,
		`{"enum":[1,1.5,"a",null,[1],{"a":1}]}`,
		`{"const":{"a":[1,2.0]}}`,
		`{"minLength":2,"maxLength":3,"pattern":"^a"}`,
		`{"exclusiveMinimum":1,"exclusiveMaximum":3,"multipleOf":0.5}`,
		`{"propertyNames":{"maxLength":1},"minProperties":1,"maxProperties":2}`,
		`{"dependentRequired":{"a":["b"]},"dependentSchemas":{"b":{"required":["c"]}},"dependencies":{"c":["d"],"d":{"required":["a"]}}}`,
		`{"$defs":{"t":{"type":"array","items":{"$ref":"#/$defs/t"}}},"$ref":"#/$defs/t"}`,
		`{"anyOf":[{"prefixItems":[true]},{"prefixItems":[true,true]}],"unevaluatedItems":{"type":"string"}}`,
		`{"format":"date-time"}`, `{"format":"ipv4"}`, `{"format":"email"}`, `{"not":{}}`, `false`,
		`{"allOf":[{"unevaluatedProperties":true}],"unevaluatedProperties":false}`,
		`{"if":{"properties":{"a":{"const":1}}},"unevaluatedProperties":false}`,
	}
	values := []string{
		`1`, `1.0`, `2`, `0.3`, `-1`, `"a"`, `"aé"`, `"abcd"`, `null`, `true`, `[]`, `[1]`, `[1,"a"]`, `[1,1.0]`, `[2,3,4]`, `["a",1]`, `[[],[[]]]`, `[[1]]`,
		`{}`, `{"a":1}`, `{"a":"x"}`, `{"a":1,"b":null}`, `{"a":1,"b":2,"c":3}`, `{"a":1,"c":"s","d":"t"}`, `{"xa":"s"}`, `{"xa":1}`, `{"a":[1,2]}`, `{"ab":1}`,
		`{"b":1}`, `"2025-03-04T08:00:00Z"`, `"127.0.0.1"`, `"a@b.c"`,
	}
	for _, d := range documents {
		for _, v := range values {
			f.Add(d, v)
		}
	}
	f.Fuzz(func(t *testing.T, document, value string) {
		if len(document) > 2000 || len(value) > 2000 {
			return // the library's own time is not bounded
		}
		d, err := ledger.ParseValue(document)
		if err != nil {
			return
		}
		v, err := ledger.ParseValue(value)
		if err != nil {
			return
		}
		c := alone(string(d)).compile("p")
		if c.err != nil {
			return
		}
		decoded, err := decode(v)
		if err != nil {
			return
		}
		found, _, err := apply(t.Context(), c, "acme", v, false)
		if err != nil {
			t.Fatal(err)
		}
		for _, w := range found {
			if w.Why == errSteps.Error() || w.Why == errNumber.Error() {
				return
			}
		}
		if want := lib(c.root, decoded); (want == nil) != (len(found) == 0) {
			t.Errorf("%s\nholds %s\nhere: %v\nthe library: %v", d, v, found, want)
		}
	})
}

// lib is what the library says; it panics at numbers that it cannot compare.
func lib(s *jsonschema.Schema, v any) error { return s.Validate(v) }

func TestCheck_HostileDocuments(t *testing.T) {
	big := ledger.Value("[" + strings.Repeat(`"aaaaaaaaaaaaaaaa",`, 20_000) + `1]`)
	long := ledger.Value(`"` + strings.Repeat("a", 500_000) + `"`)
	deep := ledger.Value(strings.Repeat("[", 9_000) + strings.Repeat("]", 9_000))
	for _, tc := range []struct {
		name, document string
		value          ledger.Value
		want           string // the reason why the schema or the value is invalid; empty if it is valid
	}{
		{"a bomb of references", bomb(), `1`, "takes too long"},
		{"one that grows with the value", `{"allOf":[{"items":{"$ref":"#"}},{"items":{"$ref":"#"}}]}`, deep, "takes too long"},
		{"a deep value", `{"items":{"$ref":"#"}}`, deep, ""},
		{"a pattern and a text that are long", `{"pattern":"(a?){900}a{900}b"}`, long, "takes too long"},
		{"an easy pattern and a long text", `{"pattern":"^a*$"}`, long, ""},
		{"a pattern that is too large", `{"pattern":"(a{1000}){100}"}`, `1`, "invalid"},
		{"many patterns", `{"allOf":[` + manyPatterns() + `true]}`, `1`, "too large"},
		{"an enum for each of many", `{"items":{"enum":[` + strings.Repeat(`"aaaaaaaaaaaaaaab",`, 1000) + `1]}}`, big, "takes too long"},
		{"a number in the document", `{"maximum":1e5000}`, `1`, "exponent beyond"},
		{"a number in the value", `{"maximum":1}`, `1e5000`, "exponent beyond"},
		{"a number that is not compared", `{"type":"number"}`, `1e5000`, ""},
		{"deeper than documents may be", strings.Repeat(`{"not":`, 101) + `true` + strings.Repeat(`}`, 101), `1`, "nested deeper"},
		{"more than documents may hold", `{"enum":[` + strings.Repeat(`1,`, maxNodes) + `1]}`, `1`, "holds more than"},
		{"a large document", `{"title":"` + strings.Repeat("a", MaxDocument) + `"}`, `1`, "more than 65536"},
		{"names that are merged by a chain of schemas", chain(900), names(1500), "takes too long"},
		{"a short chain of schemas", chain(9), names(1500), ""},
		{"names that are sorted by each of many", `{"allOf":[` + strings.Repeat(`{"propertyNames":true},`, 900) + `true]}`, names(1500), "takes too long"},
		{"a small number in the document", `{"maximum":1.7e-999}`, `1`, "exponent beyond"},
		{"numbers with many bits", `{"items":{"allOf":[` + strings.Repeat(`{"multipleOf":1e-400},`, 500) + `true]}}`, ledger.Value("[" + strings.Repeat("1e400,", 200) + "1]"), "takes too long"},
		{"numbers that are large", `{"items":{"minimum":1e308}}`, ledger.Value("[" + strings.Repeat("1e308,", 200) + "1e308]"), ""},
		{"a regular expression as a value", `{"format":"regex"}`, ledger.Value(`"` + strings.Repeat(".{999}", 2000) + `"`), "takes too long"},
		{"a short regular expression", `{"format":"regex"}`, `"^[a-z]{1,9}$"`, ""},
		{"a dynamic reference", `{"$dynamicRef":"#x","$dynamicAnchor":"x"}`, `1`, "$dynamicRef"},
		{"a draft by its name", `{"$ref":"http://json-schema.org/draft-07/schema"}`, `1`, "another draft"},
		{"another value than const", `{"const":1}`, `2`, `must equal the value of "const"`},
		{"a schema that must not match", `{"not":{"type":"string"}}`, `"a"`, `must not match the schema in "not"`},
		{"elements that are the same, by meaning", `{"uniqueItems":true}`, `[1,{"a":[1.0],"b":2},{"b":2e0,"a":[1]}]`, "must not have an element twice"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := alone(tc.document)
			if err := s.compile("p").err; err != nil {
				if tc.want == "" || !strings.Contains(err.Error(), tc.want) {
					t.Errorf("%v, want %q", err, tc.want)
				}
				return
			}
			found, _, err := s.Check(t.Context(), "p", tc.value, false)
			if err != nil {
				t.Fatal(err)
			}
			switch {
			case tc.want == "" && len(found) > 0:
				t.Errorf("%v", found)
			case tc.want != "" && (len(found) == 0 || !strings.Contains(found[0].String(), tc.want)):
				t.Errorf("%v, want %q", found, tc.want)
			}
		})
	}
}

func manyPatterns() string {
	var b strings.Builder
	for i := range 60 {
		b.WriteString(`{"pattern":"a{990}` + itoa(i) + `"},`)
	}
	return b.String()
}

// chain is a schema that leads to one of properties through n others, and asks at its end
// which of them were looked at.
func chain(n int) string {
	var b strings.Builder
	b.WriteString(`{"$ref":"#/$defs/0","unevaluatedProperties":false,"$defs":{`)
	for i := range n {
		fmt.Fprintf(&b, `"%d":{"$ref":"#/$defs/%d"},`, i, i+1)
	}
	fmt.Fprintf(&b, `"%d":{"additionalProperties":true}}}`, n)
	return b.String()
}

// names is an object with n members.
func names(n int) ledger.Value {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `,"n%d":1`, i)
	}
	return ledger.Value("{" + b.String()[1:] + "}")
}

// A check ends with its context, also in the middle of a value.
func TestCheck_EndsWithItsContext(t *testing.T) {
	s := alone(bomb())
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if found, _, err := s.Check(ctx, "p", "1", false); !errors.Is(err, context.Canceled) || len(found) > 0 {
		t.Errorf("%v, %v", found, err)
	}
	small := &check{ctx: ctx, steps: maxSteps, look: stepsALook}
	defer func() {
		if p := recover(); p != errCanceled {
			t.Errorf("%v after %d steps", p, maxSteps-small.steps)
		}
	}()
	for range stepsALook + 1 {
		small.spend(1)
	}
	t.Error("the check continues")
}
