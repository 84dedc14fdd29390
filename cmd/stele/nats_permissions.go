package main

import (
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/stelehq/stele/cmd/stele/internal/failure"
	"github.com/stelehq/stele/cmd/stele/internal/node"
	"github.com/stelehq/stele/cmd/stele/internal/output"
	"github.com/stelehq/stele/cmd/stele/internal/permissions"
	"github.com/stelehq/stele/ledger"
	"github.com/stelehq/stele/ledger/journal"
)

// defaultShards are those of a ledger for which nothing else was said.
const defaultShards = 8

func natsPermissionsCommand(c *cli) *cobra.Command {
	var roles, edges []string
	plan := permissions.Plan{}
	cmd := &cobra.Command{
		Use:   "nats-permissions",
		Short: "Print what the ledger's processes may do on the NATS servers",
		Long: `Print the least that the ledger's processes need on the NATS servers: accounts,
users and permissions for nats-server's configuration, or as JSON (-o json) for
tools that make JWTs.

  --roles ledger+gateway,signer    a user for each process: here one that is both
                                   ledger and gateway, and one that signs
  --edge edge1=acme,globex         an edge gateway and its tenants; repeat it

A user's public nkey comes from the environment of nats-server. The role install
is that of "stele nats-install", which makes the streams and the consumers of the
edges, backup that of "stele backup". docs/nats.md goes through it.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			for _, user := range roles {
				plan.Users = append(plan.Users, strings.Split(user, "+"))
			}
			for _, user := range plan.Users {
				for _, role := range user {
					if role != permissions.Install && role != permissions.Backup && !slices.Contains(node.Roles, role) {
						return failure.Usagef("--roles: there is no role %q: use %s, %s, %s", role, strings.Join(node.Roles, ", "), permissions.Install, permissions.Backup)
					}
				}
			}
			for _, text := range edges {
				e, err := parseEdge(text)
				if err != nil {
					return err
				}
				plan.Edges = append(plan.Edges, e)
			}
			if plan.Shards < 1 {
				return failure.Usagef("--shards: a ledger has at least one")
			}
			return printPermissions(cmd.OutOrStdout(), plan, output.Format(c.format))
		},
	}
	f := cmd.Flags()
	f.StringSliceVar(&roles, "roles", append(slices.Clone(node.Roles), permissions.Install), "users, each with its roles joined by +")
	f.StringArrayVar(&edges, "edge", nil, "an edge gateway, NAME=TENANT,TENANT")
	f.IntVar(&plan.Shards, "shards", defaultShards, "streams that the ledger has")
	f.BoolVar(&plan.Create, "create", false, "let processes that write make the streams, so that none needs the role install")
	return cmd
}

// parseEdge reads NAME=TENANT,TENANT.
func parseEdge(text string) (e permissions.Edge, err error) {
	name, tenants, _ := strings.Cut(text, "=")
	if err := journal.CheckEdgeName(name); err != nil {
		return e, failure.Usagef("--edge: %w", err)
	}
	e.Name = name
	for s := range strings.SplitSeq(tenants, ",") {
		t, err := ledger.ParseTenant(s)
		if err != nil {
			return e, failure.Usagef("--edge %s: %w: write NAME=TENANT,TENANT", text, err)
		}
		e.Tenants = append(e.Tenants, t)
	}
	return e, nil
}

func printPermissions(w io.Writer, plan permissions.Plan, format output.Format) error {
	accounts := plan.Accounts()
	if format == output.Text {
		return permissions.WriteConfig(w, accounts)
	}
	return output.NewPrinter(w, format).Object(map[string]any{"accounts": accounts})
}
