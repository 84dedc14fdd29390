// Package trust holds the flags that say which tokens and public keys are accepted.
package trust

import (
	"context"
	"log/slog"
	"time"

	"github.com/spf13/pflag"
	"github.com/stelehq/stele/cmd/stele/internal/failure"
	"github.com/stelehq/stele/cmd/stele/internal/userpool"
	"github.com/stelehq/stele/internal/gateway/identity"
)

// Options are the flags that say whose tokens are good.
type Options struct {
	JWKS, Issuer, Audience  string
	Private                 bool
	Claims                  string
	tenantClaim, rolesClaim string
	rolesMap                []string
	maxLifetime             time.Duration
}

// AddFlags defines the flags.
func (o *Options) AddFlags(f *pflag.FlagSet) {
	f.StringVar(&o.Issuer, "issuer", "", "issuer that tokens must have")
	f.StringVar(&o.Audience, "audience", "", "audience that tokens must have; with --claims cognito the client's id")
	f.StringVar(&o.JWKS, "jwks", "", "file or https URL of the keys that tokens are checked with (default what the issuer's discovery document names)")
	f.BoolVar(&o.Private, "jwks-private", false, "let the keys come from an address in a private network")
	f.StringVar(&o.Claims, "claims", "", "how the provider names claims: cognito or keycloak (default tenant and roles)")
	f.DurationVar(&o.maxLifetime, "max-token-lifetime", 24*time.Hour, "longest lifetime of a token that is accepted; those of a local identity (issuer stele-local) have the one that they were minted with")
	f.StringVar(&o.tenantClaim, "tenant-claim", "", "claim that holds the tenant, or a JSON pointer to it")
	f.StringVar(&o.rolesClaim, "roles-claim", "", "claim that holds the roles, or a JSON pointer to them, e.g. /realm_access/roles")
	f.StringSliceVar(&o.rolesMap, "roles-map", nil, "roles that names in the roles claim stand for, e.g. Admins=admin,Users=writer; other names give none")
}

// Open loads the keys, which are to be closed, and makes the verifier.
func (o *Options) Open(ctx context.Context, log *slog.Logger) (*identity.Verifier, *identity.Keyring, error) {
	preset, err := identity.ParsePreset(o.Claims)
	if err != nil {
		return nil, nil, failure.Usagef("--claims: %w", err)
	}
	roles, err := identity.ParseRolesMap(o.rolesMap)
	if err != nil {
		return nil, nil, failure.Usagef("--roles-map: %w", err)
	}
	lifetime := o.maxLifetime
	switch {
	case lifetime <= 0:
		return nil, nil, failure.Usagef("--max-token-lifetime %s: use a time of more than 0, for example 24h", lifetime)
	case o.Issuer == identity.LocalIssuer:
		lifetime = 0 // the caller that mints these tokens chooses how long they are valid
	}
	keys, err := identity.OpenKeyring(ctx, identity.KeyringConfig{Location: o.JWKS, Issuer: o.Issuer, Private: o.Private, Log: log})
	if err != nil {
		return nil, nil, err
	}
	v, err := identity.NewVerifier(identity.Config{
		Keys: keys, Issuer: o.Issuer, Audience: o.Audience, Preset: preset, TenantClaim: o.tenantClaim, RolesClaim: o.rolesClaim, RolesMap: roles, MaxLifetime: lifetime,
	})
	if err != nil {
		keys.Close()
		return nil, nil, err
	}
	return v, keys, nil
}

// userPoolTimeout bounds the check of a user pool.
const userPoolTimeout = 10 * time.Second

// CheckUserPool logs a warning if the issuer is Amazon Cognito and users can write the attributes
// that the verifier takes their tenant and rights from, or if that is not known.
func (o *Options) CheckUserPool(ctx context.Context, v *identity.Verifier, log *slog.Logger) {
	ctx, cancel := context.WithTimeout(ctx, userPoolTimeout)
	defer cancel()
	is := userpool.Examine(ctx, o.Issuer, o.Audience, v.Attributes())
	switch {
	case is.Err != nil:
		log.Warn("could not check whether users can write the attributes that decide what they may do", "client", o.Audience, "reason", is.Err,
			"check", "aws cognito-idp describe-user-pool-client --query UserPoolClient.WriteAttributes")
	case len(is.Writable) > 0:
		log.Warn("users can write attributes that decide what they may do: remove them from the WriteAttributes of the app client", "client", o.Audience, "attributes", is.Writable)
	}
}
