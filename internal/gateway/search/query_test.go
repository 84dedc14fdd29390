package search

import (
	"errors"
	"runtime"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stelehq/stele/internal/ledger"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
)

const (
	inKeys   = stelev1.SearchRequest_IN_KEYS
	inValues = stelev1.SearchRequest_IN_VALUES
)

func TestQuery(t *testing.T) {
	for _, c := range []struct {
		name  string
		req   *stelev1.SearchRequest
		key   ledger.Key
		value ledger.Value // empty for a secret
		want  Outcome
		text  string
	}{
		{"in a string", &stelev1.SearchRequest{Pattern: "db-[0-9]+"}, "a", `"db-12.internal"`, Match, "db-12.internal"},
		{"a string without quotation marks", &stelev1.SearchRequest{Pattern: "^db$"}, "a", `"db"`, Match, "db"},
		{"escapes are decoded", &stelev1.SearchRequest{Pattern: "\n"}, "a", `"x\ny"`, Match, "x\ny"},
		{"in an object", &stelev1.SearchRequest{Pattern: `"host":"db`}, "a", `{"host":"db"}`, Match, `{"host":"db"}`},
		{"a number as written", &stelev1.SearchRequest{Pattern: `^9007199254740993$`}, "a", `9007199254740993`, Match, "9007199254740993"},
		{"in the key", &stelev1.SearchRequest{Pattern: "check"}, "tenantconfig/checkout", `1`, Match, "1"},
		{"another case", &stelev1.SearchRequest{Pattern: "DB"}, "a", `"db"`, NoMatch, ""},
		{"any case", &stelev1.SearchRequest{Pattern: "DB", IgnoreCase: true}, "a", `"db"`, Match, "db"},
		{"only keys", &stelev1.SearchRequest{Pattern: "db", In: inKeys}, "a", `"db"`, NoMatch, ""},
		{"only values", &stelev1.SearchRequest{Pattern: "a", In: inValues}, "a", `"db"`, NoMatch, ""},
		{"a member", &stelev1.SearchRequest{Pattern: "^db", Path: "/hosts/1"}, "a", `{"hosts":["x",{"n":1},"y"],"b":2}`, NoMatch, ""},
		{"a member that is an object", &stelev1.SearchRequest{Pattern: "n", Path: "/hosts/1"}, "a", `{"hosts":["x",{"n":1}]}`, Match, `{"n":1}`},
		{"a member with an escaped name", &stelev1.SearchRequest{Pattern: "2", Path: "/a~1b"}, "a", `{"a":1,"a/b":2}`, Match, "2"},
		{"no such member", &stelev1.SearchRequest{Pattern: ".", Path: "/b"}, "a", `{"a":1}`, NoMatch, ""},
		{"an index with a leading zero", &stelev1.SearchRequest{Pattern: ".", Path: "/01"}, "a", `[1,2]`, NoMatch, ""},
		{"a member of a number", &stelev1.SearchRequest{Pattern: ".", Path: "/0"}, "a", `1`, NoMatch, ""},
		{"the key when a path is given", &stelev1.SearchRequest{Pattern: "key", Path: "/a"}, "key", `{"a":1}`, NoMatch, ""},

		{"a number", &stelev1.SearchRequest{Where: "value > 5000"}, "a", `5001`, Match, "5001"},
		{"a fraction", &stelev1.SearchRequest{Where: "value > 5000"}, "a", `5000.5`, Match, "5000.5"},
		{"a large number exactly", &stelev1.SearchRequest{Where: "value == 9007199254740993"}, "a", `9007199254740992`, NoMatch, ""},
		{"an unsigned number", &stelev1.SearchRequest{Where: "value > 9223372036854775807"}, "a", `18446744073709551615`, Match, "18446744073709551615"},
		{"a number without end", &stelev1.SearchRequest{Where: "value > 1.0"}, "a", `1e999`, Match, "1e999"},
		{"a member's number", &stelev1.SearchRequest{Where: "value > 5000", Path: "/timeout_ms"}, "a", `{"timeout_ms":7000}`, Match, "7000"},
		{"by key and value", &stelev1.SearchRequest{Where: `key.endsWith("/on") && !value`}, "a/on", `false`, Match, "false"},
		{"an object's members", &stelev1.SearchRequest{Where: `has(value.a) && value.a.exists(x, x == "y")`}, "a", `{"a":["x","y"]}`, Match, `{"a":["x","y"]}`},
		{"text and number", &stelev1.SearchRequest{Where: "value > 5000"}, "a", `"5001"`, NotComparable, ""},
		{"a result that is not true or false", &stelev1.SearchRequest{Where: "value"}, "a", `1`, NotComparable, ""},
		{"a pattern and a condition", &stelev1.SearchRequest{Pattern: "7", Where: "value > 5000"}, "a", `7000`, Match, "7000"},
		{"a pattern that is not there", &stelev1.SearchRequest{Pattern: "8", Where: "value > 5000"}, "a", `7000`, NoMatch, ""},
		{"null", &stelev1.SearchRequest{Where: "value == null"}, "a", `null`, Match, "null"},

		{"a secret's key", &stelev1.SearchRequest{Pattern: "pass"}, "db/password", "", Match, `"***"`},
		{"a secret's value", &stelev1.SearchRequest{Pattern: "hunter"}, "db/password", "", Skipped, ""},
		{"only keys, of a secret", &stelev1.SearchRequest{Pattern: "x", In: inKeys}, "db/password", "", NoMatch, ""},
		{"only values, of a secret", &stelev1.SearchRequest{Pattern: ".", In: inValues}, "db/password", "", Skipped, ""},
		{"a member of a secret", &stelev1.SearchRequest{Pattern: ".", Path: "/a"}, "db/password", "", Skipped, ""},
		{"a condition on a secret's key", &stelev1.SearchRequest{Where: `key != ""`}, "db/password", "", Skipped, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			q, err := Compile(c.req)
			if err != nil {
				t.Fatal(err)
			}
			text, got, err := q.Test(t.Context(), c.key, c.value)
			if err != nil || got != c.want || text != c.text {
				t.Errorf("outcome %d, text %q, error %v; want %d, %q", got, text, err, c.want, c.text)
			}
		})
	}
}

func TestCompile_Invalid(t *testing.T) {
	for _, c := range []struct {
		name  string
		req   *stelev1.SearchRequest
		field string
		says  string
	}{
		{"nothing", &stelev1.SearchRequest{}, "pattern", "a pattern or a condition"},
		{"syntax", &stelev1.SearchRequest{Pattern: "("}, "pattern", "missing closing )"},
		{"a lookahead", &stelev1.SearchRequest{Pattern: "(?=a)"}, "pattern", "invalid or unsupported"},
		{"a large repetition", &stelev1.SearchRequest{Pattern: "(abc){500}"}, "pattern", "more than 500"},
		{"a path without a slash", &stelev1.SearchRequest{Pattern: "a", Path: "b"}, "path", "JSON Pointer"},
		{"a path into keys", &stelev1.SearchRequest{Pattern: "a", Path: "/b", In: inKeys}, "path", "only keys are searched"},
		{"a variable", &stelev1.SearchRequest{Where: "valu > 5"}, "where", "column 1: undeclared reference to 'valu'"},
		{"a condition's syntax", &stelev1.SearchRequest{Where: "value >"}, "where", "column 8: Syntax error"},
		{"a number as a condition", &stelev1.SearchRequest{Where: "1 + 2"}, "where", "its result is of type int"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := Compile(c.req)
			var invalid *ledger.InvalidError
			if !errors.As(err, &invalid) {
				t.Fatalf("error %v", err)
			}
			if v := invalid.Violations[0]; v.Field != c.field || !strings.Contains(v.Description, c.says) {
				t.Errorf("%s: %s; want %s: %s", v.Field, v.Description, c.field, c.says)
			}
		})
	}
}

func TestQuery_CostlyCondition(t *testing.T) {
	value := ledger.Value("[" + strings.Repeat("1,", 1000) + "1]")
	q, err := Compile(&stelev1.SearchRequest{Where: "value.all(x, value.all(y, x == y))"})
	if err != nil {
		t.Fatal(err)
	}
	if _, got, err := q.Test(t.Context(), "a", value); err != nil || got != NotComparable {
		t.Errorf("1,000,000 comparisons: outcome %d, %v", got, err)
	}
	if most := (maxConditionCost + 1000) * stepsPerCost; q.Steps() < most/2 || q.Steps() > most {
		t.Errorf("%d steps, want at most %d", q.Steps(), most)
	}
}

func TestQuery_LongTextIsCutAroundTheMatch(t *testing.T) {
	q, err := Compile(&stelev1.SearchRequest{Pattern: "needle"})
	if err != nil {
		t.Fatal(err)
	}
	for _, around := range []string{"x", "ü", "漢"} {
		hay := strings.Repeat(around, 500)
		for _, value := range []string{hay + "needle" + hay, "needle" + hay, hay + "needle"} {
			text, got, err := q.Test(t.Context(), "a", ledger.Value(`"`+value+`"`))
			if err != nil || got != Match || len(text) > maxText || !utf8.ValidString(text) || !strings.Contains(text, "needle") {
				t.Errorf("outcome %d, %v, %d bytes: %s", got, err, len(text), text)
			}
		}
	}
}

func FuzzQuery(f *testing.F) {
	f.Add("a+", "/a/0", "value > 1", "a", `{"a":[1]}`)
	f.Add("", "", "value.all(x, x == key)", "k", `["k"]`)
	f.Add("(?i)ü", "/~01", "", "k", `{"~1":"\u00fc"}`)
	f.Fuzz(func(t *testing.T, pattern, path, where, key, value string) {
		v, err := ledger.ParseValue(value)
		if err != nil || len(where) > 1024 || len(value) > 4096 {
			return
		}
		q, err := Compile(&stelev1.SearchRequest{Pattern: pattern, Path: path, Where: where})
		if err != nil {
			return
		}
		text, got, err := q.Test(t.Context(), ledger.Key(key), v)
		if err != nil {
			t.Fatalf("a stored value cannot be searched: %v", err)
		}
		if got != Match && text != "" || len(text) > maxText || !utf8.ValidString(text) {
			t.Errorf("outcome %d, text %q", got, text)
		}
	})
}

// Each of these conditions once took seconds to forever for one value, or memory without a
// limit, and most could not be interrupted.
func TestQuery_HostileConditions(t *testing.T) {
	list := "[" + strings.Repeat("1,", 100_000) + "1]"
	value := ledger.Value(`{"a":` + list + `,"s":"` + strings.Repeat("x", 300_000) + `","p":"(a{100}){5}"}`)
	for _, where := range []string{
		`value.a.all(x, value.s.size() > 0)`,
		`value.a.all(x, value == value)`,
		`value.a.all(x, value in [value.a.size()] || x in value.a)`,
		`value.a.all(x, string(value.s) != "")`,
		`value.a.all(x, value.s + value.s != "")`,
		`value.a.all(x, (value.s` + strings.Repeat(" + value.s", 40) + `).size() > 0)`,
		`value.a.all(x, value.s.contains("y" + value.s) || true)`,
		`value.a + value.a == value.a + value.a`,
		`value.a.all(x, value.s.matches("((a|b){20}){5}") || true)`,
		`value.a.all(x, value.s.matches(value.p) || true)`,
		`value.a.all(x, !key.matches("(" + value.p + string(x) + "` + strings.Repeat("a", 900) + `){1000}") || true)`,
		`value.a.all(x, timestamp(value.s) > timestamp(value.s) || true)`,
	} {
		q, err := Compile(&stelev1.SearchRequest{Where: where})
		if err != nil && strings.Contains(err.Error(), "can hold constants only") {
			continue
		}
		if err != nil {
			t.Errorf("%.60s: %v", where, err)
			continue
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, got, err := q.Test(t.Context(), "a", value)
		runtime.ReadMemStats(&after)
		if err != nil || got != NotComparable || q.Steps() < maxConditionCost*stepsPerCost {
			t.Errorf("%.60s: outcome %d, %v, %d steps", where, got, err, q.Steps())
		}
		if n := after.TotalAlloc - before.TotalAlloc; n > 300<<20 {
			t.Errorf("%.60s: %d MiB allocated", where, n>>20)
		}
	}
}

func TestCompile_HostileConditions(t *testing.T) {
	for where, says := range map[string]string{
		`[[1]]` + strings.Repeat(".map(x, x + x)", 30) + `.map(x, x == x)[0]`:                            "undeclared reference to 'map'",
		`[value]` + strings.Repeat(".map(x, [x, x])", 30) + `.map(x, x == x)[0]`:                         "undeclared reference to 'map'",
		`value.filter(x, x > 1) == []`:                                                                   "undeclared reference to 'filter'",
		`[[value, value]].exists(a, [[a, a]].exists(b, [[b, b]].exists(c, [[c, c]].exists(d, d == d))))`: "constants only",
		`{"a": value, "b": value} == {"a": value, "b": value}`:                                           "constants only",
		`[{"a": [1, 2]}, {"b": [-key.size()]}] == value`:                                                 "constants only",
		`google.protobuf.ListValue{values: [google.protobuf.Value{}]} == value`:                          "constants only",
	} {
		_, err := Compile(&stelev1.SearchRequest{Where: where})
		if err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%.60s: %v; want %q", where, err, says)
		}
	}
	for _, where := range []string{`value in ["a", "b"]`, `value == {"a": [1, -2, {"b": null}]}`, `value.all(x, x in [1, 2])`} {
		if _, err := Compile(&stelev1.SearchRequest{Where: where}); err != nil {
			t.Errorf("%s: %v", where, err)
		}
	}
}
