package main

import (
	"time"

	"github.com/spf13/cobra"
	"github.com/stelehq/stele/cmd/stele/internal/contexts"
	"github.com/stelehq/stele/cmd/stele/internal/output"
)

// cli is what the global flags say.
type cli struct {
	choice contexts.Choice
	format string
	// timeout of a call.
	timeout time.Duration
	// started says that flags and arguments were fine: an error before is one
	// of usage.
	started bool
}

func rootCommand(c *cli) *cobra.Command {
	root := &cobra.Command{
		Use:   "stele",
		Short: "A configuration ledger: who changed what and why, and any moment of the past",
		Long: `Stele is a configuration ledger. Every write is a commit in a log that nobody can
change; "stele up" runs all of it on this machine.

Revisions are written @42, @HEAD, @HEAD~1, @2h (ago) or @2025-03-04T08:00Z. A PREFIX
"a/b" is the key a/b and all keys below it, "a/b/" only those below it, and "a/b*" all
keys that begin with these characters.

Exit codes: 0 fine, 1 error, 2 usage, 3 not found, 4 conflict, 5 denied,
6 invalid value, 7 does not verify or another history, 130 interrupted.`,
		Version:       version(),
		SilenceErrors: true,
		SilenceUsage:  true,
		PersistentPreRunE: func(*cobra.Command, []string) error {
			_, err := output.ParseFormat(c.format)
			c.started = err == nil
			return err
		},
	}
	flags := root.PersistentFlags()
	flags.StringVar(&c.choice.Context, "context", "", "context to use [$STELE_CONTEXT]")
	flags.StringVar(&c.choice.Address, "address", "", "gateway's host:port, or several separated by commas, of which the first reachable is used [$STELE_ADDRESS]")
	flags.StringVar(&c.choice.TokenFile, "token-file", "", "file with the token [$STELE_TOKEN_FILE, or the token in $STELE_TOKEN]")
	flags.StringVar(&c.choice.TLSCA, "tls-ca", "", "file with the CA of the gateway's certificate [$STELE_TLS_CA]")
	flags.StringVarP(&c.choice.Tenant, "tenant", "t", "", "tenant to act for [$STELE_TENANT]")
	flags.DurationVar(&c.timeout, "timeout", 15*time.Second, "timeout of a read or write, for example 5s")
	flags.StringVarP(&c.format, "output", "o", string(output.Text), "text, json (one object a line) or yaml")
	complete(root, "context", contextNames)
	complete(root, "output", cobra.FixedCompletions([]string{"text", "json", "yaml"}, cobra.ShellCompDirectiveNoFileComp))

	for _, g := range []struct {
		id, title string
		commands  []*cobra.Command
	}{
		{"read", "Read:", []*cobra.Command{
			getCommand(c), listCommand(c), watchCommand(c), exportCommand(c), execCommand(c),
		}},
		{"write", "Write:", []*cobra.Command{
			setCommand(c), editCommand(c), moveCommand(c), deleteCommand(c), applyCommand(c), importCommand(c),
		}},
		{"history", "History:", []*cobra.Command{
			logCommand(c), showCommand(c), diffCommand(c), blameCommand(c), bisectCommand(c), rollbackCommand(c), revertCommand(c),
		}},
		{"operate", "Operate:", []*cobra.Command{
			upCommand(), serveCommand(), statusCommand(c), doctorCommand(c), readyCommand(), backupCommand(c), restoreCommand(c),
			tenantsCommand(c), tenantCommand(c), routesCommand(c), sinksCommand(c), schemaCommand(c), natsPermissionsCommand(c), natsInstallCommand(),
		}},
		{"security", "Security:", []*cobra.Command{
			whoamiCommand(c), canCommand(c), tokenCommand(c), auditCommand(c), proveCommand(c), verifyCommand(c),
		}},
	} {
		root.AddGroup(&cobra.Group{ID: g.id, Title: g.title})
		for _, cmd := range g.commands {
			cmd.GroupID = g.id
			root.AddCommand(cmd)
		}
	}
	root.AddCommand(versionCommand(), contextCommand(c))
	known(root)
	friendly(root)
	return root
}
