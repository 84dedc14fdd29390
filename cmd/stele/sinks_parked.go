package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"
	"github.com/stelehq/stele/cmd/stele/internal/failure"
	"github.com/stelehq/stele/cmd/stele/internal/output"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
)

func sinksParkedCommand(c *cli) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "parked SINK",
		Short: "List the keys that a sink would not take, and why",
		Long: `List the keys that a sink would not take, and why. No other key waits for them. A
parked key is tried again when it changes, or by "stele sinks retry"; "stele sinks
skip" gives it up until it changes.`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: c.sinkNames,
	}
	cmd.RunE = c.connected(func(ctx context.Context, s *session, args []string) error {
		resp, err := s.sinks.ListParked(ctx, &stelev1.ListParkedRequest{Sink: args[0]})
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
			return s.nothing("nothing is parked")
		}
		return s.printParked(resp.Parked, resp.More)
	})
	return cmd
}

func (s *session) printParked(parked []*stelev1.Parked, more bool) error {
	rows := make([][]string, len(parked))
	for i, p := range parked {
		state := "waits"
		if p.Skipped {
			state = "skipped"
		}
		rows[i] = []string{
			styleRevision(fmt.Sprintf("%s@%d", p.Tenant, p.Revision)), p.Key, output.Faint.Render(clock(p.Since)),
			fmt.Sprint(p.Attempts), state, output.Plain(p.Reason),
		}
	}
	if err := s.Table([]string{"REVISION", "KEY", "SINCE", "TRIES", "STATE", "REASON"}, rows, 5); err != nil {
		return err
	}
	return s.thereAreMore(more)
}

// thereAreMore ends a list that is cut.
func (s *session) thereAreMore(more bool) error {
	if !more {
		return nil
	}
	return s.Printf("%s\n", output.Faint.Render("there are more than a sink tells of"))
}

func sinksRetryCommand(c *cli) *cobra.Command {
	cmd := &cobra.Command{
		Use:               "retry SINK [KEY]",
		Short:             "Try parked keys again",
		Args:              cobra.RangeArgs(1, 2),
		ValidArgsFunction: c.sinkAndKey,
	}
	cmd.RunE = c.connected(func(ctx context.Context, s *session, args []string) error {
		resp, err := s.sinks.Retry(ctx, &stelev1.RetryRequest{Sink: args[0], Key: first(args[1:])})
		if err != nil {
			return err
		}
		if s.Format != output.Text {
			return s.Object(struct {
				Retried uint32 `json:"retried"`
			}{resp.Retried})
		}
		return s.Printf("%s tried again\n", counted(int(resp.Retried), "parked key"))
	})
	return cmd
}

func sinksSkipCommand(c *cli) *cobra.Command {
	var yes bool
	cmd := &cobra.Command{
		Use:   "skip SINK [KEY]",
		Short: "Give parked keys up until they change again",
		Long: `Give parked keys up until they change again: what the sink holds for them stays as
it is. First it shows them, and asks.`,
		Args:              cobra.RangeArgs(1, 2),
		ValidArgsFunction: c.sinkAndKey,
	}
	cmd.RunE = c.connected(func(ctx context.Context, s *session, args []string) error {
		if !yes && !s.canAsk() {
			return failure.Try(failure.Usagef("there is nobody to ask whether to give keys up"), "stele sinks parked %s, to see them, or --yes", args[0])
		}
		return s.skip(ctx, args[0], first(args[1:]), yes)
	})
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask")
	return cmd
}

func (s *session) skip(ctx context.Context, sink, key string, yes bool) error {
	if !yes {
		resp, err := s.sinks.ListParked(ctx, &stelev1.ListParkedRequest{Sink: sink})
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
			return s.nothing("nothing is parked that could be given up")
		}
		if err := s.printParked(waiting, resp.More); err != nil {
			return err
		}
		if yes, err := confirmed(ctx, false, "Give them up until they change again?"); !yes {
			return err
		}
	}
	resp, err := s.sinks.Skip(ctx, &stelev1.SkipRequest{Sink: sink, Key: key})
	if err != nil {
		return err
	}
	if s.Format != output.Text {
		return s.Object(struct {
			Skipped uint32 `json:"skipped"`
		}{resp.Skipped})
	}
	return s.Printf("%s given up\n", counted(int(resp.Skipped), "parked key"))
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
	return parkedKey{p.Tenant, p.Key, p.Revision, p.Reason, rfc3339(p.Since), p.Attempts, p.Skipped}
}
