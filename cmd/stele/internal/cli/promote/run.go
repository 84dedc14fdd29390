package promote

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/spf13/cobra"
	"github.com/stelehq/stele/cmd/stele/internal/cli/render"
	"github.com/stelehq/stele/cmd/stele/internal/cli/session"
	"github.com/stelehq/stele/cmd/stele/internal/failure"
	"github.com/stelehq/stele/cmd/stele/internal/output"
	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/promotion"
	"github.com/stelehq/stele/internal/text"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
)

// promotionRun is one promotion from one session to another.
type promotionRun struct {
	*promoteFlags
	prefix         ledger.Pattern
	from, to       *session.Session
	fromCtx, toCtx context.Context

	*promotion.Promotion
}

// run plans the promotion of a state of the source, and executes it.
func (r *promotionRun) run(cmd *cobra.Command, at string) error {
	if err := r.prepare(at); err != nil {
		return err
	}
	cs := r.ChangeSet()
	diffs, err := r.preview(cs)
	if err != nil {
		return err
	}
	for _, w := range r.Warnings {
		output.Warn(w)
	}
	for _, k := range slices.Sorted(maps.Keys(r.Hidden)) {
		output.Warn(fmt.Sprintf("the secret %s is not promoted: %s", k, r.Hidden[k]))
	}
	if len(cs.Changes) == 0 && len(r.Plan.Conflicts) == 0 && len(r.Hidden) == 0 {
		return render.Nothing(r.to.Printer, fmt.Sprintf("%s has nothing to promote to %s", r.Source(), r.to.Tenant))
	}
	if r.to.Format == output.Text || r.plan {
		if err := r.show(diffs); err != nil {
			return err
		}
	}
	if len(cs.Changes) > 0 && !r.plan {
		if yes, err := session.Confirmed(r.toCtx, r.yes, "Promote?"); !yes {
			return err
		}
		if err := r.to.Commit(r.toCtx, cmd, cs); err != nil {
			return err
		}
	}
	if n := len(r.Plan.Conflicts); n > 0 {
		err := fmt.Errorf("not promoted: %s changed in both %s and %s", output.Count(n, "key"), r.from.Tenant, r.to.Tenant)
		return failure.Try(failure.With(failure.Conflict, err), "--theirs KEY to take the value of %s, or --ours KEY to keep the value of %s", r.from.Tenant, r.to.Tenant)
	}
	return nil
}

// prepare reads the tenants and compares them.
func (r *promotionRun) prepare(at string) error {
	point, err := r.from.At(r.fromCtx, at)
	if err != nil {
		return err
	}
	r.Promotion, err = promotion.Prepare(promotion.Request{
		From:   promotion.Side{Tenant: r.from.Tenant, Ctx: r.fromCtx, Config: r.from.Config, Ledger: r.from.Ledger},
		To:     promotion.Side{Tenant: r.to.Tenant, Ctx: r.toCtx, Config: r.to.Config, Ledger: r.to.Ledger},
		At:     point,
		Prefix: r.prefix, Decide: promotion.ByPattern(patterns(r.theirs), patterns(r.ours)), Message: r.message, AllowInvalid: r.allowInvalid,
	})
	if errors.Is(err, promotion.ErrNoCommits) {
		return cmp.Or(r.from.Absent(r.fromCtx), failure.With(failure.NotFound, fmt.Errorf("tenant %s has no commits", r.from.Tenant)))
	}
	return err
}

// preview checks the change set at the target.
func (r *promotionRun) preview(cs *ledger.ChangeSet) ([]*stelev1.KeyDiff, error) {
	resp, err := r.Preview(cs)
	var size *promotion.SizeError
	var left *promotion.LeftError
	switch {
	case errors.As(err, &size):
		return nil, failure.Try(failure.With(failure.Invalid, err), "a promotion of one prefix after the other")
	case errors.As(err, &left):
		return nil, failure.Try(failure.With(failure.Conflict, err), "--theirs or --ours with a prefix, or a promotion of fewer keys")
	}
	render.WarnRefusals(resp.GetRefusals())
	return resp.GetDiffs(), err
}

// show prints the plan.
func (r *promotionRun) show(diffs []*stelev1.KeyDiff) error {
	var t render.DiffTally
	for _, d := range diffs {
		t.Add(d)
		if err := render.WriteDiff(r.to.Printer, d); err != nil {
			return err
		}
	}
	for _, c := range r.Conflicts() {
		if err := r.showConflict(c); err != nil {
			return err
		}
	}
	if r.to.Format != output.Text {
		return nil
	}
	return r.to.Printf("%s to %s: %s, %s in conflict, %d kept\n", r.Source(), r.Target(), t, output.Count(len(r.Plan.Conflicts), "key"), len(r.Plan.Kept))
}

// conflictObject is a conflict as -o json and -o yaml print it.
type conflictObject struct {
	Key      string         `json:"key"`
	Conflict conflictValues `json:"conflict"`
}

type conflictValues struct {
	From json.RawMessage `json:"from,omitempty"`
	To   json.RawMessage `json:"to,omitempty"`
	// Base is the value that was last promoted.
	Base json.RawMessage `json:"base,omitempty"`
}

func (r *promotionRun) showConflict(c promotion.Conflict) error {
	if r.to.Format != output.Text {
		return r.to.Object(conflictObject{string(c.Key), conflictValues{json.RawMessage(c.From), json.RawMessage(c.To), json.RawMessage(c.Base)}})
	}
	value := func(v ledger.Value) string {
		if v == "" {
			return "not set"
		}
		return output.Plain(text.Clip(string(v), 80))
	}
	last := "it was not promoted before"
	if !c.First {
		last = value(c.Base) + " was promoted last"
	}
	return r.to.Printf("%s %s: %s in %s, %s in %s; %s\n", output.Bad.Render("!"), c.Key, value(c.From), r.from.Tenant, value(c.To), r.to.Tenant, last)
}
