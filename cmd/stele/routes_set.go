package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"
	"github.com/stelehq/stele/cmd/stele/internal/failure"
	"github.com/stelehq/stele/cmd/stele/internal/output"
	"github.com/stelehq/stele/ledger"
	"github.com/stelehq/stele/ledger/routes"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

func routesSetCommand(c *cli) *cobra.Command {
	var file, message string
	cmd := &cobra.Command{
		Use:   "set -f FILE",
		Short: "Replace the routes, by a commit",
		Long: `Replace the routes by those of a file, YAML or JSON, "-" for standard input. They
become the value of the key projector/routes of the ledger's own tenant, _system:

  strict: false                  # true: a key without a route is refused
  sinks:
    files: {kind: directory}
    dynamodb: {table: stele}
  routes:
    - {prefix: tenantconfig/, sinks: [dynamodb, files], drift: repair}
    - {prefix: paramconfig/, sinks: [files]}

It shows what changes. docs/sinks.md tells what may stand there.`,
		Args: func(_ *cobra.Command, args []string) error {
			switch {
			case file == "" || len(args) > 0:
				return errors.New("set takes -f FILE and nothing else")
			case c.choice.Tenant != "":
				return errors.New("the routes are those of all tenants: leave --tenant out")
			}
			return nil
		},
	}
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		// As if it were chosen: the command that undoes it must be for the same.
		if err := cmd.Root().PersistentFlags().Set("tenant", string(ledger.System)); err != nil {
			return err
		}
		return c.connected(func(ctx context.Context, s *session, _ []string) error {
			data, err := readInput(file)
			if err != nil {
				return err
			}
			t, err := parseRoutes(file, data)
			if err != nil {
				return err
			}
			return s.setRoutes(ctx, cmd, t, message)
		})(cmd, nil)
	}
	cmd.Flags().StringVarP(&file, "file", "f", "", `file with the routes, "-" for standard input`)
	cmd.Flags().StringVarP(&message, "message", "m", "", "why, for whoever reads the history")
	return cmd
}

// setRoutes commits the routes, unless somebody has changed them since it has
// shown what changes.
func (s *session) setRoutes(ctx context.Context, cmd *cobra.Command, t *routes.Table, message string) error {
	now, err := s.sinks.GetRoutes(ctx, &stelev1.GetRoutesRequest{})
	if err != nil {
		return err
	}
	value, err := ledger.ParseValue(t.String())
	if err != nil {
		return failure.With(failure.Invalid, fmt.Errorf("the routes: %w", err))
	}
	if now.Revision > 0 && value.Equal(ledger.Value(now.Routes)) {
		return s.nothing("they are the routes in force: there is nothing to change")
	}
	if s.Format == output.Text {
		d := &stelev1.KeyDiff{Key: string(routes.Key), FromValue: now.Routes, FromRevision: now.Revision, ToValue: string(value)}
		if err := s.printDiff(d, "", ""); err != nil {
			return err
		}
	}
	err = s.commit(ctx, cmd, &ledger.ChangeSet{
		Message:       message,
		Changes:       []ledger.Change{{Key: routes.Key, Value: value}},
		Preconditions: []ledger.Precondition{{Key: routes.Key, Revision: ledger.Revision(now.Revision)}},
	})
	if status.Code(err) == codes.FailedPrecondition {
		return failure.Try(err, "the same again, to see what it would change now")
	}
	return err
}
