package tenants

import (
	"context"
	"errors"

	"github.com/spf13/cobra"
	"github.com/stelehq/stele/cmd/stele/internal/cli/render"
	"github.com/stelehq/stele/cmd/stele/internal/cli/session"
	"github.com/stelehq/stele/cmd/stele/internal/conn"
	"github.com/stelehq/stele/cmd/stele/internal/failure"
	"github.com/stelehq/stele/cmd/stele/internal/output"
	"github.com/stelehq/stele/internal/ledger"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
)

func resetClockCommand(c *session.Flags) *cobra.Command {
	var reason string
	var all bool
	cmd := &cobra.Command{
		Use:   "reset-clock (TENANT... | --all) --reason TEXT",
		Short: "End commit times that are ahead",
		Long: `Write a commit that ends a stretch of commits whose times are ahead, because a
process wrote them while its clock was wrong. Such a tenant accepts no writes
until then. The commit has no changes, names the operator and the reason, and is
part of the history.

The commits of the stretch keep their times. Wherever commits are found by a
time, they count as made at the time of this commit, in their order; answers
about earlier times stay as they were. Nothing is written for a tenant that is
not ahead.

First make sure that the clocks of the ledger's processes and of the NATS
servers are right: stele doctor.`,
		Example: `  stele tenant reset-clock acme --reason "clock of host-3 was a year ahead"
  stele tenant reset-clock --all --reason "clock of host-3 was a year ahead"`,
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	cmd.RunE = c.Connected(func(_ context.Context, s *session.Session, args []string) error {
		switch {
		case all == (len(args) > 0):
			return failure.Usagef("name tenants, or pass --all for all tenants that are ahead")
		case reason == "":
			return failure.Usagef("--reason is required: it becomes the commit's message")
		case all:
			return resetAll(cmd.Context(), s, reason)
		}
		_, err := resetClocks(cmd.Context(), s, args, reason)
		return err
	})
	cmd.Flags().StringVar(&reason, "reason", "", "why the clock is reset, for the commit's message")
	cmd.Flags().BoolVar(&all, "all", false, "all tenants that stele status reports as ahead")
	return cmd
}

// resetAll resets the tenants that are ahead. A status lists only some of them, so it is asked
// again until it lists none.
func resetAll(ctx context.Context, s *session.Session, reason string) error {
	for {
		st, err := s.Ledger.GetStatus(ctx, &stelev1.GetStatusRequest{})
		if err != nil || len(st.AheadTenants) == 0 {
			return err
		}
		reset, err := resetClocks(ctx, s, st.AheadTenants, reason)
		if err != nil {
			return err
		}
		if reset == 0 {
			return errors.New("the gateway reports tenants that are ahead, and the journal's servers do not: compare their clocks with stele doctor")
		}
	}
}

// resetClocks returns how many of the tenants were ahead.
func resetClocks(ctx context.Context, s *session.Session, names []string, reason string) (reset int, err error) {
	for _, name := range names {
		t, err := ledger.ParseTenant(name)
		if err != nil {
			return reset, failure.With(failure.Usage, err)
		}
		resp, err := s.Ledger.ResetTenantClock(conn.AsTenant(ctx, t), &stelev1.ResetTenantClockRequest{Reason: reason})
		if err != nil {
			return reset, err
		}
		if !resp.Unchanged {
			reset++
		}
		if err := reportReset(s, t, resp); err != nil {
			return reset, err
		}
	}
	return reset, nil
}

func reportReset(s *session.Session, t ledger.Tenant, resp *stelev1.ResetTenantClockResponse) error {
	if s.Format != output.Text {
		return s.Object(clockReset{t, resp.Revision, render.RFC3339(resp.Time), render.RFC3339(resp.Ahead), resp.Unchanged})
	}
	if resp.Unchanged {
		return s.Printf("%s is not ahead: no change\n", t)
	}
	return s.Printf("%s  the clock is reset: commits with times up to %s count as made at %s\n",
		render.Revision(string(t)+ledger.Revision(resp.Revision).String()), render.Clock(resp.Ahead), render.Clock(resp.Time))
}

// clockReset is the outcome for a tenant, for programs.
type clockReset struct {
	Tenant   ledger.Tenant `json:"tenant"`
	Revision uint64        `json:"revision"`
	Time     string        `json:"time"`
	// Ahead is the time of the newest commit before.
	Ahead     string `json:"ahead"`
	Unchanged bool   `json:"unchanged,omitempty"`
}
