package mark

import (
	"math"
	"testing"

	"github.com/stelehq/stele/internal/ledger"
	"pgregory.net/rapid"
)

func TestMarks(t *testing.T) {
	e := ledger.Epoch{0x14, 0xc5, 0x5d, 0x38, 0x97, 0x91, 0x6f, 0x93}
	for _, m := range []Mark{{e, 42, true}, {e, 1, false}, {ledger.Epoch{}, math.MaxUint64, true}} {
		if got, ok := Parse(m.Format()); !ok || got != m {
			t.Errorf("%s is read as %v, %v", m.Format(), got, ok)
		}
	}
	for _, description := range []string{
		"", "stele", "mine", "stele 14c55d3897916f93/42", "stele 14c55d3897916f93/42 text", "stele 14c55d3897916f93/0 json",
		"stele 14c55d3897916f93/042 json", "stele 14c55d3897916f93/+42 json", "stele 14C55D3897916F93/42 json", "stele 14c55d3897916f9/42 json",
		"stele 14c55d3897916f93/42 json ", "stele  14c55d3897916f93/42 json", "Stele 14c55d3897916f93/42 json", "stele 14c55d3897916f93/42 json by me",
		"stele 14c55d3897916f93/18446744073709551616 json", "stele 14c55d3897916f93/42 strings", "stele 14c55d3897916f93/42\njson",
	} {
		if m, ok := Parse(description); ok {
			t.Errorf("%q is read as %v", description, m)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("stele 14c55d3897916f93/42 string")
	f.Add("stele 14c55d3897916f93/18446744073709551615 json")
	f.Fuzz(func(t *testing.T, description string) {
		if m, ok := Parse(description); ok && m.Format() != description {
			t.Fatalf("%q is read as %v", description, m)
		}
	})
}

// A written value is read back as the same value.
func TestValues(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		raw := rapid.OneOf(
			rapid.StringMatching(`"([a-z{}\[\]0-9 ,:]|\\"|\\n|\\u00e9)*"`),
			rapid.SampledFrom([]string{`null`, `true`, `250`, `1.0`, `-0`, `{}`, `[]`, `{"a":"b"}`, `["x"]`, `"250"`, `"null"`, `"\"x\""`}),
		).Draw(t, "value")
		v, err := ledger.ParseValue(raw)
		if err != nil {
			t.Skip(err)
		}
		s, isString, err := Text(v)
		if err != nil {
			return
		}
		if got := Value(s, isString); !got.Equal(v) {
			t.Fatalf("%s is written as %q and read as %s", v, s, got)
		}
	})
}

// FuzzValue: any text of an item is a value, which is written as the same value.
func FuzzValue(f *testing.F) {
	f.Add("250", false)
	f.Add(`{"a":1,"a":2}`, false)
	f.Add("by \xff hand", true)
	f.Fuzz(func(t *testing.T, text string, isString bool) {
		v := Value(text, isString)
		if _, err := ledger.ParseValue(string(v)); err != nil {
			if len(v) <= ledger.MaxValue {
				t.Fatalf("%q is read as %s: %v", text, v, err)
			}
			return
		}
		again, kind, err := Text(v)
		if err != nil {
			t.Fatalf("%q is read as %s: %v", text, v, err)
		}
		if got := Value(again, kind); !got.Equal(v) || isString && !kind {
			t.Fatalf("%q is read as %s, written as %q, and read as %s", text, v, again, got)
		}
	})
}

// A manual edit of a string is a string; elsewhere it is JSON if it is valid JSON.
func TestValues_EditedByHand(t *testing.T) {
	for _, c := range []struct {
		text     string
		isString bool
		want     ledger.Value
	}{
		{`250`, true, `"250"`}, {`250`, false, `250`}, {` {"a" : 1}`, false, `{"a":1}`}, {`{"a":1}`, true, `"{\"a\":1}"`},
		{`by hand`, false, `"by hand"`}, {`"quoted"`, false, `"quoted"`}, {`"quoted"`, true, `"\"quoted\""`}, {`{`, false, `"{"`}, {`{"a":1,"a":2}`, false, `"{\"a\":1,\"a\":2}"`},
	} {
		if got := Value(c.text, c.isString); got != c.want {
			t.Errorf("%q, string %v, is %s, want %s", c.text, c.isString, got, c.want)
		}
	}
}
