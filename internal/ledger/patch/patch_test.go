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
	"github.com/stelehq/stele/internal/ledger"
	"pgregory.net/rapid"
)

func TestBetween_NamesPlaces(t *testing.T) {
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
		{"elements at the end", `["x","x",1]`, `["x","x",2,3]`, []string{`replace /2 1 2`, `add /3  3`}},
		{"equal elements, one removed", `[1,1,1,1]`, `[1,1,1]`, []string{`remove /3 1 `}},
		{"equal elements around a change", `[0,1,0,1,0]`, `[0,1,0,0]`, []string{`remove /3 1 `}},
		{"an element moved", `["a","b","c"]`, `["c","a","b"]`, []string{`add /0  "c"`, `remove /3 "c" `}},
		{"an object in an array, members in another order", `[{"a":1,"b":2},3]`, `[0,{"b":2,"a":1},3]`, []string{`add /0  0`}},
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

// many is an array of n elements.
func many(n int, element func(i int) string) string {
	elements := make([]string, n)
	for i := range elements {
		elements[i] = element(i)
	}
	return "[" + strings.Join(elements, ",") + "]"
}

func TestBetween_LongArrays(t *testing.T) {
	number := func(i int) string { return fmt.Sprint(i) }
	object := func(i int) string { return fmt.Sprintf(`{"name":"n%d","port":%d}`, i, 8000+i%7) }
	few := func(i int) string { return fmt.Sprint(i * i % 3) }
	for _, c := range []struct {
		name, from, to string
		most           int // operations
	}{
		{"the first of 20,000 removed", many(20_000, number), many(19_999, func(i int) string { return number(i + 1) }), 1},
		{"the first of 20,000 objects removed", many(20_000, object), many(19_999, func(i int) string { return object(i + 1) }), 1},
		{"the first of 500 objects removed", many(500, object), many(499, func(i int) string { return object(i + 1) }), 1},
		{"one put in the middle", many(20_000, number), many(20_001, func(i int) string {
			if i > 10_000 {
				i--
			} else if i == 10_000 {
				i = 99_999
			}
			return number(i)
		}), 1},
		{"the first of 20,000 equal ones removed", many(20_000, few), many(19_999, func(i int) string { return few(i + 1) }), 2},
		{"nothing in common", many(20_000, number), many(20_000, func(i int) string { return number(i + 20_000) }), 20_000},
	} {
		got, err := Between(ledger.Value(c.from), ledger.Value(c.to))
		if err != nil || len(got) == 0 || len(got) > c.most {
			t.Errorf("%s: %d operations, want at most %d; %v", c.name, len(got), c.most, err)
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

func TestBetween_PatchedOldIsNew(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		from, to := value(3).Draw(t, "from"), value(3).Draw(t, "to")
		if n := rapid.SampledFrom([]int{0, 0, maxEdits}).Draw(t, "padding"); n > 0 {
			// So much before them, and in another way, that a search gives up.
			few := func(of int) func(int) string { return func(i int) string { return fmt.Sprint(i * i % of) } }
			from, to = "["+many(n, few(5))+","+from+"]", "["+many(n, few(7))+","+to+"]"
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
