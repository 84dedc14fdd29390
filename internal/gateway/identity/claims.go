package identity

import (
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stelehq/stele/internal/ledger"
)

// maxDate is the last second of the year 9999. The parser turns dates far beyond
// it into dates long past.
const maxDate = 253402300799

// principal reads the claims of a token whose signature, issuer, audience and
// dates are good.
func (v *Verifier) principal(claims jwt.MapClaims) (Principal, error) {
	var p Principal
	for _, name := range []string{"exp", "nbf"} {
		if date, ok := claims[name].(float64); ok && (date < 0 || date > maxDate) {
			return p, refuse("the token's %s is out of range", name)
		}
	}
	// The parser has checked that it is a number, which may be fractional.
	exp, _ := claims["exp"].(float64)
	p.Expires = time.Unix(int64(exp), 0).UTC()
	p.ID, _ = claims["jti"].(string)
	if iat, ok := claims["iat"].(float64); ok && iat > 0 && iat <= maxDate {
		p.Issued = time.Unix(int64(iat), 0).UTC()
	}
	if err := v.checkLifetime(&p); err != nil {
		return p, err
	}

	var ok bool
	if p.Subject, ok = claims["sub"].(string); !ok || p.Subject == "" || len(p.Subject) > ledger.MaxAuthor {
		return p, refuse("the token's subject (sub) is not a string of 1 to %d bytes", ledger.MaxAuthor)
	}
	if v.issuer == LocalIssuer {
		p.Minters = minters(p.Subject)
	}
	if v.preset == Cognito {
		if err := v.cognitoAudience(claims); err != nil {
			return p, err
		}
	}
	roles, _ := v.rolesClaim.in(claims)
	if p.Roles, ok = v.rolesMap.read(roles); !ok {
		return p, refuse("the token's roles (%s) are neither a list of strings nor one string", v.rolesClaim)
	}
	if claim, present := claims[v.prefixesClaim]; present {
		if p.Prefixes, ok = readPrefixes(claim); !ok {
			return p, refuse("the token's prefixes (%s) are not prefixes of keys, as a list or separated by spaces; leave the claim out for all keys", v.prefixesClaim)
		}
	}
	if claim, present := claims[v.replicatesClaim]; present {
		names, ok := readNames(claim)
		if !ok || len(names) == 0 {
			return p, refuse("the token's tenants to replicate (%s) are not names of tenants, as a list or separated by spaces; leave the claim out for none", v.replicatesClaim)
		}
		var err error
		if p.Replicates, err = parseReplicates(names); err != nil {
			return p, refuse("the token's tenants to replicate (%s): %v", v.replicatesClaim, err)
		}
	}
	if claim, present := v.tenantClaim.in(claims); present {
		name, ok := claim.(string)
		if !ok || name == "" {
			return p, refuse("the token's tenant (%s) is not a tenant's name", v.tenantClaim)
		}
		p.Tenant = ledger.Tenant(name)
	}
	if err := checkTenant(p.Tenant, p.Roles, p.Replicates); err != nil {
		return p, refuse("the token's tenant (%s): %v", v.tenantClaim, err)
	}
	return p, nil
}

// checkLifetime refuses a token that is good for longer than the verifier allows. One that
// does not say when it was issued, or says a later time, counts from now.
func (v *Verifier) checkLifetime(p *Principal) error {
	from := v.now()
	if !p.Issued.IsZero() && p.Issued.Before(from) {
		from = p.Issued
	}
	if d := p.Expires.Sub(from); v.maxLifetime > 0 && d > v.maxLifetime {
		return refuse("the token is valid for %s, longer than the %s that this server accepts: issue it with an earlier exp, or start the server with a longer --max-token-lifetime",
			d.Round(time.Second), v.maxLifetime)
	}
	return nil
}

// readPrefixes reads a claim that limits: an empty one, or one with an invalid prefix,
// is rejected.
func readPrefixes(claim any) ([]ledger.Pattern, bool) {
	names, ok := readNames(claim)
	var prefixes []ledger.Pattern
	for _, name := range names {
		p, err := ledger.ParsePattern(name)
		if err != nil {
			return nil, false
		}
		prefixes = append(prefixes, p)
	}
	return prefixes, ok && len(prefixes) > 0
}

// readNames reads a list of strings or one string with spaces; false means that
// the claim is neither.
func readNames(claim any) (names []string, ok bool) {
	switch c := claim.(type) {
	case nil:
	case string:
		names = strings.Fields(c)
	case []any:
		for _, item := range c {
			name, ok := item.(string)
			if !ok {
				return nil, false
			}
			names = append(names, name)
		}
	default:
		return nil, false
	}
	return names, true
}
