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
	"github.com/stelehq/stele/internal/ledger"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
)

func sinksDriftCommand(c *session.Flags) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "drift SINK",
		Short: "List items of a sink that differ from the ledger",
		Long: `List the items that the last sweep found to differ from the ledger: items that
were edited, deleted or added in the sink. The route of a key determines whether
drift is only reported, repaired, or adopted as a commit. Repaired and adopted
items are listed for an hour.`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: c.CompleteSink,
	}
	cmd.RunE = c.Connected(func(ctx context.Context, s *session.Session, args []string) error {
		resp, err := s.Sinks.ListDrift(ctx, &stelev1.ListDriftRequest{Sink: args[0]})
		if err != nil {
			return err
		}
		switch {
		case len(resp.Drift)+len(resp.Uncompared) == 0 && resp.Checked == nil:
			return render.Nothing(s.Printer, fmt.Sprintf("%s has not been compared with the ledger yet; run stele sinks check %s", args[0], args[0]))
		case len(resp.Drift)+len(resp.Uncompared) == 0:
			return render.Nothing(s.Printer, "no drift")
		}
		if err := printDrift(s, resp.Drift, false); err != nil {
			return err
		}
		if s.Format == output.Text {
			if err := printMore(s, resp.More, "items have drifted"); err != nil {
				return err
			}
		}
		return PrintUncompared(s, resp.Uncompared)
	})
	return cmd
}

func sinksCheckCommand(c *session.Flags) *cobra.Command {
	var report bool
	cmd := &cobra.Command{
		Use:   "check SINK [NAME]",
		Short: "Compare a sink, or one of its items, with the ledger now",
		Long: `Compare a sink, or the item NAME of it, with the ledger now, and handle any
drift as the key's route specifies. On a stopped sink drift is only reported.
With --report, the drift of the item NAME is only reported, with the value that
the item has.

The exit code is 7 if items have drifted or could not be compared.`,
		Args:              cobra.RangeArgs(1, 2),
		ValidArgsFunction: c.CompleteSink,
	}
	cmd.RunE = c.Connected(func(ctx context.Context, s *session.Session, args []string) error {
		resp, err := s.Sinks.CheckDrift(ctx, &stelev1.CheckDriftRequest{Sink: args[0], Name: session.FirstArg(args[1:]), ReportOnly: report})
		if err != nil {
			return err
		}
		if err := printDrift(s, resp.Drift, resp.Stopped != ""); err != nil {
			return err
		}
		if err := printFound(s, resp.Drift); err != nil {
			return err
		}
		drifted := 0
		for _, d := range resp.Drift {
			if d.Action != stelev1.Drift_ACTION_KEPT {
				drifted++
			}
		}
		if s.Format == output.Text {
			if err := s.Printf("%s compared, %d drifted\n", output.Count(int(resp.Compared), "item"), drifted); err != nil {
				return err
			}
			if resp.Stopped != "" {
				if err := s.Printf("%s is stopped, so nothing was done: %s; run stele sinks adopt %s or stele sinks repair %s\n", args[0], output.Bad.Render(output.Plain(resp.Stopped)), args[0], args[0]); err != nil {
					return err
				}
			}
		}
		if err := PrintUncompared(s, resp.Uncompared); err != nil {
			return err
		}
		if drifted+len(resp.Uncompared) > 0 {
			return failure.Exit(failure.Unverified)
		}
		return nil
	})
	cmd.Flags().BoolVar(&report, "report", false, "show the drift of the item NAME with its value, and do not handle it")
	return cmd
}

// printFound shows the values that a report has found.
func printFound(s *session.Session, drift []*stelev1.Drift) error {
	for _, d := range drift {
		if d.Value == "" || s.Format != output.Text {
			continue
		}
		if err := s.Printf("%s is %s\n", output.Plain(d.Name), output.Plain(d.Value)); err != nil {
			return err
		}
	}
	return nil
}

// PrintUncompared lists items that could not be compared, so that they do not count as
// equal.
func PrintUncompared(s *session.Session, all []*stelev1.Uncompared) error {
	for _, u := range all {
		if s.Format != output.Text {
			err := s.Object(struct {
				Tenant     string `json:"tenant"`
				Name       string `json:"name,omitempty"`
				Uncompared string `json:"uncompared"`
				Tried      string `json:"tried"`
			}{u.Tenant, u.Name, u.Reason, render.RFC3339(u.Tried)})
			if err != nil {
				return err
			}
			continue
		}
		what := u.Name
		if what == "" {
			what = "all items"
		}
		if err := s.Printf("not compared: %s of %s: %s\n", output.Plain(what), u.Tenant, output.Bad.Render(output.Plain(u.Reason))); err != nil {
			return err
		}
	}
	return nil
}

// printDrift lists findings. Nothing is done about the findings of a stopped sink.
func printDrift(s *session.Session, drift []*stelev1.Drift, stopped bool) error {
	var rows [][]string
	for _, d := range drift {
		o := driftObject(d)
		if s.Format != output.Text {
			if err := s.Object(o); err != nil {
				return err
			}
			continue
		}
		done := o.Action
		if stopped && d.Action == stelev1.Drift_ACTION_REPORTED {
			done = "nothing (stopped)"
		}
		if o.Failure != "" {
			done += output.Bad.Render(", failed: " + output.Plain(o.Failure))
		}
		of := o.Tenant
		if o.Revision > 0 { // else the ledger never had the key
			of += ledger.Revision(o.Revision).String()
		}
		rows = append(rows, []string{
			render.Revision(of), o.Key, output.Plain(o.Name), o.Kind, output.Faint.Render(render.Clock(d.Found)), done,
		})
	}
	if len(rows) == 0 {
		return nil
	}
	return s.Table([]string{"REVISION", "KEY", "ITEM", "WAS", "FOUND", "DONE"}, rows, -1)
}

// drifted is an item that has drifted, as JSON.
type drifted struct {
	Tenant   string `json:"tenant"`
	Key      string `json:"key,omitempty"`
	Name     string `json:"name"`
	Kind     string `json:"kind"`
	Revision uint64 `json:"revision,omitempty"`
	Found    string `json:"found"`
	Action   string `json:"action"`
	Failure  string `json:"failure,omitempty"`
	Value    string `json:"value,omitempty"`
}

func driftObject(d *stelev1.Drift) drifted {
	return drifted{
		Tenant: d.Tenant, Key: d.Key, Name: d.Name, Revision: d.Revision, Found: render.RFC3339(d.Found), Failure: d.Failure, Value: d.Value,
		Kind:   strings.ToLower(strings.TrimPrefix(d.Kind.String(), "KIND_")),
		Action: strings.ToLower(strings.TrimPrefix(d.Action.String(), "ACTION_")),
	}
}
