package sinks

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"
	"github.com/stelehq/stele/cmd/stele/internal/cli/render"
	"github.com/stelehq/stele/cmd/stele/internal/cli/session"
	"github.com/stelehq/stele/cmd/stele/internal/failure"
	"github.com/stelehq/stele/cmd/stele/internal/output"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
)

func sinksParkedCommand(c *session.Flags) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "parked SINK",
		Short: "List the keys that a sink has rejected, and why",
		Long: `List the keys that a sink has rejected, and why. No other key waits for them. A
parked key is tried again when it changes, or by "stele sinks retry"; "stele sinks
skip" gives it up until it changes.`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: c.CompleteSink,
	}
	cmd.RunE = c.Connected(func(ctx context.Context, s *session.Session, args []string) error {
		resp, err := s.Sinks.ListParked(ctx, &stelev1.ListParkedRequest{Sink: args[0]})
		if err != nil {
			return err
		}
		if s.Format != output.Text {
			for _, p := range resp.Parked {
				if err := s.Object(parkedObject(p)); err != nil {
					return err
				}
			}
			return nil
		}
		if len(resp.Parked) == 0 {
			return render.Nothing(s.Printer, "nothing is parked")
		}
		return printParked(s, resp.Parked, resp.More)
	})
	return cmd
}

func printParked(s *session.Session, parked []*stelev1.Parked, more bool) error {
	rows := make([][]string, len(parked))
	for i, p := range parked {
		state := "waits"
		if p.Skipped {
			state = "skipped"
		}
		rows[i] = []string{
			render.Revision(fmt.Sprintf("%s@%d", p.Tenant, p.Revision)), p.Key, output.Faint.Render(render.Clock(p.Since)),
			fmt.Sprint(p.Attempts), state, output.Plain(p.Reason),
		}
	}
	if err := s.Table([]string{"REVISION", "KEY", "SINCE", "TRIES", "STATE", "REASON"}, rows, 5); err != nil {
		return err
	}
	return thereAreMore(s, more)
}

// thereAreMore ends a list that is cut.
func thereAreMore(s *session.Session, more bool) error {
	if !more {
		return nil
	}
	return s.Printf("%s\n", output.Faint.Render("more keys are parked than the list contains"))
}

func sinksRetryCommand(c *session.Flags) *cobra.Command {
	cmd := &cobra.Command{
		Use:               "retry SINK [KEY]",
		Short:             "Retry parked keys",
		Args:              cobra.RangeArgs(1, 2),
		ValidArgsFunction: c.CompleteSinkAndKey,
	}
	cmd.RunE = c.Connected(func(ctx context.Context, s *session.Session, args []string) error {
		resp, err := s.Sinks.Retry(ctx, &stelev1.RetryRequest{Sink: args[0], Key: session.FirstArg(args[1:])})
		if err != nil {
			return err
		}
		if s.Format != output.Text {
			return s.Object(struct {
				Retried uint32 `json:"retried"`
			}{resp.Retried})
		}
		return s.Printf("%s tried again\n", output.Count(int(resp.Retried), "parked key"))
	})
	return cmd
}

func sinksSkipCommand(c *session.Flags) *cobra.Command {
	var yes bool
	cmd := &cobra.Command{
		Use:   "skip SINK [KEY]",
		Short: "Skip parked keys until they change again",
		Long: `Skip parked keys until they change again: what the sink holds for them stays as
it is. First it shows them, and asks.`,
		Args:              cobra.RangeArgs(1, 2),
		ValidArgsFunction: c.CompleteSinkAndKey,
	}
	cmd.RunE = c.Connected(func(ctx context.Context, s *session.Session, args []string) error {
		if !yes && !s.CanAsk() {
			return failure.Try(failure.Usagef("cannot ask for confirmation: standard input is not a terminal"), "stele sinks parked %s, to see them, or --yes", args[0])
		}
		return skip(ctx, s, args[0], session.FirstArg(args[1:]), yes)
	})
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask")
	return cmd
}

func skip(ctx context.Context, s *session.Session, sink, key string, yes bool) error {
	if !yes {
		resp, err := s.Sinks.ListParked(ctx, &stelev1.ListParkedRequest{Sink: sink})
		if err != nil {
			return err
		}
		var waiting []*stelev1.Parked
		for _, p := range resp.Parked {
			if !p.Skipped && (key == "" || p.Key == key) {
				waiting = append(waiting, p)
			}
		}
		if len(waiting) == 0 && !resp.More {
			return render.Nothing(s.Printer, "nothing is parked that could be given up")
		}
		if err := printParked(s, waiting, resp.More); err != nil {
			return err
		}
		if yes, err := session.Confirmed(ctx, false, "Give them up until they change again?"); !yes {
			return err
		}
	}
	resp, err := s.Sinks.Skip(ctx, &stelev1.SkipRequest{Sink: sink, Key: key})
	if err != nil {
		return err
	}
	if s.Format != output.Text {
		return s.Object(struct {
			Skipped uint32 `json:"skipped"`
		}{resp.Skipped})
	}
	return s.Printf("%s given up\n", output.Count(int(resp.Skipped), "parked key"))
}

// parkedKey is a parked key for programs.
type parkedKey struct {
	Tenant   string `json:"tenant"`
	Key      string `json:"key"`
	Revision uint64 `json:"revision"`
	Reason   string `json:"reason"`
	Since    string `json:"since"`
	Attempts uint32 `json:"attempts"`
	Skipped  bool   `json:"skipped"`
}

func parkedObject(p *stelev1.Parked) parkedKey {
	return parkedKey{p.Tenant, p.Key, p.Revision, p.Reason, render.RFC3339(p.Since), p.Attempts, p.Skipped}
}
