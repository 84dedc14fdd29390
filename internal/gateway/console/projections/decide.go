package projections

import (
	"net/url"
	"strconv"
	"strings"

	"github.com/stelehq/stele/internal/gateway/console/format"
	"github.com/stelehq/stele/internal/gateway/console/page"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// decision is an action on a sink by an administrator.
type decision struct {
	do   func(*page.View, string, url.Values) (n uint64, err error)
	done func(n int) string
}

var decisions = map[string]*decision{
	"retry": {func(v *page.View, sink string, form url.Values) (uint64, error) {
		resp, err := v.Sinks.Retry(v.Ctx, &stelev1.RetryRequest{Sink: sink, Key: form.Get("key")})
		return uint64(resp.GetRetried()), err
	}, func(n int) string { return format.Plural(n, "parked key") + " tried again." }},
	"skip": {func(v *page.View, sink string, form url.Values) (uint64, error) {
		resp, err := v.Sinks.Skip(v.Ctx, &stelev1.SkipRequest{Sink: sink, Key: form.Get("key")})
		return uint64(resp.GetSkipped()), err
	}, func(n int) string { return format.Plural(n, "parked key") + " given up until changed again." }},
	"replay": {func(v *page.View, sink string, form url.Values) (uint64, error) {
		from, err := strconv.ParseUint(strings.TrimPrefix(strings.TrimSpace(form.Get("from")), "@"), 10, 64)
		if err != nil && form.Get("from") != "" {
			return 0, status.Errorf(codes.InvalidArgument, "from: %.40q is not a revision: write it as @42, or leave it out", form.Get("from"))
		}
		resp, err := v.Sinks.Replay(v.Ctx, &stelev1.ReplayRequest{Sink: sink, FromRevision: from})
		return resp.GetLagRevisions(), err
	}, func(n int) string {
		return format.Plural(n, "revision") + " are before it now: it is being written again."
	}},
	"check": {func(v *page.View, sink string, _ url.Values) (uint64, error) {
		resp, err := v.Sinks.CheckDrift(v.Ctx, &stelev1.CheckDriftRequest{Sink: sink})
		return resp.GetCompared(), err
	}, func(n int) string {
		return format.Plural(n, "item") + " compared with the ledger. Drift is listed below."
	}},
}

// Decide does what an administrator decided about a sink, and redirects to the sink.
func (p *Pages) Decide(v *page.View) error {
	sink, action, _ := strings.Cut(v.Rest, "/")
	if decisions[action] == nil || sink == "" {
		return page.ErrNotFound
	}
	if err := v.R.ParseForm(); err != nil {
		return status.Error(codes.InvalidArgument, "the form cannot be read")
	}
	n, err := decisions[action].do(v, sink, v.R.PostForm)
	switch status.Code(err) {
	case codes.OK:
		return v.Redirect(v.ToNewest("projections", sink) + "?done=" + action + "&n=" + format.Number(n))
	case codes.InvalidArgument, codes.FailedPrecondition, codes.Unavailable:
		return showOne(v, sink, page.ProblemOf(err).Status, page.Message(err))
	}
	return err
}
