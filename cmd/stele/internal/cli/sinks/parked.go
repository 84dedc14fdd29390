package sinks

import (
	"context"
	"fmt"
	"strings"

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
		Short: "List parked keys",
		Long: `List the parked keys of a sink: keys that the sink rejects, with the reason. No
other key waits for them. A parked key is retried every five minutes, when it
changes, and by "stele sinks retry". "stele sinks skip" ignores it until it
changes.`,
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
			return render.Nothing(s.Printer, "no keys are parked")
		}
		return printParked(s, resp.Parked, resp.More)
	})
	return cmd
}

func printParked(s *session.Session, parked []*stelev1.Parked, more bool) error {
	rows := make([][]string, len(parked))
	for i, p := range parked {
		state := "parked"
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
	return printMore(s, more, "keys are parked")
}

// printMore ends a list that was truncated.
func printMore(s *session.Session, more bool, what string) error {
	if !more {
		return nil
	}
	return s.Printf("%s\n", output.Faint.Render("more "+what+" than this list shows"))
}

func sinksRetryCommand(c *session.Flags) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "retry SINK [KEY]",
		Short: "Retry parked keys",
		Long: `Retry the parked keys of a sink now, or one of them. Skipped keys are retried
only if KEY names them.`,
		Args:              cobra.RangeArgs(1, 2),
		ValidArgsFunction: c.CompleteSinkAndKey,
	}
	cmd.RunE = c.Connected(func(ctx context.Context, s *session.Session, args []string) error {
		resp, err := s.Sinks.Retry(ctx, &stelev1.RetryRequest{Sink: args[0], Key: session.FirstArg(args[1:])})
		if err != nil {
			return err
		}
		if len(args) == 2 && resp.Retried == 0 {
			if err := requireParked(ctx, s, args[0], args[1]); err != nil {
				return err
			}
		}
		if s.Format != output.Text {
			return s.Object(struct {
				Retried uint32 `json:"retried"`
			}{resp.Retried})
		}
		return s.Printf("%s retried\n", output.Count(int(resp.Retried), "parked key"))
	})
	return cmd
}

// requireParked returns an error that lists the parked keys, unless the key is one.
func requireParked(ctx context.Context, s *session.Session, sink, key string) error {
	resp, err := s.Sinks.ListParked(ctx, &stelev1.ListParkedRequest{Sink: sink})
	if err != nil {
		return err
	}
	const most = 5
	var others []string
	for _, p := range resp.Parked {
		switch {
		case p.Key == key:
			return nil
		case len(others) < most:
			others = append(others, p.Key+" of "+p.Tenant)
		}
	}
	if len(others) == 0 {
		return failure.With(failure.NotFound, fmt.Errorf("%s is not parked in sink %s: no keys are parked", key, sink))
	}
	rest := ""
	if len(resp.Parked) > len(others) || resp.More {
		rest = ", and more"
	}
	err = fmt.Errorf("%s is not parked in sink %s; parked are %s%s", key, sink, strings.Join(others, ", "), rest)
	return failure.Try(failure.With(failure.NotFound, err), "stele sinks parked %s", sink)
}

func sinksSkipCommand(c *session.Flags) *cobra.Command {
	var yes bool
	cmd := &cobra.Command{
		Use:   "skip SINK [KEY]",
		Short: "Skip parked keys until they change again",
		Long: `Skip all parked keys of a sink, or one of them, until they change again. Their
items in the sink stay as they are. The command lists the keys and asks for
confirmation.`,
		Args:              cobra.RangeArgs(1, 2),
		ValidArgsFunction: c.CompleteSinkAndKey,
	}
	cmd.RunE = c.Connected(func(ctx context.Context, s *session.Session, args []string) error {
		if !yes && !s.CanAsk() {
			return failure.Try(failure.Usagef("cannot ask for confirmation: standard input is not a terminal"), "stele sinks parked %s to list them, then the command again with --yes", args[0])
		}
		return skip(ctx, s, args[0], session.FirstArg(args[1:]), yes)
	})
	cmd.Flags().BoolVar(&yes, "yes", false, "skip the confirmation")
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
			return render.Nothing(s.Printer, "no keys to skip")
		}
		if err := printParked(s, waiting, resp.More); err != nil {
			return err
		}
		if yes, err := session.Confirmed(ctx, false, "Skip these keys until they change again?"); !yes {
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
	return s.Printf("%s skipped\n", output.Count(int(resp.Skipped), "parked key"))
}

// parkedKey is a parked key, as JSON.
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
