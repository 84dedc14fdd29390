// Package rotate has the commands that replace keys.
package rotate

import (
	"bytes"
	"fmt"

	"github.com/spf13/cobra"
	"github.com/stelehq/stele/cmd/stele/internal/cli/session"
	"github.com/stelehq/stele/internal/durable"
	"github.com/stelehq/stele/internal/gateway/identity"
)

// RotateCommand is the group of commands.
func RotateCommand(c *session.Flags) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "rotate",
		Short: "Rotate the checkpoint key, the secrets key or tenants' keys",
	}
	cmd.AddCommand(checkpointKeyCommand(), secretsKeyCommand(), tenantKeyCommand(c))
	return cmd
}

// editSecret replaces what a key file holds, durably and in one step, and keeps what it held
// before in FILE.before.
func editSecret(path string, edit func([]byte) ([]byte, error)) error {
	old, err := identity.ReadSecret(path)
	if err != nil {
		return err
	}
	next, err := edit(old)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if bytes.Equal(old, next) {
		return fmt.Errorf("%s: there is nothing to change", path)
	}
	if err := durable.Replace(path+".before", old); err != nil {
		return fmt.Errorf("keep the old %s: %w", path, err)
	}
	return durable.Replace(path, next)
}
