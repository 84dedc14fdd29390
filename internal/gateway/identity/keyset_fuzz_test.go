package identity

import (
	"strings"
	"testing"
	"time"
)

func FuzzReadJWKS(f *testing.F) {
	f.Add(`{"keys":[{"kty":"OKP","crv":"Ed25519","alg":"EdDSA","use":"sig","kid":"a","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}`)
	f.Add(`{"keys":[{"kty":"EC","crv":"P-256","kid":"a","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}]}`)
	f.Add(`{"keys":[{"kty":"RSA","e":"AQAB","kid":"a","n":"AQAB"}]}`)
	f.Add(`{"keys":[{"kty":"oct","k":"AA"}]}`)
	f.Fuzz(func(t *testing.T, text string) {
		set, err := ReadJWKS(strings.NewReader(text))
		if err != nil {
			return
		}
		if len(set.keys) == 0 {
			t.Fatalf("%s: a set without keys", text)
		}
		for id, k := range set.keys {
			if id == "" && len(set.keys) > 1 || k == nil {
				t.Errorf("%s: the key %q is %v", text, id, k)
			}
			k.good(time.Now())
			if found, err := set.find(map[string]any{"kid": id}); err != nil || found != k {
				t.Errorf("%s: the key %q is not found: %v", text, id, err)
			}
		}
	})
}
