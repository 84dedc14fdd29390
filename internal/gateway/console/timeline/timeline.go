// Package timeline serves the form of the time slider at the top of every page, which works without
// scripts.
package timeline

import (
	"math"
	"strconv"
	"time"

	"github.com/stelehq/stele/internal/gateway/console/login"
	"github.com/stelehq/stele/internal/gateway/console/page"
	"github.com/stelehq/stele/internal/ledger"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
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
	position := v.R.FormValue("position")
	switch {
	case v.R.FormValue("by") == "time":
		at, err := page.ParseTime("time", v.R.FormValue("time"))
		if err != nil {
			return err
		}
		return toTime(v, at, to)
	case position != "" && position != v.R.FormValue("was"): // the slider was moved
		seconds, err := strconv.ParseFloat(position, 64)
		if err != nil || !(seconds >= 0 && seconds <= math.MaxUint32) { // also not a number
			return status.Error(codes.InvalidArgument, "position: a time in seconds")
		}
		return toTime(v, time.Unix(int64(seconds)+1, -1), to) // the end of the second
	default:
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
}

// toTime goes to the newest commit at a time: to the newest state, unless a later commit exists.
func toTime(v *page.View, at time.Time, to func(ledger.Revision) error) error {
	head, err := v.Ledger.GetHead(v.Ctx, &stelev1.GetHeadRequest{})
	if err != nil {
		return err
	}
	if name := v.R.FormValue("page"); !at.Before(head.Time.AsTime()) && name != "commits" {
		return to(0)
	} else if !at.Before(time.Now()) {
		return to(ledger.Revision(head.Snapshot.Head))
	}
	commit, err := v.CommitAt(v.Ctx, &stelev1.At{Point: &stelev1.At_Time{Time: timestamppb.New(at)}})
	if err != nil {
		return err
	}
	return to(ledger.Revision(commit.Commit.Revision))
}
