package identity

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stelehq/stele/ledger"
)

const (
	testIssuer   = "https://issuer.example"
	testAudience = "stele"
)

// testNow is a whole second, as dates in tokens are.
var testNow = time.Date(2030, 5, 17, 12, 0, 0, 0, time.UTC)

// issuer is an identity provider with a key of each kind.
type issuer struct {
	ed     ed25519.PrivateKey
	ec     *ecdsa.PrivateKey
	keys   KeySet
	config Config
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
	ecPublic, err := ec.PublicKey.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	b64 := base64.RawURLEncoding.EncodeToString
	doc := fmt.Sprintf(`{"keys": [
		{"kty": "OKP", "crv": "Ed25519", "kid": "ed", "x": %q},
		{"kty": "EC", "crv": "P-256", "kid": "ec", "use": "sig", "x": %q, "y": %q},
		{"kty": "RSA", "kid": "rsa", "n": "AQAB", "e": "AQAB"}
	]}`, b64(ed.Public().(ed25519.PublicKey)), b64(ecPublic[1:33]), b64(ecPublic[33:]))
	keys, err := ReadJWKS(strings.NewReader(doc))
	if err != nil {
		t.Fatal(err)
	}
	return &issuer{ed: ed, ec: ec, keys: keys, config: Config{
		Keys: keys, Issuer: testIssuer, Audience: testAudience,
		Now: func() time.Time { return testNow },
	}}
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
	return sign(t, jwt.SigningMethodEdDSA, is.ed, map[string]any{"kid": "ed"}, payload(t, claims))
}

func TestGoodTokensAreAccepted(t *testing.T) {
	is := newIssuer(t)
	exp := testNow.Add(time.Hour)
	alice := Principal{Subject: "alice", Tenant: "acme", Roles: []Role{Reader, Writer}, Expires: exp}
	with := func(change func(*Principal)) Principal {
		p := alice
		change(&p)
		return p
	}
	tests := []struct {
		name  string
		token string
		want  Principal
	}{
		{"signed with Ed25519", is.signed(t, good(nil)), alice},
		{"signed with P-256",
			sign(t, jwt.SigningMethodES256, is.ec, map[string]any{"kid": "ec"}, payload(t, good(nil))), alice},
		{"several audiences", is.signed(t, good(map[string]any{"aud": []string{"other", testAudience}})), alice},
		{"roles in one string", is.signed(t, good(map[string]any{"roles": " writer  reader writer"})), alice},
		{"unknown roles are passed over", is.signed(t, good(map[string]any{"roles": []string{"root", "reader", "Writer", "writer"}})), alice},
		{"no roles", is.signed(t, good(map[string]any{"roles": nil})), with(func(p *Principal) { p.Roles = nil })},
		{"every role", is.signed(t, good(map[string]any{"roles": "operator auditor admin writer reader"})),
			with(func(p *Principal) { p.Roles = []Role{Reader, Writer, Admin, Auditor, Operator} })},
		{"an operator without a tenant", is.signed(t, good(map[string]any{"roles": "operator", "tenant": nil})),
			with(func(p *Principal) { p.Roles, p.Tenant = []Role{Operator}, "" })},
		{"an operator of the ledger's own tenant", is.signed(t, good(map[string]any{"roles": "operator", "tenant": "_system"})),
			with(func(p *Principal) { p.Roles, p.Tenant = []Role{Operator}, ledger.System })},
		{"valid from this very second", is.signed(t, good(map[string]any{"nbf": testNow.Unix()})), alice},
		{"claims nobody asked for", is.signed(t, good(map[string]any{"Tenant": "globex", "email": "a@example.org"})), alice},
		{"headers that point to keys are not looked at",
			sign(t, jwt.SigningMethodEdDSA, is.ed, map[string]any{"kid": "ed", "jku": "https://evil.example/jwks", "x5u": 7}, payload(t, good(nil))), alice},
	}
	v := is.verifier(t)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for range 2 { // The second answer is from the cache.
				p, err := v.Verify(tt.token)
				if err != nil {
					t.Fatal(err)
				}
				if p.Subject != tt.want.Subject || p.Tenant != tt.want.Tenant || !slices.Equal(p.Roles, tt.want.Roles) || !p.Expires.Equal(tt.want.Expires) {
					t.Errorf("got %+v, want %+v", *p, tt.want)
				}
			}
		})
	}
}

func TestForgedTokensAreRefused(t *testing.T) {
	is, stranger := newIssuer(t), newIssuer(t)
	kid := func(id any) map[string]any { return map[string]any{"kid": id} }
	signed := func(changes map[string]any) string { return is.signed(t, good(changes)) }
	raw := func(payload string) string {
		return sign(t, jwt.SigningMethodEdDSA, is.ed, kid("ed"), payload)
	}
	ok := payload(t, good(nil))
	genuine := raw(ok)
	parts := strings.Split(genuine, ".")
	b64 := base64.RawURLEncoding.EncodeToString

	edPublic := is.ed.Public().(ed25519.PublicKey)
	ecDER, err := x509.MarshalPKIXPublicKey(&is.ec.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	ecPEM := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: ecDER})
	strangersKey := map[string]any{"kty": "OKP", "crv": "Ed25519", "kid": "evil", "x": b64(stranger.ed.Public().(ed25519.PublicKey))}

	tests := []struct {
		name, token, reason string
	}{
		{"no token", "", "not a JWT"},
		{"one part", "token", "not a JWT"},
		{"two parts", parts[0] + "." + parts[1], "not a JWT"},
		{"four parts", genuine + ".", "not a JWT"},
		{"a megabyte of dots", strings.Repeat(".", 1<<20), "bytes, more than"},
		{"dots up to the limit", strings.Repeat(".", MaxToken), "not a JWT"},
		{"a byte more than the limit", genuine + strings.Repeat("A", MaxToken+1-len(genuine)), "bytes, more than"},
		{"not base64", "!!!.!!!.!!!", "not a JWT"},
		{"padded base64", genuine + "==", "not a JWT"},
		{"a line break in the signature", genuine[:len(genuine)-4] + "\n" + genuine[len(genuine)-4:], "line break"},
		{"header is no object", b64([]byte(`[]`)) + "." + parts[1] + "." + parts[2], "not a JWT"},
		{"header is null", b64([]byte(`null`)) + "." + parts[1] + "." + parts[2], "algorithm"},
		{"payload is null", raw("null"), "needs the claims"},
		{"payload is a list", raw("[]"), "not a JWT"},
		{"payload nested deep", raw(strings.Repeat("[", 10_000)), "not a JWT"},
		{"two documents in the payload", raw(ok + ok), "not a JWT"},

		{"alg none", sign(t, jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, kid("ed"), ok), "not signed with"},
		{"alg none, spelled otherwise", b64([]byte(`{"alg":"nOnE","kid":"ed"}`)) + "." + parts[1] + ".", "algorithm"},
		{"no alg", sign(t, jwt.SigningMethodEdDSA, is.ed, map[string]any{"kid": "ed", "alg": nil}, ok), "algorithm"},
		{"alg not a string", sign(t, jwt.SigningMethodEdDSA, is.ed, map[string]any{"kid": "ed", "alg": []string{"EdDSA"}}, ok), "algorithm"},
		{"HS256 with the Ed25519 public key", sign(t, jwt.SigningMethodHS256, []byte(edPublic), kid("ed"), ok), "not signed with"},
		{"HS256 with the P-256 public key", sign(t, jwt.SigningMethodHS256, ecDER, kid("ec"), ok), "not signed with"},
		{"HS256 with the P-256 public key as PEM", sign(t, jwt.SigningMethodHS256, ecPEM, kid("ec"), ok), "not signed with"},
		{"HS256 with an empty key", sign(t, jwt.SigningMethodHS256, []byte{}, kid("ed"), ok), "not signed with"},
		{"alg of the other key", sign(t, jwt.SigningMethodES256, is.ec, kid("ed"), ok), "not EdDSA, which its key is for"},
		{"alg of the other key, the other way", sign(t, jwt.SigningMethodEdDSA, is.ed, kid("ec"), ok), "not ES256, which its key is for"},
		{"alg changed after signing", b64([]byte(`{"alg":"ES256","kid":"ec"}`)) + "." + parts[1] + "." + parts[2], "not signed with"},

		{"key of a stranger under a known name", sign(t, jwt.SigningMethodEdDSA, stranger.ed, kid("ed"), ok), "not signed with"},
		{"P-256 key of a stranger under a known name", sign(t, jwt.SigningMethodES256, stranger.ec, kid("ec"), ok), "not signed with"},
		{"key of a stranger in the header (jwk)",
			sign(t, jwt.SigningMethodEdDSA, stranger.ed, map[string]any{"kid": "evil", "jwk": strangersKey}, ok), "not one that this server trusts"},
		{"key of a stranger in the header under a known name",
			sign(t, jwt.SigningMethodEdDSA, stranger.ed, map[string]any{"kid": "ed", "jwk": strangersKey}, ok), "not signed with"},
		{"keys of a stranger by address (jku)",
			sign(t, jwt.SigningMethodEdDSA, stranger.ed, map[string]any{"kid": "evil", "jku": "https://evil.example/jwks.json"}, ok), "not one that this server trusts"},
		{"certificate of a stranger by address (x5u)",
			sign(t, jwt.SigningMethodEdDSA, stranger.ed, map[string]any{"kid": "evil", "x5u": "https://evil.example/cert"}, ok), "not one that this server trusts"},
		{"kid missing", sign(t, jwt.SigningMethodEdDSA, is.ed, nil, ok), "names no key"},
		{"kid empty", sign(t, jwt.SigningMethodEdDSA, is.ed, kid(""), ok), "not one that this server trusts"},
		{"kid a number", sign(t, jwt.SigningMethodEdDSA, is.ed, kid(1), ok), "not one that this server trusts"},
		{"kid a list", sign(t, jwt.SigningMethodEdDSA, is.ed, kid([]string{"ed"}), ok), "not one that this server trusts"},
		{"kid a path", sign(t, jwt.SigningMethodHS256, []byte{}, kid("../../../../dev/null"), ok), "not signed with"},
		{"kid a path, right algorithm", sign(t, jwt.SigningMethodEdDSA, stranger.ed, kid("../../ed"), ok), "not one that this server trusts"},
		{"kid SQL", sign(t, jwt.SigningMethodEdDSA, stranger.ed, kid("x' UNION SELECT 'key'; --"), ok), "not one that this server trusts"},
		{"kid of a key that is not for signatures here", sign(t, jwt.SigningMethodEdDSA, is.ed, kid("rsa"), ok), "not one that this server trusts"},
		{"an extension that must be understood",
			sign(t, jwt.SigningMethodEdDSA, is.ed, map[string]any{"kid": "ed", "crit": []string{"b64"}, "b64": false}, ok), "demands an extension"},

		{"payload changed after signing", parts[0] + "." + b64([]byte(strings.Replace(ok, "acme", "evil", 1))) + "." + parts[2], "not signed with"},
		{"header changed after signing", b64([]byte(`{"alg":"EdDSA","kid":"ed"}`)) + "." + parts[1] + "." + parts[2], "not signed with"},
		{"signature cut off", parts[0] + "." + parts[1] + ".", "not signed with"},
		{"signature shortened", parts[0] + "." + parts[1] + "." + parts[2][:40], "not signed with"},
		{"signature of another token", parts[0] + "." + parts[1] + "." + strings.Split(signed(map[string]any{"sub": "bob"}), ".")[2], "not signed with"},
		{"signature of zeros", parts[0] + "." + parts[1] + "." + b64(make([]byte, 64)), "not signed with"},
		{"P-256 signature of zeros", b64([]byte(`{"alg":"ES256","kid":"ec"}`)) + "." + parts[1] + "." + b64(make([]byte, 64)), "not signed with"},

		{"wrong issuer", signed(map[string]any{"iss": "https://evil.example"}), "issuer is not"},
		{"issuer with a slash more", signed(map[string]any{"iss": testIssuer + "/"}), "issuer is not"},
		{"no issuer", signed(map[string]any{"iss": nil}), "needs the claims"},
		{"issuer a list", signed(map[string]any{"iss": []string{testIssuer}}), "wrong type"},
		{"wrong audience", signed(map[string]any{"aud": "another service"}), "audience is not"},
		{"no audience", signed(map[string]any{"aud": nil}), "needs the claims"},
		{"audience a number", signed(map[string]any{"aud": 1}), "needs the claims"},
		{"audience with a number in it", signed(map[string]any{"aud": []any{testAudience, 1}}), "wrong type"},
		{"expired", signed(map[string]any{"exp": testNow.Add(-time.Hour).Unix()}), "expired at 2030-05-17T11:00:00Z"},
		{"expired this very second", signed(map[string]any{"exp": testNow.Unix()}), "expired at 2030-05-17T12:00:00Z"},
		{"no expiry", signed(map[string]any{"exp": nil}), "needs the claims"},
		{"expiry 0", signed(map[string]any{"exp": 0}), "needs the claims"},
		{"expiry negative", signed(map[string]any{"exp": -1}), "expired at"},
		{"expiry a string", signed(map[string]any{"exp": "2099-01-01"}), "wrong type"},
		{"expiry beyond all dates", signed(map[string]any{"exp": 1e15}), "exp is out of range"},
		{"expiry beyond all integers", signed(map[string]any{"exp": 1e300}), "expired at"},
		{"expiry not a number that fits", raw(strings.Replace(ok, `"exp":`, `"exp":1e999,"was":`, 1)), "not a JWT"},
		{"not valid yet", signed(map[string]any{"nbf": testNow.Add(time.Second).Unix()}), "not valid yet"},
		{"not valid before all integers", signed(map[string]any{"nbf": 1e300}), "nbf is out of range"},
		{"not-before a string", signed(map[string]any{"nbf": "now"}), "wrong type"},

		{"no subject", signed(map[string]any{"sub": nil}), "subject"},
		{"subject empty", signed(map[string]any{"sub": ""}), "subject"},
		{"subject a number", signed(map[string]any{"sub": 7}), "subject"},
		{"subject too long", signed(map[string]any{"sub": strings.Repeat("a", ledger.MaxAuthor+1)}), "subject"},

		{"no tenant", signed(map[string]any{"tenant": nil}), "a tenant is required"},
		{"no tenant, every role but operator", signed(map[string]any{"tenant": nil, "roles": "reader writer admin auditor"}), "a tenant is required"},
		{"tenant null", raw(strings.Replace(ok, `"acme"`, `null`, 1)), "not a tenant's name"},
		{"tenant empty", signed(map[string]any{"tenant": ""}), "not a tenant's name"},
		{"tenant empty, an operator", signed(map[string]any{"tenant": "", "roles": "operator"}), "not a tenant's name"},
		{"tenant a number", signed(map[string]any{"tenant": 42}), "not a tenant's name"},
		{"tenant a list", signed(map[string]any{"tenant": []string{"acme"}}), "not a tenant's name"},
		{"tenant a list, an operator", signed(map[string]any{"tenant": []string{"acme", "globex"}, "roles": "operator"}), "not a tenant's name"},
		{"tenant an object", signed(map[string]any{"tenant": map[string]any{"acme": true}}), "not a tenant's name"},
		{"tenant in capitals", signed(map[string]any{"tenant": "ACME"}), "tenant"},
		{"tenant with a space", signed(map[string]any{"tenant": "acme "}), "tenant"},
		{"tenant a wildcard", signed(map[string]any{"tenant": "*"}), "tenant"},
		{"tenant a subject", signed(map[string]any{"tenant": "acme.>"}), "tenant"},
		{"tenant a path", signed(map[string]any{"tenant": "../globex"}), "tenant"},
		{"tenant with a zero byte", signed(map[string]any{"tenant": "acme\x00"}), "tenant"},
		{"tenant too long", signed(map[string]any{"tenant": strings.Repeat("a", 64)}), "tenant"},
		{"tenant the ledger's own", signed(map[string]any{"tenant": "_system"}), "for operators"},
		{"tenant the ledger's own, an admin", signed(map[string]any{"tenant": "_system", "roles": "admin"}), "for operators"},
		{"tenant the ledger's own, not quite an operator", signed(map[string]any{"tenant": "_system", "roles": "Operator operators"}), "for operators"},
		{"tenant under another claim", signed(map[string]any{"tenant": nil, "Tenant": "acme"}), "a tenant is required"},

		{"roles a number", signed(map[string]any{"roles": 1}), "roles"},
		{"roles an object", signed(map[string]any{"roles": map[string]any{"operator": true}}), "roles"},
		{"roles with a number in them", signed(map[string]any{"roles": []any{"reader", 1}}), "roles"},
		{"roles in lists", signed(map[string]any{"roles": []any{[]string{"operator"}}}), "roles"},

		{"tenant twice", raw(strings.Replace(ok, `{`, `{"tenant":"globex",`, 1)), "twice"},
		{"tenant twice, once escaped", raw(strings.Replace(ok, `{`, `{"tenan\u0074":"globex",`, 1)), "twice"},
		{"roles twice", raw(strings.Replace(ok, `{`, `{"roles":["operator"],`, 1)), "twice"},
		{"expiry twice", raw(strings.Replace(ok, `{`, `{"exp":1,`, 1)), "twice"},
		{"something twice deep down", raw(strings.Replace(ok, `{`, `{"x":[{"y":1,"y":2}],`, 1)), "twice"},
		{"not UTF-8", raw(strings.Replace(ok, `alice`, "al\xffce", 1)), "not UTF-8"},
	}
	v := is.verifier(t)
	if _, err := v.Verify(genuine); err != nil {
		t.Fatalf("the token that the forgeries are made of: %v", err)
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for range 2 { // A refused token is not remembered as a good one.
				p, err := v.Verify(tt.token)
				if err == nil {
					t.Fatalf("accepted as %+v", *p)
				}
				if !errors.Is(err, ErrUnauthenticated) {
					t.Errorf("%v is not ErrUnauthenticated", err)
				}
				if !strings.Contains(err.Error(), tt.reason) {
					t.Errorf("the reason is %q, want one with %q", err, tt.reason)
				}
				if len(tt.token) > 20 && strings.Contains(err.Error(), tt.token[:20]) {
					t.Errorf("the reason %q shows the token", err)
				}
			}
		})
	}
}

func TestClaimNamesAreConfigurable(t *testing.T) {
	is := newIssuer(t)
	is.config.TenantClaim, is.config.RolesClaim = "custom:tenantId", "cognito:groups"
	v := is.verifier(t)
	p, err := v.Verify(is.signed(t, good(map[string]any{
		"tenant": "globex", "roles": "operator", "custom:tenantId": "acme", "cognito:groups": []string{"auditor"},
	})))
	if err != nil {
		t.Fatal(err)
	}
	if p.Tenant != "acme" || !slices.Equal(p.Roles, []Role{Auditor}) {
		t.Errorf("got tenant %q and roles %q", p.Tenant, p.Roles)
	}
	if _, err := v.Verify(is.signed(t, good(nil))); !errors.Is(err, ErrUnauthenticated) {
		t.Errorf("a token with the default claims: %v", err)
	}
}

func TestVerifierNeedsKeysIssuerAndAudience(t *testing.T) {
	is := newIssuer(t)
	for name, spoil := range map[string]func(*Config){
		"keys":     func(c *Config) { c.Keys = KeySet{} },
		"issuer":   func(c *Config) { c.Issuer = "" },
		"audience": func(c *Config) { c.Audience = "" },
	} {
		cfg := is.config
		spoil(&cfg)
		if _, err := NewVerifier(cfg); err == nil {
			t.Errorf("a verifier without %s was made", name)
		}
	}
}

func TestRolesAreParsedByTheirExactNames(t *testing.T) {
	for _, r := range allRoles {
		if got, err := ParseRole(string(r)); got != r || err != nil {
			t.Errorf("ParseRole(%q) = %q, %v", r, got, err)
		}
	}
	for _, s := range []string{"", "Reader", "root", "reader "} {
		if got, err := ParseRole(s); err == nil {
			t.Errorf("ParseRole(%q) = %q", s, got)
		}
	}
}

// FuzzVerify changes good and forged tokens: nothing may panic, and nothing but
// the good ones may get in.
func FuzzVerify(f *testing.F) {
	is := newIssuer(f)
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
	f.Add("..")
	f.Add("e30.e30.e30")
	f.Add(sign(f, jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, map[string]any{"kid": "ed"}, payload(f, good(nil))))
	f.Add(is.signed(f, map[string]any{"exp": 1e300}))
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
