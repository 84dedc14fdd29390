package proof_test

import (
	"testing"

	"github.com/stelehq/stele/internal/ledger/proof"
)

// FuzzParseVerifier parses lists of keys. Every list that parses has exactly one encoding.
func FuzzParseVerifier(f *testing.F) {
	f.Add("stele/0102030405060708+807ebd89+AW5FQRZbrB0jd1MHPEElWeg2O8pT47isDa/g3VyZif3J\n")
	f.Add("stele/0102030405060708+807ebd89+AW5FQRZbrB0jd1MHPEElWeg2O8pT47isDa/g3VyZif3J\n\nstele/0102030405060708\n1\n" +
		"fX1A6cnCVD0sVVBqJf7oh7mRjCzw5BE0e7ssMZUy3TM=\nsuccessor stele/0102030405060708+807ebd89+AW5FQRZbrB0jd1MHPEElWeg2O8pT47isDa/g3VyZif3J\n\n— stele/0102030405060708 gH69iQ==\n")
	f.Fuzz(func(t *testing.T, text string) {
		v, err := proof.ParseVerifier(text)
		if err == nil && v.Keys() != text && v.Keys() != text+"\n" {
			t.Errorf("read %q as %q", text, v.Keys())
		}
	})
}
