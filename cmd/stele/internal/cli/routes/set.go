package routes

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"github.com/stelehq/stele/cmd/stele/internal/cli/render"
	"github.com/stelehq/stele/cmd/stele/internal/cli/session"
	"github.com/stelehq/stele/cmd/stele/internal/cli/sinks"
	"github.com/stelehq/stele/cmd/stele/internal/failure"
	"github.com/stelehq/stele/cmd/stele/internal/input"
	"github.com/stelehq/stele/cmd/stele/internal/output"
	"github.com/stelehq/stele/cmd/stele/internal/routefile"
	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/routes"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

func routesSetCommand(c *session.Flags) *cobra.Command {
	var file string
	var o setRoutesOptions
	cmd := &cobra.Command{
		Use:   "set -f FILE",
		Short: "Replace the routes",
		Long: `Replace the routes with those in a file, YAML or JSON, "-" for standard input.
They become the value of the key projector/routes in the ledger's own tenant,
_system:

  strict: false                  # true: reject keys without a route
  sinks:
    files: {kind: directory}
    dynamodb: {table: stele}
  routes:
    - {prefix: tenantconfig/, sinks: [dynamodb, files], drift: repair}
    - {prefix: paramconfig/, sinks: [files]}

The command shows the difference, and how many items of each sink it affects.
Items whose keys are not routed to their sink anymore are kept there; with
--prune they are deleted once the routes are in force. In both cases the command
asks for confirmation. If keys that already have values become secret, it warns
that the existing values stay in plain text in the journal. docs/sinks.md
describes the fields.`,
		Args: func(_ *cobra.Command, args []string) error {
			switch {
			case file == "" || len(args) > 0:
				return errors.New("set requires -f FILE and takes no arguments")
			case c.Choice.Tenant != "":
				return errors.New("routes apply to all tenants: leave --tenant out")
			}
			return nil
		},
	}
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		// As if it were chosen: the command that undoes it must be for the same.
		if err := cmd.Root().PersistentFlags().Set("tenant", string(ledger.System)); err != nil {
			return err
		}
		return c.Connected(func(ctx context.Context, s *session.Session, _ []string) error {
			data, err := input.Read(file)
			if err != nil {
				return err
			}
			t, err := routefile.Parse(file, data)
			if err != nil {
				return err
			}
			return setRoutes(ctx, s, cmd, t, o)
		})(cmd, nil)
	}
	cmd.Flags().StringVarP(&file, "file", "f", "", `file with the routes, "-" for standard input`)
	cmd.Flags().StringVarP(&o.message, "message", "m", "", "commit message")
	cmd.Flags().BoolVar(&o.prune, "prune", false, "delete items whose keys are not routed to their sink anymore")
	cmd.Flags().BoolVar(&o.yes, "yes", false, "skip the confirmation")
	return cmd
}

type setRoutesOptions struct {
	message    string
	prune, yes bool
}

// setRoutes commits the routes, unless they have changed since the preview.
func setRoutes(ctx context.Context, s *session.Session, cmd *cobra.Command, t *routes.Table, o setRoutesOptions) error {
	now, err := s.Sinks.GetRoutes(ctx, &stelev1.GetRoutesRequest{})
	if err != nil {
		return err
	}
	value, err := ledger.ParseValue(t.String())
	if err != nil {
		return failure.With(failure.Invalid, fmt.Errorf("the routes: %w", err))
	}
	if now.Revision > 0 && value.Equal(ledger.Value(now.Routes)) {
		return render.Nothing(s.Printer, "no changes: these routes are already in force")
	}
	if s.Format == output.Text {
		d := &stelev1.KeyDiff{Key: string(routes.Key), FromValue: now.Routes, FromRevision: now.Revision, ToValue: string(value)}
		if err := render.PrintDiff(s.Printer, d, "", ""); err != nil {
			return err
		}
	}
	prune, agreed, err := planRoutes(ctx, s, t, o)
	if err != nil || !agreed {
		return err
	}
	err = s.Commit(ctx, cmd, &ledger.ChangeSet{
		Message:       o.message,
		Changes:       []ledger.Change{{Key: routes.Key, Value: value}},
		Preconditions: []ledger.Precondition{{Key: routes.Key, Revision: ledger.Revision(now.Revision)}},
	})
	if status.Code(err) == codes.FailedPrecondition {
		return failure.Try(err, "the command again, to see the current difference")
	}
	if err != nil || len(prune) == 0 {
		return err
	}
	return pruneSinks(cmd.Context(), s, prune, now.Revision)
}

// planRoutes shows the effect of the routes on the items of each sink, asks if items
// are left behind, and returns the sinks to prune.
func planRoutes(ctx context.Context, s *session.Session, t *routes.Table, o setRoutesOptions) (prune []string, agreed bool, err error) {
	plan, err := s.Sinks.PlanRoutes(ctx, &stelev1.PlanRoutesRequest{Routes: t.String()})
	if err != nil {
		return nil, false, err
	}
	if plan.ExposedValues > 0 {
		output.Warn(exposedWarning(plan))
	}
	ask := false
	for _, p := range plan.Sinks {
		line := sinkPlanLine(p, o.prune)
		if line == "" {
			continue
		}
		if s.Format == output.Text {
			if err := s.Printf("%s\n", line); err != nil {
				return nil, false, err
			}
		}
		switch {
		case p.Unrouted == 0:
			continue
		case o.prune && p.Removed:
			return nil, false, failure.Try(failure.Usagef("cannot prune sink %s: the new routes do not have it, so no process writes to it", p.Sink), "routes that keep the sink without keys, with --prune; then these routes")
		case o.prune:
			prune = append(prune, p.Sink)
		}
		ask = true
	}
	if !ask || o.yes {
		return prune, true, nil
	}
	if !s.CanAsk() {
		if o.prune {
			return nil, false, failure.Usagef("cannot ask for confirmation: standard input is not a terminal; pass --yes")
		}
		return nil, true, nil // nothing is lost
	}
	question := "Change the routes and keep these items in their sinks?"
	if o.prune {
		question = "Change the routes and delete these items?"
	}
	agreed, err = session.Confirmed(ctx, false, question)
	return prune, agreed, err
}

// pruneTimeout is how long the processes that write to sinks may take to use new routes.
const pruneTimeout = 30 * time.Second

// pruneSinks deletes the items that no route sends to the sinks any more, once the
// routes after a revision are in force there. ctx acts for all tenants.
func pruneSinks(ctx context.Context, s *session.Session, names []string, after uint64) error {
	waiting, cancel := context.WithTimeout(ctx, pruneTimeout)
	defer cancel()
	try := func(err error) error {
		return failure.Try(err, "stele sinks prune %s: the new routes are in force, but the items are not deleted yet", names[0])
	}
	var rev uint64
	for rev <= after {
		resp, err := s.Sinks.GetRoutes(waiting, &stelev1.GetRoutesRequest{})
		if err != nil {
			return try(err)
		}
		if rev = resp.Revision; rev <= after {
			pause(waiting)
		}
	}
	for _, sink := range names {
		req := &stelev1.ResolveDriftRequest{Sink: sink, Resolution: stelev1.ResolveDriftRequest_RESOLUTION_PRUNE, RoutesRevision: rev}
		resp, err := s.Sinks.ResolveDrift(ctx, req)
		for status.Code(err) == codes.Unavailable && waiting.Err() == nil {
			pause(waiting)
			resp, err = s.Sinks.ResolveDrift(ctx, req)
		}
		if err != nil {
			return try(err)
		}
		if s.Format == output.Text {
			if err := s.Printf("%s of %s deleted\n", output.Count(int(resp.Resolved), "item"), sink); err != nil {
				return err
			}
		}
		if err := sinks.PrintUncompared(s, resp.Uncompared); err != nil {
			return err
		}
	}
	return nil
}

func pause(ctx context.Context) {
	select {
	case <-time.After(100 * time.Millisecond):
	case <-ctx.Done():
	}
}
