package identity

import (
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"strings"
	"testing"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stelehq/stele/internal/ledger"
)

// fixedIssuer has an Ed25519 key that is the same in every process that fuzzes.
func fixedIssuer(f *testing.F) *issuer {
	f.Helper()
	is := newIssuer(f)
	is.ed.Signer = ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	keys, err := ReadJWKS(strings.NewReader(set(is.ed.jwk(f), is.ec.jwk(f))))
	if err != nil {
		f.Fatal(err)
	}
	is.config.Keys = keys
	return is
}

// FuzzVerify changes good and forged tokens: nothing may panic, and only good ones may
// be accepted.
func FuzzVerify(f *testing.F) {
	is, stranger := fixedIssuer(f), newIssuer(f)
	v := is.verifier(f)
	minted := map[string]bool{
		is.signed(f, good(nil)): true,
		is.signed(f, good(map[string]any{"roles": "operator", "tenant": nil})): true,
	}
	for token := range minted {
		f.Add(token)
		f.Add(token[:len(token)-1])
		f.Add(strings.ToUpper(token))
	}
	for _, forged := range append(forgeries(f, is.ed, is.ec, stranger.ed), confusions(f, is.ed)...) {
		if len(forged.token) < 2000 { // long ones are slow to change
			f.Add(forged.token)
		}
	}
	f.Add("..")
	f.Add("e30.e30.e30")
	f.Fuzz(func(t *testing.T, token string) {
		p, err := v.Verify(token)
		switch {
		case err == nil && !minted[token]:
			t.Fatalf("accepted %q as %+v", token, *p)
		case err != nil && !errors.Is(err, ErrUnauthenticated):
			t.Fatalf("%v is not ErrUnauthenticated", err)
		}
	})
}

// FuzzClaims signs arbitrary claims: an accepted token has a valid caller.
func FuzzClaims(f *testing.F) {
	is := fixedIssuer(f)
	var verifiers []*Verifier
	for preset := range presets {
		is.config.Preset = preset
		verifiers = append(verifiers, is.verifier(f))
	}
	for _, claims := range []map[string]any{good(nil), cognito(nil), access(nil), good(map[string]any{"realm_access": map[string]any{"roles": []string{"admin"}}})} {
		f.Add(`{"alg":"EdDSA","kid":"ed"}`, payload(f, claims))
	}
	for _, forged := range forgeries(f, is.ed, is.ec, is.ed) {
		if parts := strings.Split(forged.token, "."); len(parts) == 3 && len(forged.token) < 2000 {
			f.Add(string(jsonIn(parts[0])), string(jsonIn(parts[1])))
		}
	}
	b64 := base64.RawURLEncoding.EncodeToString
	f.Fuzz(func(t *testing.T, header, payload string) {
		text := b64([]byte(header)) + "." + b64([]byte(payload))
		sig, err := jwt.SigningMethodEdDSA.Sign(text, is.ed.Signer)
		if err != nil {
			t.Fatal(err)
		}
		for _, v := range verifiers {
			token := text + "." + b64(sig)
			p, err := v.Verify(token)
			if e := v.Examine(token); (e.Principal != nil) != (err == nil) {
				t.Fatalf("verified: %v, examined: %+v", err, e)
			}
			if err != nil {
				if !errors.Is(err, ErrUnauthenticated) {
					t.Fatalf("%v is not ErrUnauthenticated", err)
				}
				continue
			}
			if _, err := ledger.ParseTenant(string(p.Tenant)); err != nil && (p.Tenant != "" || !p.Has(Operator)) {
				t.Fatalf("%q: %v", p.Tenant, err)
			}
			if p.Subject == "" || !p.Expires.After(testNow) || p.Tenant.Reserved() && !p.Has(Operator) {
				t.Fatalf("%+v", *p)
			}
		}
	})
}
