package gateway

import (
	"testing"

	"github.com/stelehq/stele/internal/ledger"
)

func FuzzParseNamesToken(f *testing.F) {
	f.Add("YS9iCmMv") // a/b, c/
	f.Add("YSoK")
	f.Fuzz(func(t *testing.T, text string) {
		names, err := parseNamesToken(text, func(n ledger.Name) bool { return n != "hidden" })
		if err != nil {
			return
		}
		for _, n := range names {
			if _, err := ledger.ParsePattern(string(n)); err != nil || n == "" || n == "hidden" {
				t.Errorf("%q: the name %q, %v", text, n, err)
			}
		}
	})
}

func FuzzParsePlace(f *testing.F) {
	f.Add(place{record: 7, passed: 2}.token("seal", "0102"))
	f.Add("")
	f.Fuzz(func(t *testing.T, text string) {
		p, last, err := parsePlace(text, "seal")
		if err != nil {
			return
		}
		again, sameLast, err := parsePlace(p.token("seal", last), "seal")
		if err != nil || again != p || sameLast != last || p.record == 0 || p.passed < 0 {
			t.Errorf("%q: %+v %q, and again %+v %q, %v", text, p, last, again, sameLast, err)
		}
		if _, _, err := parsePlace(text, "other"); err == nil {
			t.Errorf("%q: accepted with another seal", text)
		}
	})
}
