// Package timeline serves the time slider at the top of every page: the times along it,
// and its form, which works without scripts.
package timeline

import (
	"net/http"
	"strconv"
	"time"

	"github.com/stelehq/stele/internal/gateway/console/login"
	"github.com/stelehq/stele/internal/gateway/console/page"
	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/moment"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// GoTo redirects from the slider's form to the same page at the revision or time that
// was chosen.
func GoTo(v *page.View) error {
	name := v.R.FormValue("page")
	to := func(r ledger.Revision) error {
		if name == "commits" && r != 0 {
			return v.Redirect(page.CommitPath(v.Tenant, uint64(r)))
		}
		return v.Redirect(login.LocalPath(page.Address{Tenant: v.Tenant, At: r}.Root() + name))
	}
	if v.R.FormValue("by") != "time" {
		n, err := strconv.ParseUint(v.R.FormValue("revision"), 10, 64)
		if err != nil || n == 0 {
			return status.Error(codes.InvalidArgument, "revision: a number from 1 on")
		}
		head, err := v.Ledger.GetHead(v.Ctx, &stelev1.GetHeadRequest{})
		if err != nil {
			return err
		}
		if n >= head.Snapshot.Head && name != "commits" {
			n = 0
		}
		return to(ledger.Revision(n))
	}
	m, err := moment.Parse(v.R.FormValue("time"), time.Now())
	if err != nil || m.Time.IsZero() {
		return status.Errorf(codes.InvalidArgument, "time: %q is not a time: write 2026-01-31T17:45, 2h (ago) or yesterday", v.R.FormValue("time"))
	}
	if m.Time.After(time.Now()) {
		return to(0)
	}
	commit, err := v.CommitAt(v.Ctx, &stelev1.At{Point: &stelev1.At_Time{Time: timestamppb.New(m.Time)}})
	if err != nil {
		return err
	}
	return to(ledger.Revision(commit.Commit.Revision))
}

// ticksShown is how many revisions have their time under the slider.
const ticksShown = 5

// ShowTicks responds with the times along the slider. They are loaded after the page.
func ShowTicks(v *page.View) error {
	head, err := v.Ledger.GetHead(v.Ctx, &stelev1.GetHeadRequest{})
	if err != nil {
		return err
	}
	revisions := spread(head.Snapshot.Head)
	ticks := make([]*timestamppb.Timestamp, len(revisions))
	group, ctx := errgroup.WithContext(v.Ctx)
	for i, r := range revisions {
		group.Go(func() error {
			commit, err := v.CommitAt(ctx, page.Revision(r))
			if err == nil {
				ticks[i] = commit.Commit.Time
			}
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	return v.Render(http.StatusOK, tickMarks(ticks))
}

// spread chooses revisions at equal distances from the first to the head.
func spread(head uint64) []uint64 {
	if head == 0 {
		return nil
	}
	n := min(head, ticksShown)
	out := []uint64{1}
	for i := uint64(1); i < n; i++ {
		out = append(out, 1+(head-1)*i/(n-1))
	}
	return out
}
