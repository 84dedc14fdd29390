package main

import (
	"github.com/spf13/cobra"
	"github.com/stelehq/stele/cmd/stele/internal/contexts"
	"github.com/stelehq/stele/cmd/stele/internal/output"
)

// cli is what the global flags say.
type cli struct {
	choice contexts.Choice
	format string
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

Revisions are written @42, @HEAD, @HEAD~1, @2h (ago) or @2025-03-04T08:00Z.

Exit codes: 0 fine, 1 error, 2 usage, 3 not found, 4 conflict, 5 denied,
6 invalid value, 7 does not verify, 130 interrupted.`,
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
	flags.StringVar(&c.choice.Address, "address", "", "gateway's host:port [$STELE_ADDRESS]")
	flags.StringVar(&c.choice.TokenFile, "token-file", "", "file with the token [$STELE_TOKEN_FILE, or the token in $STELE_TOKEN]")
	flags.StringVar(&c.choice.TLSCA, "tls-ca", "", "file with the CA of the gateway's certificate [$STELE_TLS_CA]")
	flags.StringVarP(&c.choice.Tenant, "tenant", "t", "", "tenant to act for [$STELE_TENANT]")
	flags.StringVarP(&c.format, "output", "o", string(output.Text), "text, json (one object a line) or yaml")
	complete(root, "context", contextNames)
	complete(root, "output", cobra.FixedCompletions([]string{"text", "json", "yaml"}, cobra.ShellCompDirectiveNoFileComp))

	root.AddCommand(
		setCommand(c), deleteCommand(c), applyCommand(c),
		getCommand(c), listCommand(c), watchCommand(c),
		logCommand(c), showCommand(c), diffCommand(c), blameCommand(c), bisectCommand(c),
		rollbackCommand(c), revertCommand(c),
		proveCommand(c), verifyCommand(c), auditCommand(c),
		importCommand(c), exportCommand(c), execCommand(c),
		schemaCommand(c), routesCommand(c), sinksCommand(c),
		tenantCommand(c),
		statusCommand(c), doctorCommand(c), tokenCommand(c), whoamiCommand(c), canCommand(c),
	)
	root.AddCommand(upCommand(), serveCommand(), readyCommand(), backupCommand(c), restoreCommand(c), natsPermissionsCommand(c), natsInstallCommand())
	return root
}
