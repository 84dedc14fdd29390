package cli

import (
	"fmt"

	"github.com/spf13/cobra"
	"github.com/stelehq/stele/cmd/stele/internal/version"
)

func versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "stele version %s\n", version.String())
			return err
		},
	}
}
