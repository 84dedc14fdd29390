package identity

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const (
	// The keys of RFC 8037 appendix A.2 and RFC 7517 appendix A.1.
	rfcEd25519 = `"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"`
	rfcP256    = `"kty":"EC","crv":"P-256","x":"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4","y":"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM"`
	rfcRSA     = `"kty":"RSA","n":"0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw","e":"AQAB"`
)

func set(keys ...string) string {
	return `{"keys":[{` + strings.Join(keys, `},{`) + `}]}`
}

func TestKeySet_UsableKeys(t *testing.T) {
	tests := []struct {
		name, jwks string
		want       map[string]string // algorithm by key id
	}{
		{"one key without a name", set(rfcEd25519), map[string]string{"": eddsa}},
		{"one of each kind", set(rfcEd25519+`,"kid":"a"`, rfcP256+`,"kid":"b"`), map[string]string{"a": eddsa, "b": es256}},
		{"RSA, as providers have it", set(rfcRSA+`,"kid":"a","alg":"RS256","use":"sig"`, rfcRSA+`,"kid":"b","use":"sig"`), map[string]string{"a": rs256, "b": rs256}},
		{"keys of other kinds are passed over", set(`"kty":"EC","crv":"P-521","kid":"a"`, rfcP256+`,"kid":"b"`, `"kty":"oct"`, `"kty":"new"`), map[string]string{"b": es256}},
		{"keys for other uses are passed over", set(rfcRSA+`,"use":"enc"`, rfcP256+`,"key_ops":["sign"]`, rfcEd25519+`,"use":"sig","key_ops":["verify"]`), map[string]string{"": eddsa}},
		{"keys for other algorithms are passed over", set(rfcP256+`,"alg":"ECDH-ES"`, rfcRSA+`,"alg":"RSA-OAEP"`, rfcRSA+`,"alg":"PS256"`, rfcEd25519+`,"alg":"EdDSA"`), map[string]string{"": eddsa}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s, err := ReadJWKS(strings.NewReader(tt.jwks))
			if err != nil {
				t.Fatal(err)
			}
			if len(s.keys) != len(tt.want) {
				t.Errorf("got %d keys, want %d", len(s.keys), len(tt.want))
			}
			for id, alg := range tt.want {
				if got := s.keys[id].alg; got != alg {
					t.Errorf("key %q is for %q, want %q", id, got, alg)
				}
			}
		})
	}
}

func TestKeySet_RejectsWeakKeys(t *testing.T) {
	tests := []struct {
		name, jwks, reason string
	}{
		{"nothing", "", "read key set"},
		{"no JSON", "-----BEGIN PUBLIC KEY-----", "read key set"},
		{"no keys", `{"keys":[]}`, "none of its 0 keys"},
		{"no usable key", set(`"kty":"oct"`), "none of its 1 keys"},
		{"a short RSA key", set(`"kty":"RSA","n":"` + strings.Repeat("_", 340) + `","e":"AQAB"`), "n has 2040 bits"},
		{"an RSA key too long", set(`"kty":"RSA","n":"` + strings.Repeat("_", 1368) + `","e":"AQAB"`), "n has 8208 bits"},
		{"an even RSA exponent", set(strings.Replace(rfcRSA, `"AQAB"`, `"AQAA"`, 1)), "not a valid RSA key"},
		{"RSA with exponent 1", set(strings.Replace(rfcRSA, `"AQAB"`, `"AQ"`, 1)), "not a valid RSA key"},
		{"RSA with an exponent of 33 bits", set(strings.Replace(rfcRSA, `"AQAB"`, `"AQAAAAE"`, 1)), "not a valid RSA key"},
		{"RSA without numbers", set(`"kty":"RSA"`), "n has 0 bits"},
		{"a private key", set(rfcEd25519 + `,"d":"nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A"`), "private"},
		{"a private key of another kind", set(rfcRSA+`,"d":"X4cTteJY"`, rfcEd25519), "private"},
		{"two keys of one name", set(rfcEd25519+`,"kid":"a"`, rfcP256+`,"kid":"a"`), "same kid"},
		{"a nameless key among several", set(rfcEd25519, rfcP256+`,"kid":"b"`), "no kid"},
		{"a name twice in a key", set(rfcEd25519 + `,"kid":"a","kid":"b"`), "duplicate"},
		{"a point off the curve", set(strings.Replace(rfcP256, "4Etl", "5Etl", 1)), "x and y"},
		{"the point at infinity", set(`"kty":"EC","crv":"P-256","x":"` + strings.Repeat("A", 43) + `","y":"` + strings.Repeat("A", 43) + `"`), "x and y"},
		{"a short coordinate", set(strings.Replace(rfcP256, "MKBC", "", 1)), "x is not 32 bytes"},
		{"no second coordinate", set(rfcP256[:strings.Index(rfcP256, `,"y"`)]), "y is not 32 bytes"},
		{"a short Ed25519 key", set(`"kty":"OKP","crv":"Ed25519","x":"11qY"`), "x is not 32 bytes"},
		{"padded base64", set(strings.Replace(rfcEd25519, `HURo"`, `HURo="`, 1)), "x is not 32 bytes"},
		{"more than it may hold", `{"keys":[]}` + strings.Repeat(" ", maxJWKS), "more than"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := ReadJWKS(strings.NewReader(tt.jwks))
			if err == nil || !strings.Contains(err.Error(), tt.reason) {
				t.Errorf("got %v, want an error with %q", err, tt.reason)
			}
		})
	}
}

func TestKeySet_File(t *testing.T) {
	path := filepath.Join(t.TempDir(), "jwks.json")
	if _, err := LoadJWKS(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a missing file: %v", err)
	}
	if err := os.WriteFile(path, []byte(set(rfcEd25519)), 0o600); err != nil {
		t.Fatal(err)
	}
	if s, err := LoadJWKS(path); err != nil || len(s.keys) != 1 {
		t.Errorf("got %d keys, %v", len(s.keys), err)
	}
	if err := os.WriteFile(path, []byte(`{}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadJWKS(path); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("an empty set's error does not name the file: %v", err)
	}
}

func TestVerify_TokenWithoutKid(t *testing.T) {
	is := newIssuer(t)
	is.config.Keys = KeySet{map[string]*publicKey{"ed": is.keys.keys["ed"]}}
	v := is.verifier(t)
	nameless := is.ed.sign(t, map[string]any{"kid": nil}, payload(t, good(nil)))
	if _, err := v.Verify(nameless); err != nil {
		t.Errorf("a token without kid: %v", err)
	}
	other := is.ed.sign(t, map[string]any{"kid": "other"}, payload(t, good(nil)))
	if _, err := v.Verify(other); err == nil {
		t.Error("a token with an unknown kid was accepted")
	}
}
