package sinks

import (
	"context"
	"fmt"
	"time"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"
	"github.com/stelehq/stele/cmd/stele/internal/cli/render"
	"github.com/stelehq/stele/cmd/stele/internal/cli/session"
	"github.com/stelehq/stele/cmd/stele/internal/failure"
	"github.com/stelehq/stele/cmd/stele/internal/output"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
)

func sinksReplayCommand(c *session.Flags) *cobra.Command {
	var from string
	var noWait bool
	cmd := &cobra.Command{
		Use:   "replay SINK [--from REV]",
		Short: "Write the keys of a sink again",
		Long: `Write all keys of a sink again, or those that have changed since a revision. In
a store, items that are already correct do not change. A bus or webhook gets
every event again.

The command waits until the sink has everything. Ctrl-C stops waiting; the
replay continues.`,
		Example: `  stele sinks replay files
  stele sinks replay bus --from @120 --no-wait`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: c.CompleteSink,
	}
	cmd.RunE = c.Connected(func(ctx context.Context, s *session.Session, args []string) error {
		req := &stelev1.ReplayRequest{Sink: args[0]}
		if at, err := s.At(ctx, from); err != nil {
			return err
		} else if at != nil {
			rev, ok := at.Point.(*stelev1.At_Revision)
			if !ok {
				return failure.Usagef("--from %s is not a revision: use a revision such as @42 or @HEAD~1", from)
			}
			req.FromRevision = rev.Revision
		}
		resp, err := s.Sinks.Replay(ctx, req)
		if err != nil {
			return err
		}
		started := time.Now()
		if !noWait {
			if err := follow(ctx, s, args[0], resp.LagRevisions); err != nil {
				return failure.Try(err, "stele sinks to show the progress: the replay continues")
			}
		}
		switch {
		case s.Format != output.Text:
			return s.Object(struct {
				Revisions uint64 `json:"revisions"`
			}{resp.LagRevisions})
		case noWait:
			return s.Printf("%s to write to %s; stele sinks shows the progress\n", output.Count(int(resp.LagRevisions), "revision"), args[0])
		}
		return s.Printf("%s written again in %s\n", output.Count(int(resp.LagRevisions), "revision"), time.Since(started).Round(time.Millisecond))
	})
	cmd.Flags().StringVar(&from, "from", "", "first revision to write again, of every tenant (default: all)")
	cmd.Flags().BoolVar(&noWait, "no-wait", false, "return without waiting for the sink")
	return cmd
}

// follow waits until the sink has no lag. total is its lag at the beginning.
func follow(ctx context.Context, s *session.Session, sink string, total uint64) error {
	const often = 200 * time.Millisecond
	bar := render.NewBar(int64(total), progressbar.OptionShowCount(), progressbar.OptionSetItsString("revisions"), progressbar.OptionShowIts())
	defer func() {
		if bar != nil {
			_ = bar.Clear() // a bar that cannot be drawn is no reason to stop
		}
	}()
	for {
		lag, err := lag(ctx, s, sink)
		switch {
		case ctx.Err() != nil:
			fmt.Fprintln(output.Stderr, "interrupted: the replay continues; stele sinks shows the progress")
			return ctx.Err()
		case err != nil || lag == 0:
			return err
		}
		if bar != nil {
			_ = bar.Set64(int64(total - min(lag, total))) // more may have been written since
		}
		select {
		case <-time.After(often):
		case <-ctx.Done():
		}
	}
}

// lag returns the number of revisions that are not yet in a sink.
func lag(ctx context.Context, s *session.Session, sink string) (uint64, error) {
	resp, err := s.Sinks.ListSinks(ctx, &stelev1.ListSinksRequest{})
	if err != nil {
		return 0, err
	}
	for _, st := range resp.Sinks {
		if st.Name == sink {
			return st.LagRevisions, nil
		}
	}
	return 0, failure.With(failure.NotFound, fmt.Errorf("sink %s is not in the routes anymore", sink))
}
