package identity

import (
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stelehq/stele/internal/ledger"
)

type forgery struct{ name, token, reason string }

// TestVerify_ForgedTokens tries each forgery with a key of each kind.
func TestVerify_ForgedTokens(t *testing.T) {
	is, stranger := newIssuer(t), newIssuer(t)
	v := is.verifier(t)
	tried, accepted := 0, 0
	for _, kind := range []struct{ k, other, evil testKey }{
		{is.ed, is.ec, stranger.ed}, {is.ec, is.rsa, stranger.ec}, {is.rsa, is.ed, stranger.rsa},
	} {
		if _, err := v.Verify(kind.k.sign(t, nil, payload(t, good(nil)))); err != nil {
			t.Fatalf("the token that the forgeries are made of: %v", err)
		}
		for _, f := range append(forgeries(t, kind.k, kind.other, kind.evil), confusions(t, kind.k)...) {
			tried++
			t.Run(kind.k.kid+"/"+f.name, func(t *testing.T) {
				for range 2 { // A refused token is not remembered as a good one.
					p, err := v.Verify(f.token)
					if err == nil {
						accepted++
						t.Fatalf("accepted as %+v", *p)
					}
					if !errors.Is(err, ErrUnauthenticated) {
						t.Errorf("%v is not ErrUnauthenticated", err)
					}
					if !strings.Contains(err.Error(), f.reason) {
						t.Errorf("the reason is %q, want one with %q", err, f.reason)
					}
					if len(f.token) > 20 && strings.Contains(err.Error(), f.token[:20]) {
						t.Errorf("the reason %q shows the token", err)
					}
				}
				if e := v.Examine(f.token); e.Principal != nil || len(e.Wrong) == 0 || !strings.Contains(strings.Join(e.Wrong, "\n"), f.reason) {
					t.Errorf("examined: %+v, want a reason with %q", e, f.reason)
				}
			})
		}
	}
	t.Logf("%d forged tokens, %d accepted", tried, accepted)
	if tried < 200 {
		t.Errorf("only %d forgeries were tried", tried)
	}
}

// confusions are HMACs whose secret is public: the public key, in every form that it is
// written in.
func confusions(t testing.TB, k testKey) []forgery {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(k.Public())
	if err != nil {
		t.Fatal(err)
	}
	block := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	var all []forgery
	for form, secret := range map[string][]byte{
		"DER": der, "PEM": block, "PEM without a line break at its end": block[:len(block)-1], "JWK": []byte("{" + k.jwk(t) + "}"), "nothing": {},
	} {
		for _, method := range []jwt.SigningMethod{jwt.SigningMethodHS256, jwt.SigningMethodHS384, jwt.SigningMethodHS512} {
			token := sign(t, method, secret, map[string]any{"kid": k.kid}, payload(t, good(nil)))
			all = append(all, forgery{method.Alg() + " with the public key as " + form, token, "not signed with"})
		}
	}
	return all
}

// forgeries are tokens that look like k's, whose issuer also has the key other, signed
// by an attacker with the key evil.
func forgeries(t testing.TB, k, other, evil testKey) []forgery {
	t.Helper()
	const unknown = "not one that this server trusts"
	evil.kid = k.kid
	kid := func(id any) map[string]any { return map[string]any{"kid": id} }
	raw := func(payload string) string { return k.sign(t, nil, payload) }
	signed := func(changes map[string]any) string { return raw(payload(t, good(changes))) }
	ok := payload(t, good(nil))
	genuine := raw(ok)
	parts := strings.Split(genuine, ".")
	b64 := base64.RawURLEncoding.EncodeToString
	header := func(alg, kid string) string { return b64([]byte(`{"alg":"` + alg + `","kid":"` + kid + `"}`)) }
	signature, err := base64.RawURLEncoding.DecodeString(parts[2])
	if err != nil {
		t.Fatal(err)
	}
	evilJWK := json.RawMessage("{" + evil.jwk(t) + "}")
	return []forgery{
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

		{"alg none", sign(t, jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, kid(k.kid), ok), "not signed with"},
		{"alg none, spelled otherwise", b64([]byte(`{"alg":"nOnE","kid":"`+k.kid+`"}`)) + "." + parts[1] + ".", "algorithm"},

		{"payload changed after signing", parts[0] + "." + b64([]byte(strings.Replace(ok, "acme", "evil", 1))) + "." + parts[2], "not signed with"},
		{"signature cut off", parts[0] + "." + parts[1] + ".", "not signed with"},
		{"signature shortened", parts[0] + "." + parts[1] + "." + parts[2][:40], "not signed with"},
		{"signature of another token", parts[0] + "." + parts[1] + "." + strings.Split(signed(map[string]any{"sub": "bob"}), ".")[2], "not signed with"},

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

		{"prefixes null", raw(strings.Replace(ok, `{`, `{"prefixes":null,`, 1)), "prefixes"},
		{"prefixes that name none", signed(map[string]any{"prefixes": []string{}}), "prefixes"},
		{"prefixes of blanks", signed(map[string]any{"prefixes": "  "}), "prefixes"},
		{"prefixes a number", signed(map[string]any{"prefixes": 1}), "prefixes"},
		{"prefixes with a number in them", signed(map[string]any{"prefixes": []any{"a/", 1}}), "prefixes"},
		{"prefixes with a star", signed(map[string]any{"prefixes": []string{"a/", "b*/"}}), "prefixes"},
		{"prefixes twice", raw(strings.Replace(ok, `{`, `{"prefixes":["a/"],"prefixes":[""],`, 1)), "twice"},

		{"tenant twice", raw(strings.Replace(ok, `{`, `{"tenant":"globex",`, 1)), "twice"},
		{"tenant twice, once escaped", raw(strings.Replace(ok, `{`, `{"tenan\u0074":"globex",`, 1)), "twice"},
		{"roles twice", raw(strings.Replace(ok, `{`, `{"roles":["operator"],`, 1)), "twice"},
		{"expiry twice", raw(strings.Replace(ok, `{`, `{"exp":1,`, 1)), "twice"},
		{"something twice deep down", raw(strings.Replace(ok, `{`, `{"x":[{"y":1,"y":2}],`, 1)), "twice"},
		{"not UTF-8", raw(strings.Replace(ok, `alice`, "al\xffce", 1)), "not UTF-8"},
		{"no alg", k.sign(t, map[string]any{"alg": nil}, ok), "algorithm"},
		{"alg not a string", k.sign(t, map[string]any{"alg": []string{k.method.Alg()}}, ok), "algorithm"},
		{"alg in other letters", k.sign(t, map[string]any{"alg": strings.ToLower(k.method.Alg())}, ok), "algorithm"},
		{"alg of the other key", sign(t, other.method, other.Signer, kid(k.kid), ok), "not " + k.method.Alg() + ", which its key is for"},
		{"alg of the other key, the other way", sign(t, k.method, k.Signer, kid(other.kid), ok), "not " + other.method.Alg() + ", which its key is for"},
		{"alg and kid changed after signing", header(other.method.Alg(), other.kid) + "." + parts[1] + "." + parts[2], "not signed with"},
		{"key of a stranger under a known name", evil.sign(t, nil, ok), "not signed with"},
		{"key of a stranger in the header (jwk)", evil.sign(t, map[string]any{"kid": "evil", "jwk": evilJWK}, ok), unknown},
		{"key of a stranger in the header under a known name", evil.sign(t, map[string]any{"jwk": evilJWK}, ok), "not signed with"},
		{"keys of a stranger by address (jku)", evil.sign(t, map[string]any{"kid": "evil", "jku": "https://evil.example/jwks.json"}, ok), unknown},
		{"keys of a stranger by address under a known name", evil.sign(t, map[string]any{"jku": "https://evil.example/jwks.json"}, ok), "not signed with"},
		{"certificate of a stranger by address (x5u)", evil.sign(t, map[string]any{"kid": "evil", "x5u": "https://evil.example/cert"}, ok), unknown},
		{"certificate of a stranger in the header (x5c)", evil.sign(t, map[string]any{"x5c": []string{"MIIB"}}, ok), "not signed with"},
		{"kid missing", k.sign(t, map[string]any{"kid": nil}, ok), "names no key"},
		{"kid empty", k.sign(t, kid(""), ok), unknown},
		{"kid a number", k.sign(t, kid(1), ok), unknown},
		{"kid a list", k.sign(t, kid([]string{k.kid}), ok), unknown},
		{"kid a path", sign(t, jwt.SigningMethodHS256, []byte{}, kid("../../../../dev/null"), ok), "not signed with"},
		{"kid a path, right algorithm", evil.sign(t, kid("../../"+k.kid), ok), unknown},
		{"kid an address", evil.sign(t, kid("https://evil.example/key"), ok), unknown},
		{"kid SQL", evil.sign(t, kid("x' UNION SELECT 'key'; --"), ok), unknown},
		{"kid a command", evil.sign(t, kid(k.kid+"|sleep 9"), ok), unknown},
		{"kid with a zero byte", evil.sign(t, kid(k.kid+"\x00"), ok), unknown},
		{"kid of a key that is for encryption", k.sign(t, kid("enc"), ok), unknown},
		{"kid of a key that is for another algorithm", k.sign(t, kid("pss"), ok), unknown},
		{"an extension that must be understood", k.sign(t, map[string]any{"crit": []string{"b64"}, "b64": false}, ok), "demands an extension"},
		{"header changed after signing", header(k.method.Alg(), k.kid) + "." + parts[1] + "." + parts[2], "not signed with"},
		{"signature of zeros", parts[0] + "." + parts[1] + "." + b64(make([]byte, len(signature))), "not signed with"},
		{"signature a byte longer", parts[0] + "." + parts[1] + "." + b64(append(signature, 0)), "not signed with"},
		{"no signature, a genuine header", parts[0] + "." + parts[1], "not a JWT"},
	}
}
