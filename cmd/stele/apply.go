package main

import (
	"context"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"
	"github.com/stelehq/stele/cmd/stele/internal/changefile"
	"github.com/stelehq/stele/cmd/stele/internal/failure"
)

func applyCommand(c *cli) *cobra.Command {
	var w writeFlags
	var file string
	cmd := &cobra.Command{
		Use:   "apply -f FILE",
		Short: "Apply a change set from a YAML or JSON file",
		Long: `Apply a change set from a file, "-" for standard input, whole or not at all:

  message: Give checkout more time
  changes:
    - key: tenantconfig/checkout/timeout_ms
      value: 3000
    - key: tenantconfig/checkout/beta
      delete: true
  expect:
    tenantconfig/checkout/timeout_ms: 41
    tenantconfig/checkout/new: absent

A line of a change log is such a file too; it is applied as yours and as of now
("stele import" keeps time and author).`,
		Args: func(_ *cobra.Command, args []string) error {
			if file == "" || len(args) > 0 {
				return fmt.Errorf("apply takes -f FILE and nothing else")
			}
			return nil
		},
	}
	cmd.RunE = c.connected(func(ctx context.Context, s *session, _ []string) error {
		data, err := readInput(file)
		if err != nil {
			return err
		}
		f, err := changefile.Parse(data)
		if err != nil {
			return failure.With(failure.Invalid, fmt.Errorf("%s: %w", file, err))
		}
		if f.Tenant != "" && s.tenant != "" && f.Tenant != s.tenant {
			return failure.Try(failure.Usagef("%s is for tenant %s, and you act for %s", file, f.Tenant, s.tenant), "-t %s", f.Tenant)
		}
		if err := w.into(&f.ChangeSet); err != nil {
			return err
		}
		return s.commit(ctx, cmd, &f.ChangeSet)
	})
	w.add(cmd)
	cmd.Flags().StringVarP(&file, "file", "f", "", `file to apply, "-" for standard input`)
	return cmd
}

func readInput(file string) ([]byte, error) {
	if file == "-" {
		return io.ReadAll(os.Stdin)
	}
	return os.ReadFile(file)
}
