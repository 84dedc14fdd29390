package main

import (
	"context"
	"log/slog"
	"time"

	"github.com/spf13/pflag"
	"github.com/stelehq/stele/cmd/stele/internal/failure"
	"github.com/stelehq/stele/gateway/identity"
)

// trustOptions are the flags that say whose tokens are good.
type trustOptions struct {
	jwks, issuer, audience  string
	private                 bool
	claims                  string
	tenantClaim, rolesClaim string
	maxLifetime             time.Duration
}

func (o *trustOptions) addFlags(f *pflag.FlagSet) {
	f.StringVar(&o.issuer, "issuer", "", "issuer that tokens must have")
	f.StringVar(&o.audience, "audience", "", "audience that tokens must have; with --claims cognito the client's id")
	f.StringVar(&o.jwks, "jwks", "", "file or https URL of the keys that tokens are checked with (default what the issuer's discovery document names)")
	f.BoolVar(&o.private, "jwks-private", false, "let the keys come from an address in a private network")
	f.StringVar(&o.claims, "claims", "", "how the provider names claims: cognito or keycloak (default tenant and roles)")
	f.DurationVar(&o.maxLifetime, "max-token-lifetime", 24*time.Hour, "longest lifetime of a token that is accepted; those of a local identity (issuer stele-local) have the one that they were minted with")
	f.StringVar(&o.tenantClaim, "tenant-claim", "", "claim that holds the tenant, or a JSON pointer to it")
	f.StringVar(&o.rolesClaim, "roles-claim", "", "claim that holds the roles, or a JSON pointer to them, e.g. /realm_access/roles")
}

// open loads the keys, which are to be closed, and makes the verifier.
func (o *trustOptions) open(ctx context.Context, log *slog.Logger) (*identity.Verifier, *identity.Keyring, error) {
	preset, err := identity.ParsePreset(o.claims)
	if err != nil {
		return nil, nil, failure.Usagef("--claims: %w", err)
	}
	lifetime := o.maxLifetime
	switch {
	case lifetime <= 0:
		return nil, nil, failure.Usagef("--max-token-lifetime %s: use a time of more than 0, for example 24h", lifetime)
	case o.issuer == identity.LocalIssuer:
		lifetime = 0 // whoever mints these tokens chooses how long they are good
	}
	keys, err := identity.OpenKeyring(ctx, identity.KeyringConfig{Location: o.jwks, Issuer: o.issuer, Private: o.private, Log: log})
	if err != nil {
		return nil, nil, err
	}
	v, err := identity.NewVerifier(identity.Config{
		Keys: keys, Issuer: o.issuer, Audience: o.audience, Preset: preset, TenantClaim: o.tenantClaim, RolesClaim: o.rolesClaim, MaxLifetime: lifetime,
	})
	if err != nil {
		keys.Close()
		return nil, nil, err
	}
	return v, keys, nil
}
