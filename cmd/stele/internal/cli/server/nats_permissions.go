package server

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/nats-io/nkeys"
	"github.com/spf13/cobra"
	"github.com/stelehq/stele/cmd/stele/internal/cli/session"
	"github.com/stelehq/stele/cmd/stele/internal/failure"
	"github.com/stelehq/stele/cmd/stele/internal/node"
	"github.com/stelehq/stele/cmd/stele/internal/output"
	"github.com/stelehq/stele/cmd/stele/internal/permissions"
)

func NatsPermissionsCommand(c *session.Flags) *cobra.Command {
	var roles []string
	var nkey string
	plan := permissions.Plan{}
	cmd := &cobra.Command{
		Use:   "nats-permissions",
		Short: "Print the NATS permissions that the ledger's processes need",
		Long: `Print the least permissions that the ledger's processes need on the NATS
servers: an account with its users for nats-server's configuration, or as JSON
(-o json) for tools that create JWTs.

  --roles ledger+gateway,signer    one user for each process: here a process
                                   with two roles, and a signer

A user's public nkey comes from the environment of nats-server. --new-nkey FILE
makes an nkey: it writes the seed, which is for the process, and prints the
public nkey. Each ledger needs nkeys of its own. The role install is for "stele
nats-install", which creates the streams, and backup for "stele backup". Edge
gateways need no NATS user: they replicate from other gateways (--upstream).
docs/nats.md explains each step.`,
		Example: `  stele nats-permissions --roles ledger+gateway,signer,install >accounts.conf
  export STELE_NKEY_INSTALL=$(stele nats-permissions --new-nkey install.nk)`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			for _, user := range roles {
				plan.Users = append(plan.Users, strings.Split(user, "+"))
			}
			for _, user := range plan.Users {
				for _, role := range user {
					if role != permissions.Install && role != permissions.Backup && !slices.Contains(node.Roles, role) {
						return failure.Usagef("--roles: unknown role %q: use %s, %s, %s", role, strings.Join(node.Roles, ", "), permissions.Install, permissions.Backup)
					}
				}
			}
			if nkey != "" {
				return newNKey(cmd.OutOrStdout(), nkey)
			}
			return printPermissions(cmd.OutOrStdout(), plan, output.Format(c.Format))
		},
	}
	f := cmd.Flags()
	f.StringSliceVar(&roles, "roles", append(slices.Clone(node.Roles), permissions.Install), "users, each with its roles joined by +")
	f.StringVar(&nkey, "new-nkey", "", "make an nkey instead: write its seed to this new file, and print the public nkey")
	f.BoolVar(&plan.Create, "create", false, "let processes that write create the streams, so that none needs the role install")
	return cmd
}

// newNKey makes a user's nkey, whose seed only the owner of the file can read.
func newNKey(w io.Writer, name string) error {
	pair, err := nkeys.CreateUser()
	if err != nil {
		return fmt.Errorf("make an nkey: %w", err)
	}
	defer pair.Wipe()
	seed, err := pair.Seed()
	if err != nil {
		return fmt.Errorf("make an nkey: %w", err)
	}
	public, err := pair.PublicKey()
	if err != nil {
		return fmt.Errorf("make an nkey: %w", err)
	}
	file, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("write the seed of an nkey: %w", err)
	}
	_, err = file.Write(append(seed, '\n'))
	if err = errors.Join(err, file.Close()); err != nil {
		return fmt.Errorf("write the seed of an nkey: %w", err)
	}
	_, err = fmt.Fprintln(w, public)
	return err
}

func printPermissions(w io.Writer, plan permissions.Plan, format output.Format) error {
	account := plan.Account()
	if format == output.Text {
		return permissions.WriteConfig(w, account)
	}
	return output.NewPrinter(w, format).Object(account)
}
