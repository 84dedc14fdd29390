// Package audit has the commands for auditors: audit, prove and verify.
package audit

import (
	"github.com/spf13/cobra"
	"github.com/stelehq/stele/cmd/stele/internal/cli/session"
)

func AuditCommand(c *session.Flags) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "audit",
		Short: "Export commits and list recorded reads",
	}
	cmd.AddCommand(auditExportCommand(c), auditReadsCommand(c))
	return cmd
}
