package console

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/stelehq/stele/internal/ledger"
	timetext "github.com/stelehq/stele/internal/ledger/moment"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// ticksShown is how many revisions have their time under the slider.
const ticksShown = 5

// goToMoment leads from the time slider's form to the same page at the moment that
// was chosen: a revision, or the newest one of a time.
func (c *Console) goToMoment(v *visit) error {
	page := v.r.FormValue("page")
	to := func(r ledger.Revision) error {
		if page == "commits" && r != 0 {
			return v.redirect(place{tenant: v.tenant}.to(page, revisionOf(uint64(r))))
		}
		return v.redirect(localPath(place{tenant: v.tenant, at: r}.root() + page))
	}
	if v.r.FormValue("by") != "time" {
		n, err := strconv.ParseUint(v.r.FormValue("revision"), 10, 64)
		if err != nil || n == 0 {
			return status.Error(codes.InvalidArgument, "revision: a number from 1 on")
		}
		head, err := c.ledger.GetHead(v.ctx, &stelev1.GetHeadRequest{})
		if err != nil {
			return err
		}
		if n >= head.Snapshot.Head && page != "commits" {
			n = 0
		}
		return to(ledger.Revision(n))
	}
	when, err := parseTime(v.r.FormValue("time"))
	if err != nil {
		return status.Error(codes.InvalidArgument, "time: "+err.Error())
	}
	if when.After(time.Now()) {
		return to(0)
	}
	at, err := c.commitAt(v.ctx, &stelev1.At{Point: &stelev1.At_Time{Time: timestamppb.New(when)}})
	if err != nil {
		return err
	}
	return to(ledger.Revision(at.Commit.Revision))
}

// parseTime reads a time as the command line does, and so the value of a datetime
// input.
func parseTime(s string) (time.Time, error) {
	m, err := timetext.Parse(s, time.Now())
	if err != nil || m.Time.IsZero() {
		return time.Time{}, fmt.Errorf("%q is not a time: write 2026-01-31T17:45, 2h (ago) or yesterday", s)
	}
	return m.Time, nil
}

// commitAt is the newest commit at a moment, without its values.
func (c *Console) commitAt(ctx context.Context, at *stelev1.At) (*stelev1.CommitInfo, error) {
	list, err := c.ledger.ListCommits(ctx, &stelev1.ListCommitsRequest{PageSize: 1, OmitValues: true, Until: at})
	if err != nil {
		return nil, err
	}
	if len(list.Commits) == 0 {
		return nil, status.Error(codes.OutOfRange, "nothing was there yet")
	}
	return list.Commits[0], nil
}

// tick is a revision with its time, somewhere along the slider.
type tick struct {
	revision uint64
	time     *timestamppb.Timestamp
}

// showTicks answers with the times along the slider. They are not part of the page,
// which does not wait for them.
func (c *Console) showTicks(v *visit) error {
	head, err := c.ledger.GetHead(v.ctx, &stelev1.GetHeadRequest{})
	if err != nil {
		return err
	}
	revisions := spread(head.Snapshot.Head)
	ticks := make([]tick, len(revisions))
	group, ctx := errgroup.WithContext(v.ctx)
	for i, r := range revisions {
		group.Go(func() error {
			at, err := c.commitAt(ctx, &stelev1.At{Point: &stelev1.At_Revision{Revision: r}})
			if err == nil {
				ticks[i] = tick{r, at.Commit.Time}
			}
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	return v.render(http.StatusOK, tickMarks(ticks))
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
