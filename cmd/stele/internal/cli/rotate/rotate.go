// Package rotate has the commands that replace keys.
package rotate

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
	"github.com/stelehq/stele/cmd/stele/internal/cli/session"
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
	if err := replace(path+".before", old); err != nil {
		return fmt.Errorf("keep the old %s: %w", path, err)
	}
	return replace(path, next)
}

// replace writes a file that only its owner can read.
func replace(path string, content []byte) error {
	temp, err := os.CreateTemp(filepath.Dir(path), ".new-*") // mode 0600
	if err != nil {
		return err
	}
	_, err = temp.Write(content)
	if err := errors.Join(err, temp.Sync(), temp.Close()); err != nil {
		return errors.Join(err, os.Remove(temp.Name()))
	}
	return os.Rename(temp.Name(), path)
}
