package patch

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	jsonpatch "github.com/evanphx/json-patch/v5"
	"github.com/google/go-cmp/cmp"
	"github.com/stelehq/stele/ledger"
	"pgregory.net/rapid"
)

func TestAPatchNamesThePlaces(t *testing.T) {
	long := strings.Repeat(`"x",`, aligned/4)
	for _, c := range []struct {
		name, from, to string
		want           []string
	}{
		{"the same", `{"a":[1,2]}`, `{"a":[1,2]}`, nil},
		{"a scalar", `1`, `2`, []string{`replace  1 2`}},
		{"another kind", `{"a":1}`, `[1]`, []string{`replace  {"a":1} [1]`}},
		{"null is a value", `1`, `null`, []string{`replace  1 null`}},
		{"beyond what a float holds", `{"n":9007199254740993}`, `{"n":9007199254740992}`, []string{`replace /n 9007199254740993 9007199254740992`}},
		{"names", `{"a/b":1,"c~":2}`, `{"a/b":3,"<d>":null}`, []string{`add /<d>  null`, `replace /a~1b 1 3`, `remove /c~0 2 `}},
		{"a name that is empty", `{"":{}}`, `{"":{"a":1}}`, []string{`add //a  1`}},
		{"an element put in front", `["b","c"]`, `["a","b","c"]`, []string{`add /0  "a"`}},
		{"elements taken out", `{"x":[1,2,3,4]}`, `{"x":[2,4]}`, []string{`remove /x/0 1 `, `remove /x/1 3 `}},
		{"inside an array", `[{"a":1},{"a":2}]`, `[{"a":1},{"a":3}]`, []string{`replace /1/a 2 3`}},
		{"long arrays, place by place", `[` + long + `1]`, `[` + long + `2,3]`, []string{fmt.Sprintf(`replace /%d 1 2`, aligned/4), `add /-  3`}},
	} {
		got, err := Between(ledger.Value(c.from), ledger.Value(c.to))
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		var lines []string
		for _, o := range got {
			lines = append(lines, fmt.Sprintf("%s %s %s %s", o.Op, o.Path, o.Was, o.Value))
		}
		if d := cmp.Diff(c.want, lines); d != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, d)
		}
	}
}

// value draws any JSON, of few names and scalars so that two have much in common.
// No name is empty: the library that applies the patch takes that for the whole.
func value(depth int) *rapid.Generator[string] {
	scalars := rapid.SampledFrom([]string{`1`, `1.0`, `9007199254740993`, `"a"`, `"\u003c~/"`, `true`, `null`})
	if depth == 0 {
		return scalars
	}
	inner := value(depth - 1)
	return rapid.OneOf(scalars,
		rapid.Map(rapid.SliceOfN(inner, 0, 6), func(of []string) string { return "[" + strings.Join(of, ",") + "]" }),
		rapid.Map(rapid.MapOfN(rapid.SampledFrom([]string{"a", "b", "x/y", "~", "0", "-"}), inner, 0, 5), func(of map[string]string) string {
			var members []string
			for _, name := range slices.Sorted(maps.Keys(of)) {
				members = append(members, fmt.Sprintf("%q:%s", name, of[name]))
			}
			return "{" + strings.Join(members, ",") + "}"
		}),
	)
}

func TestTheOldValuePatchedIsTheNew(t *testing.T) {
	padding := `,"` + strings.Repeat("x", aligned) + `"]`
	rapid.Check(t, func(t *rapid.T) {
		from, to := value(3).Draw(t, "from"), value(3).Draw(t, "to")
		if rapid.Bool().Draw(t, "long") {
			from, to = "["+from+padding, "["+to+padding
		}
		operations, err := Between(ledger.Value(from), ledger.Value(to))
		if err != nil {
			t.Fatal(err)
		}
		// The document is wrapped, because the library takes no scalar.
		for i := range operations {
			operations[i].Path = "/doc" + operations[i].Path
		}
		text, err := json.Marshal(operations)
		if err != nil {
			t.Fatal(err)
		}
		p, err := jsonpatch.DecodePatch(text)
		if err != nil {
			t.Fatal(err)
		}
		got, err := p.Apply([]byte(`{"doc":` + from + `}`))
		if err != nil {
			t.Fatalf("%s\n%v", text, err)
		}
		var have, want any
		if err := unmarshal(got, &have); err != nil {
			t.Fatal(err)
		}
		if err := unmarshal([]byte(`{"doc":`+to+`}`), &want); err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want, have); d != "" {
			t.Fatalf("%s makes of\n%s\nthis (-want +got):\n%s", text, from, d)
		}
	})
}
