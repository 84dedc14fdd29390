package identity

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/golang-jwt/jwt/v5"
)

// MaxToken is the longest token that is looked at, in bytes.
const MaxToken = 16 << 10

// Config says which tokens a Verifier accepts.
type Config struct {
	// Keys that sign tokens. Required.
	Keys KeySet
	// Issuer is the token's "iss". Required.
	Issuer string
	// Audience is one of the token's "aud". Required.
	Audience string
	// TenantClaim holds the tenant; "tenant" when empty.
	TenantClaim string
	// RolesClaim holds the roles, as a list or separated by spaces; "roles" when
	// empty. Roles that are not known here are passed over.
	RolesClaim string
	// Now is the clock; time.Now when nil.
	Now func() time.Time
}

// Verifier checks tokens. It is safe for concurrent use.
type Verifier struct {
	keys        KeySet
	issuer      string
	audience    string
	tenantClaim string
	rolesClaim  string
	now         func() time.Time
	parser      *jwt.Parser

	verified cache
}

// NewVerifier makes a Verifier.
func NewVerifier(cfg Config) (*Verifier, error) {
	switch {
	case len(cfg.Keys.keys) == 0:
		return nil, errors.New("new verifier: the key set is empty")
	case cfg.Issuer == "":
		return nil, errors.New("new verifier: the issuer is empty")
	case cfg.Audience == "":
		return nil, errors.New("new verifier: the audience is empty")
	}
	v := &Verifier{
		keys:        cfg.Keys,
		issuer:      cfg.Issuer,
		audience:    cfg.Audience,
		tenantClaim: cfg.TenantClaim,
		rolesClaim:  cfg.RolesClaim,
		now:         cfg.Now,
	}
	if v.tenantClaim == "" {
		v.tenantClaim = "tenant"
	}
	if v.rolesClaim == "" {
		v.rolesClaim = "roles"
	}
	if v.now == nil {
		v.now = time.Now
	}
	v.parser = jwt.NewParser(
		jwt.WithValidMethods([]string{es256, eddsa}),
		jwt.WithIssuer(cfg.Issuer),
		jwt.WithAudience(cfg.Audience),
		jwt.WithExpirationRequired(),
		jwt.WithTimeFunc(v.now),
		jwt.WithStrictDecoding(),
	)
	return v, nil
}

// Verify returns who holds the token, or an error that wraps ErrUnauthenticated.
// A token that was verified once is remembered until it expires.
func (v *Verifier) Verify(token string) (*Principal, error) {
	if len(token) > MaxToken {
		return nil, refuse("the token has %d bytes, more than %d", len(token), MaxToken)
	}
	id := digestOf(token)
	now := v.now()
	if p := v.verified.get(&id); p != nil {
		if !now.Before(p.Expires) {
			return nil, expired(p.Expires)
		}
		return p, nil
	}
	p, err := v.check(token)
	if err != nil {
		return nil, err
	}
	return v.verified.put(&id, p, now), nil
}

// check does the whole work: signature first, then what it vouches for.
func (v *Verifier) check(token string) (Principal, error) {
	claims := jwt.MapClaims{}
	if _, err := v.parser.ParseWithClaims(token, claims, v.key); err != nil {
		return Principal{}, v.explain(err, claims)
	}
	if err := checkJSON(token); err != nil {
		return Principal{}, err
	}
	return v.principal(claims)
}

// key finds the key for a token that nothing is known of yet. Keys come from
// the key set alone: headers that bring or point to one (jwk, jku, x5c, x5u) are
// not looked at.
func (v *Verifier) key(t *jwt.Token) (any, error) {
	if _, ok := t.Header["crit"]; ok {
		// RFC 7515 section 4.1.11: refuse extensions that one doesn't understand.
		return nil, refuse("the token's header demands an extension (crit)")
	}
	key, err := v.keys.find(t.Header)
	if err != nil {
		return nil, err
	}
	if t.Method.Alg() != key.alg {
		return nil, refuse("the token's algorithm is not %s, which its key is for", key.alg)
	}
	return key.key, nil
}

// checkJSON refuses a name that occurs twice in an object, because parsers
// differ on which of the two counts, and line breaks, which base64 decoders skip.
func checkJSON(token string) error {
	if strings.ContainsAny(token, "\r\n") {
		return refuse("the token has a line break in it")
	}
	for _, part := range strings.SplitN(token, ".", 3)[:2] {
		b, err := base64.RawURLEncoding.DecodeString(part)
		if err != nil || !jsontext.Value(b).IsValid() {
			return refuse("the token's JSON names something twice or is not UTF-8")
		}
	}
	return nil
}

// explain turns the parser's error into a reason that gives away no more than
// the caller knows.
func (v *Verifier) explain(err error, claims jwt.MapClaims) error {
	if r, ok := errors.AsType[*refusal](err); ok {
		return r
	}
	for _, known := range []struct {
		err    error
		reason string
	}{
		{jwt.ErrTokenMalformed, "the token is not a JWT: header.payload.signature, each in base64url without padding"},
		{jwt.ErrTokenUnverifiable, "the token's algorithm is not ES256 or EdDSA"},
		{jwt.ErrTokenSignatureInvalid, "the token is not signed with ES256 or EdDSA by the key that it names"},
		{jwt.ErrInvalidType, "a registered claim of the token (iss, aud, exp, nbf) has the wrong type"},
		{jwt.ErrTokenRequiredClaimMissing, "the token needs the claims iss, aud and exp"},
		{jwt.ErrTokenInvalidIssuer, fmt.Sprintf("the token's issuer is not %q", v.issuer)},
		{jwt.ErrTokenInvalidAudience, fmt.Sprintf("the token's audience is not %q", v.audience)},
		{jwt.ErrTokenNotValidYet, "the token is not valid yet (nbf): compare the clocks"},
	} {
		if errors.Is(err, known.err) {
			return refuse("%s", known.reason)
		}
	}
	if exp, _ := claims.GetExpirationTime(); exp != nil && errors.Is(err, jwt.ErrTokenExpired) {
		return expired(exp.Time)
	}
	return refuse("the token's claims are not valid")
}

func expired(at time.Time) error {
	return refuse("the token expired at %s", at.UTC().Format(time.RFC3339))
}
