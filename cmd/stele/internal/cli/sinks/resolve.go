package sinks

import (
	"context"

	"github.com/spf13/cobra"
	"github.com/stelehq/stele/cmd/stele/internal/cli/render"
	"github.com/stelehq/stele/cmd/stele/internal/cli/session"
	"github.com/stelehq/stele/cmd/stele/internal/failure"
	"github.com/stelehq/stele/cmd/stele/internal/output"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
)

func sinksAdoptCommand(c *session.Flags) *cobra.Command {
	var confirm, deletions bool
	cmd := &cobra.Command{
		Use:   "adopt SINK [NAME]",
		Short: "Adopt the drift of a sink as commits",
		Long: `Adopt the drift of a sink, or of its item NAME, as commits, regardless of its
routes. Missing items are written again; with --deletions their keys are
deleted. Without NAME, a sink that stopped because it exceeded its drift limit
resumes.

Without --confirm, the command only lists the drift that the last sweep found.`,
		Args:              cobra.RangeArgs(1, 2),
		ValidArgsFunction: c.CompleteSink,
	}
	cmd.RunE = c.Connected(func(ctx context.Context, s *session.Session, args []string) error {
		name := session.FirstArg(args[1:])
		if !confirm {
			n, err := previewDrift(ctx, s, args[0], name, adoptable)
			if err != nil || n == 0 || s.Format != output.Text {
				return err
			}
			return s.Printf("nothing was adopted; to adopt, run the command again with --confirm\n")
		}
		return resolveDrift(ctx, s, &stelev1.ResolveDriftRequest{
			Sink: args[0], Name: name, Resolution: stelev1.ResolveDriftRequest_RESOLUTION_ADOPT, AdoptDeletions: deletions,
		}, "adopted or written again")
	})
	cmd.Flags().BoolVar(&confirm, "confirm", false, "adopt the drift instead of only listing it")
	cmd.Flags().BoolVar(&deletions, "deletions", false, "delete the keys of missing items")
	return cmd
}

func sinksRepairCommand(c *session.Flags) *cobra.Command {
	return resolveCommand(c, &cobra.Command{
		Use:   "repair SINK [NAME]",
		Short: "Overwrite drifted items with the ledger's values",
		Long: `Overwrite every drifted item of a sink, or its item NAME, with the ledger's
value, regardless of its routes. Items that the ledger never had are kept,
unless their route has drift: repair. Without NAME, a sink that stopped because
it exceeded its drift limit resumes. The command lists the drift that the last
sweep found and asks for confirmation.`,
	}, stelev1.ResolveDriftRequest_RESOLUTION_REPAIR, adoptable, "Repair these items?", "repaired")
}

func sinksPruneCommand(c *session.Flags) *cobra.Command {
	return resolveCommand(c, &cobra.Command{
		Use:   "prune SINK [NAME]",
		Short: "Delete items whose keys are not routed to the sink anymore",
		Long: `Delete the items that the projector wrote to a sink before the routes changed,
or only the item NAME. Items of other writers are kept. The command lists the
items that the last sweep found and asks for confirmation.`,
	}, stelev1.ResolveDriftRequest_RESOLUTION_PRUNE, prunable, "Delete these items from the sink?", "deleted")
}

// adoptable selects drift that can be adopted or repaired, prunable drift that can be
// pruned.
func adoptable(d *stelev1.Drift) bool { return d.Action == stelev1.Drift_ACTION_REPORTED }

func prunable(d *stelev1.Drift) bool { return d.Kind == stelev1.Drift_KIND_UNROUTED }

// resolveCommand completes a command that resolves drift once the user agrees.
func resolveCommand(c *session.Flags, cmd *cobra.Command, how stelev1.ResolveDriftRequest_Resolution, of func(*stelev1.Drift) bool, question, done string) *cobra.Command {
	var yes bool
	cmd.Args = cobra.RangeArgs(1, 2)
	cmd.ValidArgsFunction = c.CompleteSink
	cmd.RunE = c.Connected(func(ctx context.Context, s *session.Session, args []string) error {
		name := session.FirstArg(args[1:])
		if !yes {
			if !s.CanAsk() {
				return failure.Usagef("cannot ask for confirmation: standard input is not a terminal; pass --yes")
			}
			if _, err := previewDrift(ctx, s, args[0], name, of); err != nil {
				return err
			}
			if ok, err := session.Confirmed(ctx, false, question); !ok {
				return err
			}
		}
		return resolveDrift(ctx, s, &stelev1.ResolveDriftRequest{Sink: args[0], Name: name, Resolution: how}, done)
	})
	cmd.Flags().BoolVar(&yes, "yes", false, "skip the confirmation")
	return cmd
}

// previewDrift lists the selected findings of the last sweep, of one item if there is a
// name, and returns their number.
func previewDrift(ctx context.Context, s *session.Session, sink, name string, of func(*stelev1.Drift) bool) (int, error) {
	resp, err := s.Sinks.ListDrift(ctx, &stelev1.ListDriftRequest{Sink: sink})
	if err != nil {
		return 0, err
	}
	var found []*stelev1.Drift
	for _, d := range resp.Drift {
		if of(d) && (name == "" || d.Name == name) {
			found = append(found, d)
		}
	}
	if len(found) == 0 {
		if err := render.Nothing(s.Printer, "the last sweep found nothing to resolve; the sink is compared again before anything is done"); err != nil {
			return 0, err
		}
	}
	if err := printDrift(s, found, false); err != nil {
		return 0, err
	}
	if s.Format == output.Text {
		if err := printMore(s, resp.More, "items have drifted"); err != nil {
			return 0, err
		}
	}
	return len(found), PrintUncompared(s, resp.Uncompared)
}

func resolveDrift(ctx context.Context, s *session.Session, req *stelev1.ResolveDriftRequest, done string) error {
	resp, err := s.Sinks.ResolveDrift(ctx, req)
	if err != nil {
		return err
	}
	if s.Format != output.Text {
		return s.Object(struct {
			Compared   uint64 `json:"compared"`
			Resolved   uint64 `json:"resolved"`
			Uncompared int    `json:"uncompared"`
		}{resp.Compared, resp.Resolved, len(resp.Uncompared)})
	}
	for _, d := range resp.Drift {
		if d.Failure == "" {
			continue
		}
		if err := s.Printf("%s: %s\n", output.Plain(d.Name), output.Bad.Render(output.Plain(d.Failure))); err != nil {
			return err
		}
	}
	if err := PrintUncompared(s, resp.Uncompared); err != nil {
		return err
	}
	return s.Printf("%s compared, %d %s\n", output.Count(int(resp.Compared), "item"), resp.Resolved, done)
}
