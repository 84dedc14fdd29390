package identity

import (
	"encoding/base64"
	"errors"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/golang-jwt/jwt/v5"
)

// Examination lists the findings about a token for its holder.
type Examination struct {
	// Header and Claims are the token's JSON; nil where it has none.
	Header, Claims jsontext.Value
	// Signed is set if the key which the token names has signed it.
	Signed bool
	// Principal is who Verify takes the holder for; nil when something is wrong.
	Principal *Principal
	// Wrong is everything that is, and empty for a good token.
	Wrong []string
}

// Examine says all that is wrong with a token, where Verify says the first.
func (v *Verifier) Examine(token string) Examination {
	var e Examination
	if len(token) > MaxToken {
		e.Wrong = []string{tooLong(token).reason}
		return e
	}
	if parts := strings.Split(token, "."); len(parts) == 3 {
		e.Header, e.Claims = jsonIn(parts[0]), jsonIn(parts[1])
	}
	claims := jwt.MapClaims{}
	_, err := v.parser.ParseWithClaims(token, claims, func(t *jwt.Token) (any, error) {
		key, err := v.key(t)
		if err != nil {
			return nil, err
		}
		return key.key, nil
	})
	e.Signed = err == nil || errors.Is(err, jwt.ErrTokenInvalidClaims)
	if err != nil {
		e.Wrong = v.reasons(err, claims)
	}
	if errors.Is(err, jwt.ErrTokenMalformed) {
		return e
	}
	if !e.Signed { // then the parser has not looked at the claims
		if err := v.claims.Validate(claims); err != nil {
			e.Wrong = append(e.Wrong, v.reasons(err, claims)...)
		}
	}
	p, err := v.principal(claims)
	for _, err := range []error{checkJSON(token), err} {
		if r, ok := errors.AsType[*refusal](err); ok {
			e.Wrong = append(e.Wrong, r.reason)
		}
	}
	if len(e.Wrong) == 0 {
		e.Principal = &p
	}
	return e
}

// jsonIn decodes a part of a token; nil when it holds no JSON.
func jsonIn(part string) jsontext.Value {
	b, err := base64.RawURLEncoding.DecodeString(part)
	if value := jsontext.Value(b); err == nil && value.IsValid(jsontext.AllowDuplicateNames(true)) {
		return value
	}
	return nil
}
