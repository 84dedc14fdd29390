package projections

import (
	"net/http"
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
	// confirm is the question before it is done, about a key or, if that is empty, about
	// the sink; nil for none.
	confirm func(sink, key string) string
	button  string
	do      func(*page.View, string, url.Values) (n uint64, err error)
	done    func(n int) string
}

var decisions = map[string]*decision{
	"retry": {confirm: func(sink, key string) string {
		return "Write " + allParked(key) + " to " + sink + " again?"
	}, button: "Retry", do: func(v *page.View, sink string, form url.Values) (uint64, error) {
		resp, err := v.Sinks.Retry(v.Ctx, &stelev1.RetryRequest{Sink: sink, Key: form.Get("key")})
		return uint64(resp.GetRetried()), err
	}, done: func(n int) string { return format.Plural(n, "parked key") + " tried again." }},
	"skip": {confirm: func(sink, key string) string {
		return "Skip " + allParked(key) + "? A skipped key reaches " + sink + " only when it changes again."
	}, button: "Skip", do: func(v *page.View, sink string, form url.Values) (uint64, error) {
		resp, err := v.Sinks.Skip(v.Ctx, &stelev1.SkipRequest{Sink: sink, Key: form.Get("key")})
		return uint64(resp.GetSkipped()), err
	}, done: func(n int) string { return format.Plural(n, "parked key") + " given up until changed again." }},
	"replay": {confirm: func(sink, _ string) string {
		return "Write " + sink + " again? A bus gets every change a second time."
	}, button: "Replay", do: func(v *page.View, sink string, form url.Values) (uint64, error) {
		from, err := strconv.ParseUint(strings.TrimPrefix(strings.TrimSpace(form.Get("from")), "@"), 10, 64)
		if err != nil && form.Get("from") != "" {
			return 0, status.Errorf(codes.InvalidArgument, "from: %.40q is not a revision: write it as @42, or leave it out", form.Get("from"))
		}
		resp, err := v.Sinks.Replay(v.Ctx, &stelev1.ReplayRequest{Sink: sink, FromRevision: from})
		return resp.GetLagRevisions(), err
	}, done: func(n int) string {
		return format.Plural(n, "revision") + " are before it now: it is being written again."
	}},
	"repair": resolving(stelev1.ResolveDriftRequest_RESOLUTION_REPAIR, "written with the ledger's value."),
	"adopt":  resolving(stelev1.ResolveDriftRequest_RESOLUTION_ADOPT, "adopted as a commit."),
	"prune":  resolving(stelev1.ResolveDriftRequest_RESOLUTION_PRUNE, "deleted from the sink."),
	"check": {do: func(v *page.View, sink string, _ url.Values) (uint64, error) {
		resp, err := v.Sinks.CheckDrift(v.Ctx, &stelev1.CheckDriftRequest{Sink: sink})
		return resp.GetCompared(), err
	}, done: func(n int) string {
		return format.Plural(n, "item") + " compared with the ledger. Drift is listed below."
	}},
}

// resolving is the decision about one drifted item, which its page asks for. Adopting a missing
// item deletes its key.
func resolving(how stelev1.ResolveDriftRequest_Resolution, done string) *decision {
	return &decision{do: func(v *page.View, sink string, form url.Values) (uint64, error) {
		name := form.Get("name")
		if name == "" {
			return 0, status.Error(codes.InvalidArgument, "name the item to resolve")
		}
		resp, err := v.Sinks.ResolveDrift(v.Ctx, &stelev1.ResolveDriftRequest{Sink: sink, Name: name, Resolution: how, AdoptDeletions: true})
		if err != nil {
			return 0, err
		}
		for _, d := range resp.Drift {
			if d.Failure != "" {
				return 0, status.Errorf(codes.FailedPrecondition, "%s was left as it is: %s", d.Name, d.Failure)
			}
		}
		if resp.Resolved == 0 {
			return 0, status.Errorf(codes.FailedPrecondition, "%s was left as it is: it does not differ from the ledger any more, or its route does not allow this", name)
		}
		return resp.Resolved, nil
	}, done: func(n int) string { return format.Plural(n, "item") + " " + done }}
}

// allParked names what a decision is about.
func allParked(key string) string {
	if key == "" {
		return "all parked keys"
	}
	return key
}

// showConfirm asks for confirmation of a decision.
func showConfirm(v *page.View, sink, action string) error {
	d := decisions[action]
	if d == nil || d.confirm == nil {
		return page.ErrNotFound
	}
	if err := v.Load(); err != nil {
		return err
	}
	if !v.May("administer", "") {
		return status.Error(codes.PermissionDenied, "to decide about sinks, you need the permission administer")
	}
	command := v.Command("sinks", action, sink, v.Query("key"))
	if from := v.Query("from"); from != "" {
		command = v.Command("sinks", action, sink, "--from", from)
	}
	return v.Show(http.StatusOK, d.button+" "+sink, command, confirmPage(v, sink, action, d))
}

// Decide does what an administrator decided about a sink, and redirects to the sink.
func (p *Pages) Decide(v *page.View) error {
	sink, action, _ := strings.Cut(v.Rest, "/")
	if decisions[action] == nil || sink == "" {
		return page.ErrNotFound
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
