package identity

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"math/big"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

const (
	testIssuer   = "https://issuer.example"
	testAudience = "stele"
)

// testNow is a whole second, as dates in tokens are.
var testNow = time.Date(2030, 5, 17, 12, 0, 0, 0, time.UTC)

// testKey is one of an issuer's keys, by its name and for its algorithm.
type testKey struct {
	kid    string
	method jwt.SigningMethod
	crypto.Signer
}

// sign makes a token of any header and payload.
func (k testKey) sign(t testing.TB, header map[string]any, payload string) string {
	t.Helper()
	named := map[string]any{"kid": k.kid}
	maps.Copy(named, header)
	return sign(t, k.method, k.Signer, named, payload)
}

// issuer is an identity provider with a key of each kind.
type issuer struct {
	ed, ec, rsa testKey
	keys        KeySet
	config      Config
}

// longKeys take long to make, and two are enough: an issuer differs from the one
// that was made before it.
var (
	longKeys = [2]func() *rsa.PrivateKey{sync.OnceValue(longKey), sync.OnceValue(longKey)}
	issuers  atomic.Int64
)

func longKey() *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return key
}

func newIssuer(t testing.TB) *issuer {
	t.Helper()
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	long := longKeys[issuers.Add(1)%2]()
	is := &issuer{
		ed:  testKey{"ed", jwt.SigningMethodEdDSA, ed},
		ec:  testKey{"ec", jwt.SigningMethodES256, ec},
		rsa: testKey{"rsa", jwt.SigningMethodRS256, long},
	}
	doc := set(is.ed.jwk(t), is.ec.jwk(t)+`,"use":"sig"`, is.rsa.jwk(t)+`,"alg":"RS256"`,
		testKey{"enc", nil, long}.jwk(t)+`,"use":"enc"`, testKey{"pss", nil, long}.jwk(t)+`,"alg":"PS256"`)
	if is.keys, err = ReadJWKS(strings.NewReader(doc)); err != nil {
		t.Fatal(err)
	}
	is.config = Config{Keys: is.keys, Issuer: testIssuer, Audience: testAudience, Now: func() time.Time { return testNow }}
	return is
}

// jwk is the public key's JSON, without braces.
func (k testKey) jwk(t testing.TB) string {
	t.Helper()
	b64 := base64.RawURLEncoding.EncodeToString
	switch key := k.Public().(type) {
	case ed25519.PublicKey:
		return fmt.Sprintf(`"kid":%q,"kty":"OKP","crv":"Ed25519","x":%q`, k.kid, b64(key))
	case *ecdsa.PublicKey:
		point, err := key.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprintf(`"kid":%q,"kty":"EC","crv":"P-256","x":%q,"y":%q`, k.kid, b64(point[1:33]), b64(point[33:]))
	case *rsa.PublicKey:
		return fmt.Sprintf(`"kid":%q,"kty":"RSA","n":%q,"e":%q`, k.kid, b64(key.N.Bytes()), b64(big.NewInt(int64(key.E)).Bytes()))
	}
	panic("no such key")
}

func (is *issuer) verifier(t testing.TB) *Verifier {
	t.Helper()
	v, err := NewVerifier(is.config)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// good are the claims of a token that is accepted, with changes; a nil value
// takes a claim out.
func good(changes map[string]any) map[string]any {
	claims := map[string]any{
		"iss": testIssuer, "aud": testAudience, "sub": "alice", "tenant": "acme",
		"roles": []string{"reader", "writer"}, "exp": testNow.Add(time.Hour).Unix(),
	}
	return merge(claims, changes)
}

func merge(base, changes map[string]any) map[string]any {
	maps.Copy(base, changes)
	maps.DeleteFunc(base, func(_ string, v any) bool { return v == nil })
	return base
}

// sign makes a token of any header and payload.
func sign(t testing.TB, method jwt.SigningMethod, key any, header map[string]any, payload string) string {
	t.Helper()
	h, err := json.Marshal(merge(map[string]any{"alg": method.Alg(), "typ": "JWT"}, header))
	if err != nil {
		t.Fatal(err)
	}
	b64 := base64.RawURLEncoding.EncodeToString
	text := b64(h) + "." + b64([]byte(payload))
	sig, err := method.Sign(text, key)
	if err != nil {
		t.Fatal(err)
	}
	return text + "." + b64(sig)
}

func payload(t testing.TB, claims map[string]any) string {
	t.Helper()
	b, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// signed signs claims with the Ed25519 key.
func (is *issuer) signed(t testing.TB, claims map[string]any) string {
	t.Helper()
	return is.ed.sign(t, nil, payload(t, claims))
}
