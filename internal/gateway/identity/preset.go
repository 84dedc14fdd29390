package identity

import (
	"fmt"
	"strings"

	"github.com/golang-jwt/jwt/v5"
)

// Preset says how a provider's tokens name things.
type Preset string

const (
	// Plain tokens have the claims "tenant", "roles", "prefixes" and "replicates".
	Plain Preset = ""
	// Cognito puts tenant and prefixes into custom attributes and knows roles as
	// groups; its access tokens name their client instead of an audience.
	Cognito Preset = "cognito"
	// Keycloak has its realm's roles one level down.
	Keycloak Preset = "keycloak"
)

var presets = map[Preset]struct{ tenant, roles, prefixes, replicates string }{
	Plain:    {"tenant", "roles", "prefixes", "replicates"},
	Cognito:  {"custom:tenantId", "cognito:groups", "custom:prefixes", "custom:replicates"},
	Keycloak: {"tenant", "/realm_access/roles", "prefixes", "replicates"},
}

// ParsePreset checks a preset's name.
func ParsePreset(s string) (Preset, error) {
	if _, ok := presets[Preset(s)]; !ok {
		return "", fmt.Errorf("unknown claims preset %q: use cognito or keycloak, or leave it out", s)
	}
	return Preset(s), nil
}

// claimName is a claim's name, or a JSON pointer to a nested one. Names may have dots
// and slashes in them; only the first byte decides.
type claimName string

func (n claimName) in(claims jwt.MapClaims) (value any, present bool) {
	path, nested := strings.CutPrefix(string(n), "/")
	if !nested {
		value, present = claims[string(n)]
		return value, present
	}
	value = map[string]any(claims)
	for step := range strings.SplitSeq(path, "/") {
		object, ok := value.(map[string]any)
		if !ok {
			return nil, false
		}
		if value, present = object[pointerEscapes.Replace(step)]; !present {
			return nil, false
		}
	}
	return value, true
}

// pointerEscapes are those of RFC 6901 section 3. Replacing both in one pass is
// right: "~01" is "~1".
var pointerEscapes = strings.NewReplacer("~1", "/", "~0", "~")

// cognitoAudience finds our client where Cognito puts it: an ID token's "aud", an
// access token's "client_id". The "aud" that an access token may have is that of
// the resource, which the client has asked for itself.
func (v *Verifier) cognitoAudience(claims jwt.MapClaims) error {
	switch claims["token_use"] {
	case "id":
		if aud, _ := claims["aud"].(string); aud == v.audience {
			return nil
		}
		return refuse("the token's audience is not %q", v.audience)
	case "access":
		if id, _ := claims["client_id"].(string); id == v.audience {
			return nil
		}
		return refuse("the token's client (client_id) is not %q", v.audience)
	}
	return refuse("the token is neither an ID token nor an access token of Cognito (token_use)")
}
