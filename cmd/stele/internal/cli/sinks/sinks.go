// Package sinks has the commands that show and repair sinks.
package sinks

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"github.com/stelehq/stele/cmd/stele/internal/cli/render"
	"github.com/stelehq/stele/cmd/stele/internal/cli/session"
	"github.com/stelehq/stele/cmd/stele/internal/output"
	"github.com/stelehq/stele/internal/ledger"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
)

func SinksCommand(c *session.Flags) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "sinks",
		Short: "Show the state of the sinks",
		Long: `Show the state of each sink in the routes: the position (the revision up to
which every change is in the sink or parked), the lag in revisions and its age,
pending keys, parked keys, drift, and the owner (the process that holds the
sink's lease). It shows one tenant, or, for operators who select none, all
tenants.

Writes and failures are counted since the owner took over the sink.`,
		Example: `  stele sinks
  stele sinks parked files
  stele sinks replay files --from @120`,
		Args: cobra.NoArgs,
	}
	cmd.RunE = c.Connected(func(ctx context.Context, s *session.Session, _ []string) error {
		resp, err := s.Sinks.ListSinks(ctx, &stelev1.ListSinksRequest{})
		if err != nil {
			return err
		}
		if s.Format != output.Text {
			for _, st := range resp.Sinks {
				if err := s.Object(sinkObject(st)); err != nil {
					return err
				}
			}
			return nil
		}
		return printSinks(s, resp.Sinks)
	})
	cmd.AddCommand(
		sinksParkedCommand(c), sinksRetryCommand(c), sinksSkipCommand(c),
		sinksDriftCommand(c), sinksCheckCommand(c), sinksAdoptCommand(c), sinksRepairCommand(c), sinksPruneCommand(c), sinksReplayCommand(c),
	)
	return cmd
}

func printSinks(s *session.Session, sinks []*stelev1.SinkStatus) error {
	if len(sinks) == 0 {
		return render.Nothing(s.Printer, "the routes have no sinks")
	}
	rows := make([][]string, len(sinks))
	for i, st := range sinks {
		position, owner := "-", output.Plain(st.Owner)
		if st.Position > 0 {
			position = render.Revision(ledger.Revision(st.Position).String())
		}
		if owner == "" {
			owner = output.Bad.Render("none")
		}
		rows[i] = []string{
			st.Name, st.Kind, position, fmt.Sprint(st.LagRevisions), lagTime(st), fmt.Sprint(st.Pending), timeLeft(st),
			fmt.Sprint(st.Writes), fmt.Sprint(st.Failures), alarming(st.Parked), alarming(st.Drifted), owner,
		}
	}
	if err := s.Table([]string{"SINK", "KIND", "POSITION", "LAG", "AGE", "PENDING", "ETA", "WRITES", "FAILURES", "PARKED", "DRIFT", "OWNER"}, rows, 11); err != nil {
		return err
	}
	for _, st := range sinks {
		for _, line := range conditions(st) {
			if err := s.Printf("%s %s\n", st.Name, line); err != nil {
				return err
			}
		}
	}
	return nil
}

// conditions lists the conditions of a sink that need attention.
func conditions(st *stelev1.SinkStatus) (lines []string) {
	bad := func(text string) string { return output.Bad.Render(output.Plain(text)) }
	if st.Stopped != "" {
		lines = append(lines, fmt.Sprintf("is stopped: %s; run stele sinks drift %s, then stele sinks adopt or stele sinks repair", bad(st.Stopped), st.Name))
	}
	switch {
	case st.Failing != "":
		lines = append(lines, fmt.Sprintf("failing since %s, retrying: %s", render.Clock(st.FailingSince), bad(st.Failing)))
	case st.FailingSince != nil:
		lines = append(lines, fmt.Sprintf("failing since %s, retrying; operators can see the reason", render.Clock(st.FailingSince)))
	case st.LastError != "":
		lines = append(lines, fmt.Sprintf("last failed at %s: %s", render.Clock(st.Failed), bad(st.LastError)))
	}
	if st.Uncompared > 0 {
		lines = append(lines, fmt.Sprintf("it could not be compared with the ledger in %s; run stele sinks drift %s", output.Count(int(st.Uncompared), "place"), st.Name))
	}
	for _, w := range st.Warnings {
		lines = append(lines, "warning: "+output.Plain(w))
	}
	return lines
}

// timeLeft estimates how long the pending keys take; "-" while nothing is written.
func timeLeft(st *stelev1.SinkStatus) string {
	if st.TimeLeft == nil {
		return "-"
	}
	return st.TimeLeft.AsDuration().Round(time.Second).String()
}

// lagTime is how long the oldest change has waited; unknown for a sink that no process
// has open.
func lagTime(st *stelev1.SinkStatus) string {
	if st.Lag == nil {
		return "-"
	}
	return st.Lag.AsDuration().Round(time.Millisecond).String()
}

// alarming is a number that should be 0.
func alarming(n uint32) string {
	if n == 0 {
		return "0"
	}
	return output.Bad.Render(fmt.Sprint(n))
}

// sinkState is a sink for programs.
type sinkState struct {
	Sink         string  `json:"sink"`
	Kind         string  `json:"kind"`
	Owner        string  `json:"owner"`
	Position     uint64  `json:"position,omitempty"`
	Head         uint64  `json:"head,omitempty"`
	LagRevisions uint64  `json:"lag_revisions"`
	LagSeconds   float64 `json:"lag_seconds"`
	Writes       uint64  `json:"writes"`
	Failures     uint64  `json:"failures"`
	LastError    string  `json:"last_error,omitempty"`
	Failed       string  `json:"failed,omitempty"`
	Parked       uint32  `json:"parked"`
	Drifted      uint32  `json:"drifted"`
	Checked      string  `json:"checked,omitempty"`

	Pending         uint64   `json:"pending"`
	SecondsLeft     *float64 `json:"seconds_left,omitempty"`
	Stopped         string   `json:"stopped,omitempty"`
	Failing         string   `json:"failing,omitempty"`
	FailingSince    string   `json:"failing_since,omitempty"`
	UncomparedItems uint32   `json:"uncompared,omitempty"`
	Warnings        []string `json:"warnings,omitempty"`
}

func sinkObject(st *stelev1.SinkStatus) sinkState {
	var left *float64
	if st.TimeLeft != nil {
		seconds := st.TimeLeft.AsDuration().Seconds()
		left = &seconds
	}
	return sinkState{
		Pending: st.Pending, SecondsLeft: left, Stopped: st.Stopped, Failing: st.Failing, FailingSince: render.RFC3339(st.FailingSince),
		UncomparedItems: st.Uncompared, Warnings: st.Warnings,
		Sink: st.Name, Kind: st.Kind, Owner: st.Owner, Position: st.Position, Head: st.Head,
		LagRevisions: st.LagRevisions, LagSeconds: st.Lag.AsDuration().Seconds(), Writes: st.Writes, Failures: st.Failures,
		LastError: st.LastError, Failed: render.RFC3339(st.Failed), Parked: st.Parked, Drifted: st.Drifted, Checked: render.RFC3339(st.Checked),
	}
}
