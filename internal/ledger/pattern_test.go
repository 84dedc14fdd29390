package ledger_test

import (
	"strings"
	"testing"

	"github.com/stelehq/stele/internal/ledger"
	"pgregory.net/rapid"
)

func TestPattern_Match(t *testing.T) {
	for pattern, keys := range map[string]map[ledger.Key]bool{
		"":      {"a": true, "a/b": true},
		"*":     {"a": true, "a/b": true},
		"a/b":   {"a/b": true, "a/b/c": true, "a/bc": false, "a/b-c": false, "a/b.c": false, "a": false, "b/a/b": false},
		"a/b/":  {"a/b": false, "a/b/c": true, "a/bc": false},
		"a/b*":  {"a/b": true, "a/b/c": true, "a/bc": true, "a/b-c": true, "a/c": false},
		"a/b/*": {"a/b": false, "a/b/c": true},
	} {
		p, err := ledger.ParsePattern(pattern)
		if err != nil {
			t.Errorf("%q: %v", pattern, err)
		}
		for k, want := range keys {
			if got := p.Match(k); got != want {
				t.Errorf("%q selects %s: %v, want %v", pattern, k, got, want)
			}
		}
	}
	for pattern, want := range map[string]string{
		"a*b": `"*" stands at the end only`, "**": `"*" stands at the end only`, "a/ü": `has "ü" at character 3`, "a b": `has " " at character 2`,
		strings.Repeat("a", ledger.MaxKey+1): "bytes, more than",
	} {
		if _, err := ledger.ParsePattern(pattern); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.20q: %v, want %s", pattern, err, want)
		}
	}
}

// Of two patterns, one covers the other exactly if it selects all that the other does, and
// they select no common key if neither does.
func TestPattern_Covers(t *testing.T) {
	var keys []ledger.Key
	var patterns []ledger.Pattern
	for _, a := range []string{"a", "ab", "a-", "b"} {
		keys = append(keys, ledger.Key(a))
		for _, b := range []string{"a", "ab", "b"} {
			keys = append(keys, ledger.Key(a+"/"+b), ledger.Key(a+"/"+b+"/c"), ledger.Key(a+"/"+b+"c"))
		}
	}
	for _, k := range append(keys, "") {
		for _, end := range []string{"", "/", "*", "/*"} {
			if p, err := ledger.ParsePattern(string(k) + end); err == nil && (k != "" || end != "/" && end != "/*") {
				patterns = append(patterns, p)
			}
		}
	}
	// Deeper and longer than all patterns, so that a pattern selects one of them exactly
	// if it selects any key at all.
	for _, k := range keys {
		keys = append(keys, k+"/z", k+"z", k+"z/z")
	}
	for _, p := range patterns {
		for _, q := range patterns {
			all, common := true, false
			for _, k := range keys {
				all = all && (p.Match(k) || !q.Match(k))
				common = common || p.Match(k) && q.Match(k)
			}
			if p.Covers(q) != all || (p.Covers(q) || q.Covers(p)) != common {
				t.Errorf("%q covers %q: %v, and the other way round %v; all its keys: %v, common keys: %v", p, q, p.Covers(q), q.Covers(p), all, common)
			}
		}
	}
}

// Every key that a pattern selects begins with its range, and is the key or has the
// prefix that the pattern is split into.
func TestPattern_SplitSelectsTheSame(t *testing.T) {
	text := rapid.StringMatching(`[ab.-]{1,2}(/[ab.-]{1,2}){0,2}`)
	rapid.Check(t, func(t *rapid.T) {
		p := ledger.Pattern(text.Draw(t, "pattern") + rapid.SampledFrom([]string{"", "/", "*"}).Draw(t, "end"))
		k := ledger.Key(text.Draw(t, "key"))
		key, below := p.Split()
		if got := p.Match(k); got != (k == key || below.Match(k)) || got && !p.Range().Match(k) {
			t.Fatalf("%q selects %s: %v; it is %q and below %q, and begins with %q", p, k, got, key, below, p.Range())
		}
	})
}
