package secret_test

import (
	"bytes"
	"context"
	"strings"
	"testing"

	"github.com/stelehq/stele/internal/ledger/secret"
)

// FuzzParseKEK parses files of keys. What parses encrypts and decrypts, and still does after
// a key was added and the others were removed; an error contains nothing of the file.
func FuzzParseKEK(f *testing.F) {
	for range 2 {
		text, err := secret.GenerateKEK()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
		if text, err = secret.AddKEK(text); err != nil {
			f.Fatal(err)
		}
		f.Add(text)
		f.Add(bytes.Replace(text, []byte("ENABLED"), []byte("DISABLED"), 1))
		f.Add(bytes.Replace(text, []byte("TINK"), []byte("RAW"), 1))
		f.Add(bytes.Replace(text, []byte("AesGcmKey"), []byte("KmsAeadKey"), 1))
	}
	f.Add([]byte(`{"primaryKeyId":1,"key":[]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		const plain, bound = "plain", "acme"
		kek, err := secret.ParseKEK(text)
		if err != nil {
			if s := strings.TrimSpace(string(text)); len(s) > 40 && strings.Contains(err.Error(), s[:40]) {
				t.Errorf("the error contains the key: %v", err)
			}
			return
		}
		ctx := context.Background()
		sealed, err := kek.EncryptWithContext(ctx, []byte(plain), []byte(bound))
		if err != nil {
			t.Fatalf("it does not encrypt: %v", err)
		}
		if _, err := kek.DecryptWithContext(ctx, sealed, []byte("globex")); err == nil {
			t.Error("it decrypts what is bound to another tenant")
		}
		for _, edit := range []func([]byte) ([]byte, error){
			func(b []byte) ([]byte, error) { return b, nil }, secret.AddKEK, secret.PromoteKEK,
		} {
			if text, err = edit(text); err != nil {
				return // for example keys that are not enabled cannot be promoted
			}
			again, err := secret.ParseKEK(text)
			if err != nil {
				t.Fatalf("after a change: %v", err)
			}
			if got, err := again.DecryptWithContext(ctx, sealed, []byte(bound)); err != nil || string(got) != plain {
				t.Fatalf("it decrypts to %q, %v", got, err)
			}
		}
	})
}
