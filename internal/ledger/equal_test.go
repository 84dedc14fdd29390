package ledger_test

import (
	"testing"

	"github.com/stelehq/stele/internal/ledger"
)

func TestEqual_ByMeaning(t *testing.T) {
	for _, tc := range []struct {
		a, b ledger.Value
		want bool
	}{
		{`1`, `1`, true},
		{`1.0`, `1`, true},
		{`100`, `1e2`, true},
		{`1E+2`, `100.00`, true},
		{`0.001`, `1e-3`, true},
		{`-0`, `0`, true},
		{`0e99`, `0`, true},
		{`-1`, `1`, false},
		{`9007199254740993`, `9007199254740992`, false},
		{`9007199254740993.0`, `9007199254740993`, true},
		{`1e99999999999999999999`, `1e99999999999999999999`, true},
		{`1e99999999999999999999`, `1e99999999999999999998`, false},
		{`1e9223372036854775807`, `1e-9223372036854775808`, false},
		{`0.1`, `0.10000000000000000001`, false},
		{`"a"`, `"\u0061"`, true},
		{`"a"`, `"A"`, false},
		{`"a/b"`, `"a\/b"`, true},
		{`"a\/b"`, `"a\u002fb"`, true},
		{`"\\"`, `"\""`, false},
		{`true`, `false`, false},
		{`-1.0`, `-1`, true},
		{`"1"`, `1`, false},
		{`null`, `false`, false},
		{`{"a":1,"b":2}`, `{"b":2.0,"a":1}`, true},
		{`{"a":1,"b":2}`, `{"a":1}`, false},
		{`{"a:1,b":2}`, `{"a":1,"b":2}`, false},
		{`{"a":{"x":[1,{"y":null}]}}`, `{"a":{"x":[1.0,{"\u0079":null}]}}`, true},
		{`[1,2]`, `[2,1]`, false},
		{`[]`, `{}`, false},
		{`[1,[2]]`, `[1,2]`, false},
		{``, `null`, false},
		{``, ``, true},
	} {
		if got := tc.a.Equal(tc.b); got != tc.want {
			t.Errorf("%q equal to %q: %v", tc.a, tc.b, got)
		}
		if got := tc.b.Equal(tc.a); got != tc.want {
			t.Errorf("%q equal to %q: %v", tc.b, tc.a, got)
		}
	}
}

// Every commit compares its values with the ones that they replace.
func TestEqual_StringsWithoutEscapes(t *testing.T) {
	a, b := ledger.Value(`"one"`), ledger.Value(`"another"`)
	if n := testing.AllocsPerRun(100, func() {
		if a.Equal(b) {
			t.Fatal("equal")
		}
	}); n > 0 {
		t.Errorf("comparing two strings without escapes allocates %.0f times", n)
	}
}
