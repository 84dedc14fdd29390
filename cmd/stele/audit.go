package main

import "github.com/spf13/cobra"

func auditCommand(c *cli) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "audit",
		Short: "What auditors ask for",
	}
	cmd.AddCommand(auditExportCommand(c), auditReadsCommand(c))
	return cmd
}
