// Package fleet has the page on which operators see the whole ledger: its gateways, its sinks,
// what is wrong, and the newest changes of all tenants.
package fleet

import (
	"context"
	"net/http"
	"slices"
	"time"

	"github.com/stelehq/stele/internal/diagnosis"
	"github.com/stelehq/stele/internal/gateway/console/page"
	"github.com/stelehq/stele/internal/gateway/fleet"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"
)

const (
	// recent is how far back the changes of all tenants go, and maxRecent how many are shown.
	recent    = time.Hour
	maxRecent = 50
)

// state is what the page shows.
type state struct {
	now      time.Time
	problems []diagnosis.Problem
	gateways []*stelev1.GatewayStatus
	sinks    []*stelev1.SinkStatus
	noSinks  string // why the sinks are not known
	// commits are the newest of all tenants. They are nil when the page refreshes itself:
	// reading them is recorded for tenants that require it.
	commits []*stelev1.PlacedCommit
	more    bool // more commits, or commits that were not looked at
}

// Show shows the fleet.
func Show(v *page.View) error {
	s := &state{now: time.Now()}
	calls := []func(context.Context) error{
		func(ctx context.Context) error {
			resp, err := v.Ledger.ListGateways(ctx, &stelev1.ListGatewaysRequest{})
			s.gateways = resp.GetGateways()
			return err
		},
		func(ctx context.Context) error {
			resp, err := v.Sinks.ListSinks(ctx, &stelev1.ListSinksRequest{History: true})
			s.sinks = resp.GetSinks()
			if c := status.Code(err); c == codes.Unavailable || c == codes.FailedPrecondition {
				s.noSinks, err = page.Message(err), nil
			}
			return err
		},
	}
	refresh := v.Query("refresh") != ""
	if !refresh {
		calls = append(calls, func(ctx context.Context) error {
			resp, err := v.Ledger.ListAllCommits(ctx, &stelev1.ListAllCommitsRequest{PageSize: maxRecent, OmitValues: true, Since: timestamppb.New(s.now.Add(-recent))})
			s.commits, s.more = resp.GetCommits(), resp.GetNextPageToken() != ""
			return err
		})
	}
	if err := v.Load(calls...); err != nil {
		return err
	}
	s.diagnose(v.Status)
	return v.Show(http.StatusOK, "Fleet", page.Command{"gateways"}, fleetPage(v, s, refresh))
}

// diagnose finds what is wrong.
func (s *state) diagnose(st *stelev1.GetStatusResponse) {
	s.problems = diagnosis.Gateways(s.gateways, s.now)
	// Edges and gateways without the role ledger never accept writes.
	if p := diagnosis.Writes(st); p != nil && slices.Contains(st.Roles, "ledger") {
		s.problems = append(s.problems, diagnosis.Problem{What: "writes: " + p.What, Try: p.Try})
	}
	if p := diagnosis.Ahead(st); p != nil {
		s.problems = append(s.problems, *p)
	}
	if s.noSinks != "" {
		s.problems = append(s.problems, diagnosis.Problem{What: "the sinks are not known: " + s.noSinks, Try: diagnosis.Journal})
	}
	s.problems = append(s.problems, diagnosis.Sinks(s.sinks)...)
}

// silent reports whether a gateway no longer reports.
func (s *state) silent(g *stelev1.GatewayStatus) bool {
	return s.now.Sub(g.Seen.AsTime()) > fleet.Silent
}

// upstream is the gateway that another one replicates from; empty if it follows the journal.
func upstream(g *stelev1.GatewayStatus) string {
	if len(g.Path) == 0 {
		return ""
	}
	return g.Path[0]
}
