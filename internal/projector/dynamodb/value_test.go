package dynamodb

import (
	"errors"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/stelehq/stele/internal/ledger"
	"pgregory.net/rapid"
)

func TestValue_NumbersAreExact(t *testing.T) {
	nines := strings.Repeat("9", 38)
	for in, want := range map[string]string{
		"0": "0", "-0": "0", "0.0": "0", "0e999": "0", "0e99999999999999999999": "0",
		"1": "1", "-1.5": "-1.5", "1.0": "1.0",
		"9007199254740993": "9007199254740993",
		"1e3":              "1E3", "-1.20E+2": "-12E1", "1e125": "1E125", "1e-130": "1E-130",
		nines: nines, nines + "e88": nines + "E88", "0." + nines: nines + "E-38",
		"1" + strings.Repeat("0", 125):        "1E125",
		"1." + strings.Repeat("0", 500):       "1E0",
		"0." + strings.Repeat("0", 129) + "1": "1E-130",
		nines + "9":                           "",
		"1" + nines:                           "",
		nines + "e89":                         "",
		"1e126":                               "",
		"1e-131":                              "",
		"1.1e-130":                            "",
		"1e99999999999999999999":              "",
		"1e9223372036854775807":               "",
		"-1e-9223372036854775808":             "",
		"0." + strings.Repeat("0", 200000) + "1e5":  "",
		"1" + strings.Repeat("0", 200000):           "",
		"1" + strings.Repeat("0", 1000) + "e-1000":  "1E0",
		"0." + strings.Repeat("0", 999) + "1e1000":  "1E0",
		"-0." + strings.Repeat("0", 999) + "1e1000": "-1E0",
	} {
		got, ok := exact(in)
		if got != want || ok != (want != "") {
			t.Errorf("%.60s is written %q, %v, want %q", in, got, ok, want)
		}
		if ok && got != "0" && !ledger.Value(got).Equal(ledger.Value(in)) {
			t.Errorf("%.60s is written %q, which is another number", in, got)
		}
	}
}

// held generates JSON that DynamoDB holds as it is.
func held(depth int) *rapid.Generator[string] {
	kinds := []*rapid.Generator[string]{
		rapid.SampledFrom([]string{"null", "true", "false", `""`, "[]", "{}"}),
		rapid.StringMatching(`-?(0|[1-9][0-9]{0,17})(\.[0-9]{1,18})?([eE][+-]?[0-9]{1,2})?`),
		rapid.Custom(func(t *rapid.T) string { return quoted(rapid.String().Draw(t, "string")) }),
	}
	if depth > 0 {
		kinds = append(kinds, rapid.Custom(func(t *rapid.T) string {
			return "[" + strings.Join(rapid.SliceOfN(held(depth-1), 0, 4).Draw(t, "elements"), ",") + "]"
		}), rapid.Custom(func(t *rapid.T) string {
			var members []string
			for name, v := range rapid.MapOfN(rapid.StringN(1, 8, -1), held(depth-1), 0, 4).Draw(t, "members") {
				members = append(members, quoted(name)+":"+v)
			}
			return "{" + strings.Join(members, ",") + "}"
		}))
	}
	return rapid.OneOf(kinds...)
}

func quoted(s string) string {
	v, err := plain(text(strings.ToValidUTF8(s, "?")))
	if err != nil {
		panic(err)
	}
	return string(v)
}

func TestValue_RoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v, err := ledger.ParseValue(held(4).Draw(t, "value"))
		if err != nil {
			t.Skip(err) // two names that became the same
		}
		n, err := native(v, 1)
		if err != nil {
			t.Fatal(err)
		}
		back, err := plain(n)
		if err != nil || !v.Equal(back) {
			t.Fatalf("%s is returned as %s, %v", v, back, err)
		}
		again, err := native(back, 1)
		if err != nil || !equal(n, again) {
			t.Fatalf("%s is another attribute than %s, %v", v, back, err)
		}
	})
}

func TestValue_Unsupported(t *testing.T) {
	for v, want := range map[ledger.Value]error{
		`{"":1}`:          errNoName,
		`[{"a":{"":[]}}]`: errNoName,
		ledger.Value(strings.Repeat("[", 32) + strings.Repeat("]", 32)):       nil,
		ledger.Value(strings.Repeat("[", 31) + "1" + strings.Repeat("]", 31)): nil,
		ledger.Value(strings.Repeat("[", 32) + "1" + strings.Repeat("]", 32)): errDeep,
		ledger.Value(strings.Repeat("[", 33) + strings.Repeat("]", 33)):       errDeep,
	} {
		if _, err := native(v, 1); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", v, err, want)
		}
	}
	n, err := native(`[1e999,{"a":-1e-999}]`, 1)
	want := &types.AttributeValueMemberL{Value: []types.AttributeValue{text("1e999"),
		&types.AttributeValueMemberM{Value: attributes{"a": text("-1e-999")}}}}
	if err != nil || !equal(n, want) {
		t.Errorf("numbers out of range are %v, %v, not strings", n, err)
	}
}

// Whatever JSON the ledger takes, what DynamoDB has of it stays what it is.
func FuzzNative(f *testing.F) {
	for _, s := range []string{`[1e999,{"a":-1.50e-3}]`, `{"":1}`, `{"\u00e9":"\ud83c\udf88"}`, `[[[[]]],null,true]`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		v, err := ledger.ParseValue(s)
		if err != nil {
			return
		}
		n, err := native(v, 1)
		if errors.Is(err, errDeep) || errors.Is(err, errNoName) {
			return
		}
		if err != nil {
			t.Fatalf("%s: %v", v, err)
		}
		back, err := plain(n)
		if err != nil {
			t.Fatalf("%s: %v", v, err)
		}
		if again, err := native(back, 1); err != nil || !equal(n, again) {
			t.Fatalf("%s is read back as %s, and that is another attribute: %v", v, back, err)
		}
	})
}

// Types that only manual edits create are JSON as well.
func TestValue_TypesWithoutJSON(t *testing.T) {
	for want, v := range map[ledger.Value]types.AttributeValue{
		`["a","b"]`:    &types.AttributeValueMemberSS{Value: []string{"a", "b"}},
		`[1,2.5]`:      &types.AttributeValueMemberNS{Value: []string{"1", "2.5"}},
		`"AQI="`:       &types.AttributeValueMemberB{Value: []byte{1, 2}},
		`["AQ==",""]`:  &types.AttributeValueMemberBS{Value: [][]byte{{1}, {}}},
		`{"a":["AA"]}`: &types.AttributeValueMemberM{Value: attributes{"a": &types.AttributeValueMemberSS{Value: []string{"AA"}}}},
	} {
		if got, err := plain(v); err != nil || got != want {
			t.Errorf("%v is %s, %v, want %s", v, got, err, want)
		}
	}
}

// Examples by AWS's rules, by hand.
func TestItemSize(t *testing.T) {
	for _, c := range []struct {
		item attributes
		want int
	}{
		{attributes{}, 0},
		{attributes{"abc": text("größe")}, 3 + 7},
		{attributes{"n": &types.AttributeValueMemberNULL{Value: true}, "b": &types.AttributeValueMemberBOOL{}}, 4},
		{attributes{"l": &types.AttributeValueMemberL{}}, 1 + 3},
		{attributes{"l": &types.AttributeValueMemberL{Value: []types.AttributeValue{text("ab"), text("")}}}, 1 + 3 + 2*1 + 2},
		{attributes{"m": &types.AttributeValueMemberM{Value: attributes{"ab": text("c")}}}, 1 + 3 + 1 + 2 + 1},
	} {
		if got := itemSize(c.item); got != c.want {
			t.Errorf("%v has %d bytes, want %d", c.item, got, c.want)
		}
	}
	for n, least := range map[string]int{"0": 1, "7": 2, "-12": 3, "1234": 3, "-12345": 5, "0.001": 2, "123E-5": 3} {
		if got := valueSize(&types.AttributeValueMemberN{Value: n}); got < least || got > least+3 {
			t.Errorf("%s has %d bytes, want about %d", n, got, least)
		}
	}
}

func TestLayout_KeysOfItems(t *testing.T) {
	l := presets[presetSample]
	at, err := l.primaryKey("acme", "tenant_config_payment/gateway")
	if err != nil || at != (primaryKey{"TENANT#acme", "CONFIG#payment/gateway"}) {
		t.Fatalf("%v, %v", at, err)
	}
	if tenant, ok := l.tenant(at); !ok || tenant != "acme" || l.key(at) != "tenant_config_payment/gateway" {
		t.Errorf("%s, %v, %s", tenant, ok, l.key(at))
	}
	for _, sort := range []string{"CONFIG#", "CONFIG", "USER#a", "CONFIG#a b", "CONFIG#a//b", ""} {
		if k := l.key(primaryKey{at.partition, sort}); k != "" {
			t.Errorf("%q is the key %s", sort, k)
		}
	}
	for _, k := range []ledger.Key{"tenantconfig/a", "tenant_config_", "a"} {
		if at, err := l.primaryKey("acme", k); err == nil {
			t.Errorf("%s is at %v", k, at)
		}
	}
}
