package ledger

import (
	"slices"
	"testing"
)

func FuzzParseBases(f *testing.F) {
	f.Add(`[{"tenant":"plan","revision":1,"follow":true},{"tenant":"defaults","revision":2}]`)
	f.Add(`[]`)
	f.Add(`null`)
	f.Fuzz(func(t *testing.T, text string) {
		v, err := ParseValue(text)
		if err != nil {
			return
		}
		bases, err := ParseBases(v)
		if err != nil {
			return
		}
		again, err := ParseBases(BasesValue(bases))
		if err != nil || !slices.Equal(again, bases) || len(bases) > MaxBases {
			t.Errorf("%s: %v, and again %v, %v", text, bases, again, err)
		}
		for _, b := range bases {
			if b.Tenant.Reserved() || b.Revision == 0 {
				t.Errorf("%s: the base %v", text, b)
			}
		}
	})
}

func FuzzParsePattern(f *testing.F) {
	f.Add("a/b", "a/b/c")
	f.Add("a/b*", "a/bc")
	f.Add("a/", "a")
	f.Fuzz(func(t *testing.T, text, key string) {
		p, err := ParsePattern(text)
		if err != nil {
			return
		}
		k, err := ParseKey(key)
		if err != nil {
			return
		}
		if p.Covers(Pattern(k)) && !p.Match(k) {
			t.Errorf("%q covers %q, which it does not match", p, k)
		}
		if p.Match(k) && !p.Range().Match(k) {
			t.Errorf("%q selects %q, which is outside of its range %q", p, k, p.Range())
		}
	})
}
