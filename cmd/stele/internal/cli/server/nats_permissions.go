package server

import (
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/stelehq/stele/cmd/stele/internal/cli/session"
	"github.com/stelehq/stele/cmd/stele/internal/failure"
	"github.com/stelehq/stele/cmd/stele/internal/node"
	"github.com/stelehq/stele/cmd/stele/internal/output"
	"github.com/stelehq/stele/cmd/stele/internal/permissions"
)

func NatsPermissionsCommand(c *session.Flags) *cobra.Command {
	var roles []string
	plan := permissions.Plan{}
	cmd := &cobra.Command{
		Use:   "nats-permissions",
		Short: "Print the NATS permissions that the ledger's processes need",
		Long: `Print the least permissions that the ledger's processes need on the NATS
servers: an account with its users for nats-server's configuration, or as JSON
(-o json) for tools that create JWTs.

  --roles ledger+gateway,signer    one user for each process: here a process
                                   with two roles, and a signer

A user's public nkey comes from the environment of nats-server. The role install
is for "stele nats-install", which creates the streams, and backup for "stele
backup". Edge gateways need no NATS user: they replicate from other gateways
(--upstream). docs/nats.md explains each step.`,
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
			return printPermissions(cmd.OutOrStdout(), plan, output.Format(c.Format))
		},
	}
	f := cmd.Flags()
	f.StringSliceVar(&roles, "roles", append(slices.Clone(node.Roles), permissions.Install), "users, each with its roles joined by +")
	f.BoolVar(&plan.Create, "create", false, "let processes that write create the streams, so that none needs the role install")
	return cmd
}

func printPermissions(w io.Writer, plan permissions.Plan, format output.Format) error {
	account := plan.Account()
	if format == output.Text {
		return permissions.WriteConfig(w, account)
	}
	return output.NewPrinter(w, format).Object(account)
}
