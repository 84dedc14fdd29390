package identity

import (
	"cmp"
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

// Config defines which tokens a Verifier accepts.
type Config struct {
	// Keys that sign tokens. Required.
	Keys Keys
	// Issuer is the token's "iss". Required.
	Issuer string
	// Audience is one of the token's "aud". Required.
	Audience string
	// Preset selects the provider's names of the claims below.
	Preset Preset
	// TenantClaim holds the tenant; the preset's when empty. A name that begins
	// with "/" is a JSON pointer (RFC 6901) to a claim inside of another.
	TenantClaim string
	// RolesClaim holds the roles, as a list or separated by spaces; the preset's
	// when empty. Roles that are not known here are passed over.
	RolesClaim string
	// MaxLifetime is the longest time for which a token may be valid, from when it was
	// issued until it expires; 0 for any.
	MaxLifetime time.Duration
	// RolesMap gives the roles that the names in the claim stand for; nil takes them as
	// they are.
	RolesMap RolesMap
	// Now is the clock; time.Now when nil.
	Now func() time.Time
}

// Attributes are the claims that decide what a caller may do.
func (v *Verifier) Attributes() []string {
	return []string{string(v.tenantClaim), string(v.rolesClaim), v.prefixesClaim, v.replicatesClaim}
}

// Verifier checks tokens. It is safe for concurrent use.
type Verifier struct {
	keys        Keys
	issuer      string
	audience    string
	preset      Preset
	tenantClaim claimName
	rolesClaim  claimName
	rolesMap    RolesMap
	// prefixesClaim holds the prefixes of the keys that a token is limited to.
	prefixesClaim string
	// replicatesClaim holds the tenants that an edge gateway may copy.
	replicatesClaim string
	maxLifetime     time.Duration
	now             func() time.Time
	parser          *jwt.Parser
	claims          *jwt.Validator // the parser's own

	verified cache
}

// NewVerifier makes a Verifier.
func NewVerifier(cfg Config) (*Verifier, error) {
	switch {
	case cfg.Keys == nil:
		return nil, errors.New("new verifier: no keys")
	case cfg.Issuer == "":
		return nil, errors.New("new verifier: the issuer is empty")
	case cfg.Audience == "":
		return nil, errors.New("new verifier: the audience is empty")
	}
	names, known := presets[cfg.Preset]
	if !known {
		return nil, fmt.Errorf("new verifier: unknown preset %q", cfg.Preset)
	}
	v := &Verifier{
		keys:        cfg.Keys,
		issuer:      cfg.Issuer,
		audience:    cfg.Audience,
		preset:      cfg.Preset,
		tenantClaim: claimName(cmp.Or(cfg.TenantClaim, names.tenant)),
		rolesClaim:  claimName(cmp.Or(cfg.RolesClaim, names.roles)),
		maxLifetime: cfg.MaxLifetime,
		rolesMap:    cfg.RolesMap,
		now:         cfg.Now,

		prefixesClaim: names.prefixes, replicatesClaim: names.replicates,
	}
	if v.now == nil {
		v.now = time.Now
	}
	options := []jwt.ParserOption{
		jwt.WithValidMethods([]string{rs256, es256, eddsa}),
		jwt.WithIssuer(cfg.Issuer),
		jwt.WithExpirationRequired(),
		jwt.WithTimeFunc(v.now),
		jwt.WithStrictDecoding(),
	}
	if v.preset != Cognito {
		options = append(options, jwt.WithAudience(cfg.Audience))
	}
	v.parser, v.claims = jwt.NewParser(options...), jwt.NewValidator(options...)
	return v, nil
}

// Verify returns who holds the token, or an error that wraps ErrUnauthenticated.
// A token that was verified once is remembered until it expires or its key stops
// working. One whose key is unknown may have to wait for the keys to be loaded.
func (v *Verifier) Verify(token string) (*Principal, error) {
	if len(token) > MaxToken {
		return nil, tooLong(token)
	}
	id := digestOf(token)
	now := v.now()
	if e := v.verified.get(&id); e != nil && e.key.good(now) {
		if !now.Before(e.principal.Expires) {
			return nil, expired(e.principal.Expires)
		}
		return &e.principal, nil
	}
	p, key, err := v.check(token)
	if err != nil {
		return nil, err
	}
	return v.verified.put(&id, p, key, now), nil
}

// check does the whole verification: the signature first, then the claims.
func (v *Verifier) check(token string) (p Principal, key *publicKey, err error) {
	claims := jwt.MapClaims{}
	find := func(t *jwt.Token) (any, error) {
		if key, err = v.key(t); err != nil {
			return nil, err
		}
		return key.key, nil
	}
	if _, err := v.parser.ParseWithClaims(token, claims, find); err != nil {
		return p, nil, refuse("%s", v.reasons(err, claims)[0])
	}
	if err := checkJSON(token); err != nil {
		return p, nil, err
	}
	p, err = v.principal(claims)
	return p, key, err
}

// key finds the key for a token that nothing is known of yet. Keys come from
// the verifier's own alone: headers that bring or point to one (jwk, jku, x5c,
// x5u) are not looked at.
func (v *Verifier) key(t *jwt.Token) (*publicKey, error) {
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
	return key, nil
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

// reasons turns the parser's error into reasons that reveal no more than the caller
// knows. There is always one.
func (v *Verifier) reasons(err error, claims jwt.MapClaims) []string {
	if r, ok := errors.AsType[*refusal](err); ok {
		return []string{r.reason}
	}
	var wrong []string
	for _, known := range []struct {
		err    error
		reason string
	}{
		{jwt.ErrTokenMalformed, "the token is not a JWT: header.payload.signature, each in base64url without padding"},
		{jwt.ErrTokenUnverifiable, "the token's algorithm is not RS256, ES256 or EdDSA"},
		{jwt.ErrTokenSignatureInvalid, "the token is not signed with RS256, ES256 or EdDSA by the key that it names"},
		{jwt.ErrInvalidType, "a registered claim of the token (iss, aud, exp, nbf) has the wrong type"},
		{jwt.ErrTokenRequiredClaimMissing, "the token needs the claims iss, aud and exp"},
		{jwt.ErrTokenInvalidIssuer, fmt.Sprintf("the token's issuer is not %q", v.issuer)},
		{jwt.ErrTokenInvalidAudience, fmt.Sprintf("the token's audience is not %q", v.audience)},
		{jwt.ErrTokenNotValidYet, "the token is not valid yet (nbf): compare the clocks"},
	} {
		if errors.Is(err, known.err) {
			wrong = append(wrong, known.reason)
		}
	}
	if exp, _ := claims.GetExpirationTime(); exp != nil && errors.Is(err, jwt.ErrTokenExpired) {
		wrong = append(wrong, expired(exp.Time).reason)
	}
	if len(wrong) == 0 {
		wrong = append(wrong, "the token's claims are not valid")
	}
	return wrong
}

func expired(at time.Time) *refusal {
	return refuse("the token expired at %s", at.UTC().Format(time.RFC3339))
}

func tooLong(token string) *refusal {
	return refuse("the token has %d bytes, more than %d", len(token), MaxToken)
}

// Bearer returns the token in the values of a request's header "authorization", of which there
// must be one.
func Bearer(authorization []string) (token string, err error) {
	if len(authorization) != 1 {
		return "", fmt.Errorf("%w: send one \"authorization: Bearer TOKEN\"", ErrUnauthenticated)
	}
	scheme, token, _ := strings.Cut(authorization[0], " ")
	if !strings.EqualFold(scheme, "bearer") || token == "" {
		return "", fmt.Errorf("%w: send \"authorization: Bearer TOKEN\"", ErrUnauthenticated)
	}
	return token, nil
}
