package access

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
	"github.com/stelehq/stele/cmd/stele/internal/cli/session"
	"github.com/stelehq/stele/cmd/stele/internal/contexts"
	"github.com/stelehq/stele/cmd/stele/internal/failure"
	"github.com/stelehq/stele/cmd/stele/internal/output"
	"github.com/stelehq/stele/internal/gateway/identity"
	"github.com/stelehq/stele/internal/ledger"
)

// identityDir is the given folder, or otherwise the folder of the "stele up" whose
// token is in use.
func identityDir(c *session.Flags, flag string) (string, error) {
	if flag != "" {
		return flag, nil
	}
	settings, err := contexts.Resolve(c.Choice)
	if err != nil {
		return "", failure.With(failure.Usage, err)
	}
	if settings.TokenFile == "" {
		return "", failure.Try(failure.Usagef("no local identity is chosen"), "--identity DIR, or a context of stele up")
	}
	return filepath.Join(filepath.Dir(settings.TokenFile), "identity"), nil
}

// minted is what -o json prints.
type minted struct {
	Token   string          `json:"token"`
	Subject string          `json:"subject"`
	Tenant  string          `json:"tenant,omitempty"`
	Roles   []identity.Role `json:"roles"`
	Expires time.Time       `json:"expires"`
}

func tokenMintCommand(c *session.Flags) *cobra.Command {
	var dir string
	var create bool
	var roles, prefixes []string
	claims := identity.Claims{}
	cmd := &cobra.Command{
		Use:   "mint SUBJECT",
		Short: "Sign a token with the local identity",
		Long: `Sign a token with the local identity, the key in a folder, and print it. Anyone
with the token acts as that subject until it expires or is revoked
(policy/revoked in _system).

"stele up" trusts the identity in its data folder; "stele serve" trusts one with
--jwks DIR/jwks.json --issuer stele-local --audience stele. Only -t sets the
tenant of the token; without it, the token is an operator's.`,
		Example: `  stele token mint ann -t acme --roles reader,writer --ttl 8h
  stele token mint edge-fra1 --roles "" --replicates acme,globex --ttl 720h
  stele token mint ops --roles operator --identity /etc/stele/identity --create`,
		Args: cobra.ExactArgs(1),
	}
	cmd.RunE = func(_ *cobra.Command, args []string) error {
		claims.Subject, claims.Tenant = args[0], ledger.Tenant(c.Choice.Tenant)
		for _, name := range roles {
			role, err := identity.ParseRole(name)
			if err != nil {
				return failure.Usagef("--roles: %w", err)
			}
			claims.Roles = append(claims.Roles, role)
		}
		for _, p := range prefixes {
			claims.Prefixes = append(claims.Prefixes, ledger.Pattern(p))
		}
		dir, err := identityDir(c, dir)
		if err != nil {
			return err
		}
		if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) && !create {
			return failure.Try(failure.Usagef("%s does not contain an identity", dir), "--identity DIR, or --create to make one there; stele up makes its own")
		}
		signer, err := identity.OpenSigner(dir)
		if err != nil {
			return err
		}
		token, err := signer.Mint(claims)
		if err != nil {
			return failure.With(failure.Usage, err)
		}
		p := c.Printer()
		if p.Format == output.Text {
			return p.Write([]byte(token + "\n"))
		}
		return p.Object(minted{token, claims.Subject, string(claims.Tenant), claims.Roles, time.Now().Add(claims.TTL).UTC().Truncate(time.Second)})
	}
	f := cmd.Flags()
	f.StringSliceVar(&roles, "roles", []string{string(identity.Reader)}, "reader, writer, admin, auditor, revealer, operator")
	f.StringSliceVar(&prefixes, "prefixes", nil, "prefixes of keys that the token is limited to (default all keys)")
	f.StringSliceVar(&claims.Replicates, "replicates", nil, "tenants that an edge gateway with the token is allowed to replicate, or '*' for all")
	f.DurationVar(&claims.TTL, "ttl", 24*time.Hour, "lifetime of the token, for example 8h")
	f.StringVar(&dir, "identity", "", "folder with the key (default that of the stele up whose token is in use)")
	f.BoolVar(&create, "create", false, "create the key if it does not exist")
	return cmd
}
