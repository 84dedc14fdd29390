// Package projections has the pages of sinks: their progress, parked keys and drift.
package projections

import (
	"context"
	"net/http"
	"strings"

	"github.com/stelehq/stele/internal/gateway/console/page"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// projection is one sink with its pending decisions.
type projection struct {
	sink    *stelev1.SinkStatus
	parked  *stelev1.ListParkedResponse
	drift   *stelev1.ListDriftResponse
	done    string // the outcome of the user's decision
	problem string
}

// Pages are the pages of sinks.
type Pages struct{ lags lags }

// New returns the pages.
func New() *Pages { return &Pages{} }

// Show shows all sinks, or one.
func (p *Pages) Show(v *page.View) error {
	sink, action, decides := strings.Cut(v.Rest, "/")
	switch {
	case sink == "":
		return p.showAll(v)
	case action == "item":
		return showItem(v, sink)
	case decides:
		return showConfirm(v, sink, action)
	}
	return showOne(v, sink, http.StatusOK, "")
}

// showAll shows the progress of each sink.
func (p *Pages) showAll(v *page.View) error {
	list := &stelev1.ListSinksResponse{}
	problem := ""
	err := v.Load(func(ctx context.Context) error {
		got, err := v.Sinks.ListSinks(ctx, &stelev1.ListSinksRequest{})
		switch status.Code(err) {
		case codes.OK:
			list = got
		case codes.Unavailable, codes.FailedPrecondition:
			problem, err = page.Message(err), nil
		}
		return err
	})
	if err != nil {
		return err
	}
	lags := p.lags.add(v.Tenant, list.Sinks)
	return v.Show(http.StatusOK, "Projections", v.ReadCommand("sinks"), projectionsPage(v, list.Sinks, lags, problem))
}

// showOne shows one sink's state, parked keys and drift.
func showOne(v *page.View, name string, code int, problem string) error {
	p := &projection{problem: problem}
	err := v.Load(func(ctx context.Context) error {
		list, err := v.Sinks.ListSinks(ctx, &stelev1.ListSinksRequest{})
		for _, s := range list.GetSinks() {
			if s.Name == name {
				p.sink = s
			}
		}
		return err
	}, func(ctx context.Context) (err error) {
		p.parked, err = v.Sinks.ListParked(ctx, &stelev1.ListParkedRequest{Sink: name})
		return err
	}, func(ctx context.Context) (err error) {
		p.drift, err = v.Sinks.ListDrift(ctx, &stelev1.ListDriftRequest{Sink: name})
		return err
	})
	if err != nil {
		return err
	}
	if p.sink == nil {
		return page.ErrNotFound
	}
	if d := decisions[v.R.FormValue("done")]; d != nil && problem == "" {
		p.done = d.done(v.QueryInt("n"))
	}
	return v.Show(code, name, v.ReadCommand("sinks", "parked", name), projectionPage(v, p))
}

// driftWord says how an item differs.
func driftWord(k stelev1.Drift_Kind) string {
	return map[stelev1.Drift_Kind]string{
		stelev1.Drift_KIND_EDITED: "edited", stelev1.Drift_KIND_DELETED: "deleted", stelev1.Drift_KIND_FOREIGN: "not the ledger's",
		stelev1.Drift_KIND_UNROUTED: "no longer routed here",
	}[k]
}

// resolvable reports whether an item still differs.
func resolvable(d *stelev1.Drift) bool {
	return d.Action == stelev1.Drift_ACTION_REPORTED || d.Action == stelev1.Drift_ACTION_KEPT
}

func actionWord(a stelev1.Drift_Action) string {
	return map[stelev1.Drift_Action]string{
		stelev1.Drift_ACTION_REPORTED: "reported", stelev1.Drift_ACTION_REPAIRED: "repaired", stelev1.Drift_ACTION_ADOPTED: "adopted as a commit",
		stelev1.Drift_ACTION_KEPT: "kept", stelev1.Drift_ACTION_PRUNED: "deleted",
	}[a]
}
