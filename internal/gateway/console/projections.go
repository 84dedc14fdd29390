package console

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// projection is one sink with its pending decisions.
type projection struct {
	sink    *stelev1.SinkStatus
	parked  *stelev1.ListParkedResponse
	drift   *stelev1.ListDriftResponse
	done    string // what the visitor has just had done
	problem string
}

// projections are the pages of sinks: all of them, and each.
func (c *Console) projections(v *visit) error {
	sink, action, _ := strings.Cut(v.rest, "/")
	get := v.r.Method != http.MethodPost
	switch {
	case get && sink == "":
		return c.showProjections(v)
	case get && action == "":
		return c.showProjection(v, sink, http.StatusOK, "")
	case !get && sink != "" && decisions[action] != nil:
		return c.decide(v, sink, action)
	}
	return errNoPlace
}

// showProjections shows the progress of each sink.
func (c *Console) showProjections(v *visit) error {
	list := &stelev1.ListSinksResponse{}
	problem := ""
	err := v.load(func(ctx context.Context) error {
		got, err := c.sinks.ListSinks(ctx, &stelev1.ListSinksRequest{})
		switch status.Code(err) {
		case codes.OK:
			list = got
		case codes.Unavailable, codes.FailedPrecondition:
			problem, err = statusMessage(err), nil
		}
		return err
	})
	if err != nil {
		return err
	}
	lags := c.lags.add(v.tenant, list.Sinks)
	return v.show(http.StatusOK, "Projections", v.command("sinks"), projectionsPage(v, list.Sinks, lags, problem))
}

// showProjection shows one sink's state, parked keys and drift.
func (c *Console) showProjection(v *visit, name string, code int, problem string) error {
	p := &projection{problem: problem}
	err := v.load(func(ctx context.Context) error {
		list, err := c.sinks.ListSinks(ctx, &stelev1.ListSinksRequest{})
		for _, s := range list.GetSinks() {
			if s.Name == name {
				p.sink = s
			}
		}
		return err
	}, func(ctx context.Context) (err error) {
		p.parked, err = c.sinks.ListParked(ctx, &stelev1.ListParkedRequest{Sink: name})
		return err
	}, func(ctx context.Context) (err error) {
		p.drift, err = c.sinks.ListDrift(ctx, &stelev1.ListDriftRequest{Sink: name})
		return err
	})
	if err != nil {
		return err
	}
	if p.sink == nil {
		return errNoPlace
	}
	if d := decisions[v.r.FormValue("done")]; d != nil && problem == "" {
		p.done = d.done(number(v.r.FormValue("n")))
	}
	return v.show(code, name, v.command("sinks", "parked", name), projectionPage(v, p))
}

// decision is an action on a sink by an administrator.
type decision struct {
	do   func(context.Context, *Console, string, url.Values) (n uint64, err error)
	done func(n int) string
}

var decisions = map[string]*decision{
	"retry": {func(ctx context.Context, c *Console, sink string, form url.Values) (uint64, error) {
		resp, err := c.sinks.Retry(ctx, &stelev1.RetryRequest{Sink: sink, Key: form.Get("key")})
		return uint64(resp.GetRetried()), err
	}, func(n int) string { return plural(n, "parked key") + " tried again." }},
	"skip": {func(ctx context.Context, c *Console, sink string, form url.Values) (uint64, error) {
		resp, err := c.sinks.Skip(ctx, &stelev1.SkipRequest{Sink: sink, Key: form.Get("key")})
		return uint64(resp.GetSkipped()), err
	}, func(n int) string { return plural(n, "parked key") + " given up until changed again." }},
	"replay": {func(ctx context.Context, c *Console, sink string, form url.Values) (uint64, error) {
		from, err := strconv.ParseUint(strings.TrimPrefix(strings.TrimSpace(form.Get("from")), "@"), 10, 64)
		if err != nil && form.Get("from") != "" {
			return 0, status.Errorf(codes.InvalidArgument, "from: %.40q is not a revision: write it as @42, or leave it out", form.Get("from"))
		}
		resp, err := c.sinks.Replay(ctx, &stelev1.ReplayRequest{Sink: sink, FromRevision: from})
		return resp.GetLagRevisions(), err
	}, func(n int) string { return plural(n, "revision") + " are before it now: it is being written again." }},
	"check": {func(ctx context.Context, c *Console, sink string, _ url.Values) (uint64, error) {
		resp, err := c.sinks.CheckDrift(ctx, &stelev1.CheckDriftRequest{Sink: sink})
		return resp.GetCompared(), err
	}, func(n int) string {
		return plural(n, "item") + " compared with the ledger. Drift is listed below."
	}},
}

// decide has it done, and leads back to the sink.
func (c *Console) decide(v *visit, sink, action string) error {
	if err := v.r.ParseForm(); err != nil {
		return status.Error(codes.InvalidArgument, "the form cannot be read")
	}
	n, err := decisions[action].do(v.ctx, c, sink, v.r.PostForm)
	switch status.Code(err) {
	case codes.OK:
		return v.redirect(place{tenant: v.tenant}.to("projections", sink) + "?done=" + action + "&n=" + strconv.FormatUint(n, 10))
	case codes.InvalidArgument, codes.FailedPrecondition, codes.Unavailable:
		return c.showProjection(v, sink, troubleOf(err).status, statusMessage(err))
	}
	return err
}

// driftWord says what became of an item.
func driftWord(k stelev1.Drift_Kind) string {
	return map[stelev1.Drift_Kind]string{
		stelev1.Drift_KIND_EDITED: "edited", stelev1.Drift_KIND_DELETED: "deleted", stelev1.Drift_KIND_FOREIGN: "not the ledger's",
		stelev1.Drift_KIND_UNROUTED: "no longer routed here",
	}[k]
}

func actionWord(a stelev1.Drift_Action) string {
	return map[stelev1.Drift_Action]string{
		stelev1.Drift_ACTION_REPORTED: "reported", stelev1.Drift_ACTION_REPAIRED: "repaired", stelev1.Drift_ACTION_ADOPTED: "adopted as a commit",
		stelev1.Drift_ACTION_KEPT: "kept", stelev1.Drift_ACTION_PRUNED: "deleted",
	}[a]
}
