package promote

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/stelehq/stele/cmd/stele/internal/cli/render"
	"github.com/stelehq/stele/cmd/stele/internal/cli/session"
	"github.com/stelehq/stele/cmd/stele/internal/failure"
	"github.com/stelehq/stele/cmd/stele/internal/output"
	"github.com/stelehq/stele/cmd/stele/internal/promotion"
	"github.com/stelehq/stele/cmd/stele/internal/wire"
	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/schema"
	"github.com/stelehq/stele/internal/ledger/secret"
	"github.com/stelehq/stele/internal/text"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// promotionRun is one promotion: what it has read, and its plan.
type promotionRun struct {
	*promoteFlags
	prefix         ledger.Pattern
	from, to       *session.Session
	fromCtx, toCtx context.Context

	is, target *state
	// bases are the states of the source at its earlier promotions, by revision; basedOn is
	// the one for each key.
	bases   map[ledger.Revision]*state
	basedOn map[ledger.Key]ledger.Revision
	epoch   ledger.Epoch // of the source's ledger, if it is another one
	plan    promotion.Plan
	// hidden are secrets that are left for a later promotion, and why.
	hidden map[ledger.Key]string
}

// state is the part of a tenant's own settings that is promoted.
type state struct {
	session  *session.Session
	ctx      context.Context
	snapshot *stelev1.Snapshot
	values   promotion.Settings
	entries  map[ledger.Key]*stelev1.Entry
}

func (s *state) revision() ledger.Revision { return ledger.Revision(s.snapshot.GetRevision()) }

// source is the state that is promoted, for example staging@42.
func (r *promotionRun) source() string { return r.from.Name(r.is.snapshot.GetRevision()) }

// read reads the states and compares them.
func (r *promotionRun) read(at string) error {
	point, err := r.from.At(r.fromCtx, at)
	if err != nil {
		return err
	}
	if r.is, err = r.state(r.fromCtx, r.from, &stelev1.ListRequest{At: point}); err != nil {
		return err
	}
	if r.is.revision() == 0 {
		return cmp.Or(r.from.Absent(r.fromCtx), failure.With(failure.NotFound, fmt.Errorf("tenant %s has no commits", r.from.Tenant)))
	}
	if r.target, err = r.state(r.toCtx, r.to, &stelev1.ListRequest{}); err != nil {
		return err
	}
	if err := r.otherLedger(); err != nil {
		return err
	}
	if err := r.readBases(); err != nil {
		return err
	}
	if err := r.reveal(); err != nil {
		return err
	}
	r.plan = promotion.Compare(r.is.values, r.target.values, func(k ledger.Key) (ledger.Value, bool) {
		rev, promoted := r.basedOn[k]
		if !promoted {
			return "", false
		}
		return r.bases[rev].values[k], true
	})
	r.plan.Resolve(patterns(r.theirs), patterns(r.ours))
	return nil
}

// state reads a tenant's own settings under the prefix, and their schemas, all at one
// revision.
func (r *promotionRun) state(ctx context.Context, s *session.Session, req *stelev1.ListRequest) (*state, error) {
	is := &state{session: s, ctx: ctx, values: make(promotion.Settings), entries: make(map[ledger.Key]*stelev1.Entry)}
	prefixes := []string{string(r.prefix)}
	if r.prefix != "" {
		prefixes = append(prefixes, schema.Tag+strings.TrimSuffix(string(r.prefix), "/"))
	}
	for _, prefix := range prefixes {
		req.Prefix, req.PageToken, req.PageSize = prefix, "", 10_000
		for more := true; more; more = req.PageToken != "" {
			resp, err := s.Config.List(ctx, req)
			if err != nil {
				return nil, fmt.Errorf("list %q of %s: %w", prefix, s.Tenant, err)
			}
			is.snapshot, req.PageToken = resp.Snapshot, resp.NextPageToken
			for _, e := range resp.Entries {
				if k := ledger.Key(e.Key); e.Base == nil && promotion.Selects(r.prefix, k) {
					is.values[k], is.entries[k] = ledger.Value(e.Value), e
				}
			}
		}
		if is.revision() == 0 {
			break
		}
		req.At = session.AtRevision(is.revision())
	}
	return is, nil
}

// otherLedger finds out whether the tenants are in different ledgers.
func (r *promotionRun) otherLedger() error {
	source, err := r.from.Ledger.GetStatus(r.fromCtx, &stelev1.GetStatusRequest{})
	if err != nil {
		return err
	}
	target, err := r.to.Ledger.GetStatus(r.toCtx, &stelev1.GetStatusRequest{})
	if err == nil && !bytes.Equal(source.Epoch, target.Epoch) {
		copy(r.epoch[:], source.Epoch)
	}
	return err
}

// readBases finds the promotion that has last decided about each key, and reads the states
// that were promoted.
func (r *promotionRun) readBases() error {
	r.bases, r.basedOn = make(map[ledger.Revision]*state), make(map[ledger.Key]ledger.Revision)
	undecided := make(map[ledger.Key]bool)
	for _, s := range []*state{r.is, r.target} {
		for k := range s.values {
			undecided[k] = true
		}
	}
	// The newest promotion of all keys decides about most of them: one commit a page.
	req := &stelev1.ListCommitsRequest{PromotedFrom: string(r.from.Tenant), PageSize: 1, OmitValues: true}
	for len(undecided) > 0 {
		resp, err := r.to.Ledger.ListCommits(r.toCtx, req)
		if err != nil {
			return fmt.Errorf("find the promotions of %s: %w", r.to.Tenant, err)
		}
		for _, info := range resp.Commits {
			o, err := ledger.ParsePromotion(info.Commit.Origin.GetPromotion())
			if err != nil || o.Epoch != r.epoch {
				continue // of a ledger that has had a tenant of this name
			}
			for k := range undecided {
				if promotion.Covers(o, k) {
					r.basedOn[k] = o.Revision
					delete(undecided, k)
				}
			}
			if err := r.readBase(o); err != nil {
				return err
			}
		}
		if req.PageToken = resp.NextPageToken; req.PageToken == "" {
			break
		}
	}
	return nil
}

// readBase reads the state that a promotion has promoted, if a key is based on it.
func (r *promotionRun) readBase(o *ledger.PromotionOrigin) (err error) {
	used := slices.Contains(slices.Collect(maps.Values(r.basedOn)), o.Revision)
	if !used || r.bases[o.Revision] != nil {
		return nil
	}
	was, err := r.state(r.fromCtx, r.from, &stelev1.ListRequest{At: session.AtRevision(o.Revision), MinRevision: uint64(o.Revision), MinId: o.ID[:]})
	if failure.Code(err) == failure.Unverified {
		output.Warn(fmt.Sprintf("%s is another state now than when it was promoted: all keys of that promotion that differ are conflicts", r.from.Name(uint64(o.Revision))))
		maps.DeleteFunc(r.basedOn, func(_ ledger.Key, rev ledger.Revision) bool { return rev == o.Revision })
		return nil
	}
	r.bases[o.Revision] = was
	return err
}

// reveal replaces the masks of the secrets that must be compared by their values. Those that
// the user may not reveal are left out.
func (r *promotionRun) reveal() error {
	r.hidden = make(map[ledger.Key]string)
	wanted := make(map[*state][]string)
	keys := make(map[ledger.Key]bool)
	for _, s := range []*state{r.is, r.target} {
		for k := range s.entries {
			keys[k] = true
		}
	}
	for k := range keys {
		states := []*state{r.is, r.target}
		base := r.bases[r.basedOn[k]]
		if base != nil {
			states = append(states, base)
			if base.entries[k].GetRevision() == r.is.entries[k].GetRevision() {
				continue // the source has not changed it: both are the mask
			}
		} else if r.is.entries[k] == nil {
			continue
		}
		for _, s := range states {
			if s.entries[k].GetSecret() {
				wanted[s] = append(wanted[s], string(k))
			}
		}
	}
	for s, keys := range wanted {
		slices.Sort(keys)
		denied, err := revealAll(s, keys)
		if err != nil {
			return err
		}
		for _, k := range denied {
			r.hidden[ledger.Key(k)] = fmt.Sprintf("you may not reveal it in %s", s.session.Tenant)
		}
	}
	for k := range r.hidden {
		delete(r.is.values, k)
		delete(r.target.values, k)
	}
	return nil
}

// revealAll reveals secrets of a state, and returns those that the user may not reveal.
func revealAll(s *state, keys []string) (denied []string, err error) {
	err = s.session.Reveal(s.ctx, s.values, keys, s.revision())
	switch {
	case status.Code(err) != codes.PermissionDenied:
		return nil, err
	case len(keys) == 1:
		return keys, nil
	}
	for _, half := range [][]string{keys[:len(keys)/2], keys[len(keys)/2:]} {
		some, err := revealAll(s, half)
		if err != nil {
			return nil, err
		}
		denied = append(denied, some...)
	}
	return denied, nil
}

// changeSet is what the plan changes.
func (r *promotionRun) changeSet() *ledger.ChangeSet {
	head := r.target.revision()
	return &ledger.ChangeSet{
		Message: cmp.Or(r.message, fmt.Sprintf("Promote %s", r.source())), Changes: slices.Clone(r.plan.Changes),
		ExpectedHead: &head, ExpectedHeadID: r.target.snapshot.GetId(), AllowInvalid: r.allowInvalid, Origin: r.origin(),
	}
}

func (r *promotionRun) origin() *ledger.PromotionOrigin {
	o := &ledger.PromotionOrigin{Tenant: r.from.Tenant, Revision: r.is.revision(), Epoch: r.epoch, Keys: r.prefix, Left: slices.Sorted(maps.Keys(r.hidden))}
	copy(o.ID[:], r.is.snapshot.GetId())
	for _, c := range r.plan.Conflicts {
		o.Left = append(o.Left, c.Key)
	}
	return o
}

// preview checks the change set at the target, and leaves out secrets whose keys are not
// secret there.
func (r *promotionRun) preview(cs *ledger.ChangeSet) ([]*stelev1.KeyDiff, error) {
	if len(cs.Changes) == 0 {
		return nil, nil
	}
	if n := len(cs.Changes); n > ledger.MaxChanges {
		err := fmt.Errorf("%s differ, and a commit changes at most %d", output.Count(n, "key"), ledger.MaxChanges)
		return nil, failure.Try(failure.With(failure.Invalid, err), "a promotion of one prefix after the other")
	}
	if n := len(r.origin().Left); n > ledger.MaxLeft {
		err := fmt.Errorf("%s would be left for a later promotion, more than %d", output.Count(n, "key"), ledger.MaxLeft)
		return nil, failure.Try(failure.With(failure.Conflict, err), "--theirs or --ours with a prefix, or a promotion of fewer keys")
	}
	resp, err := r.to.Ledger.Plan(r.toCtx, &stelev1.PlanRequest{Commit: wire.CommitRequest(cs)})
	if err != nil {
		return nil, err
	}
	diffs := slices.DeleteFunc(resp.Diffs, func(d *stelev1.KeyDiff) bool {
		readable := r.is.entries[ledger.Key(d.Key)].GetSecret() && d.ToValue != "" && d.ToValue != string(secret.Mask)
		if readable {
			r.hidden[ledger.Key(d.Key)] = fmt.Sprintf("no route of %s makes it a secret", r.to.Tenant)
		}
		return readable
	})
	cs.Changes = slices.DeleteFunc(cs.Changes, func(ch ledger.Change) bool { return r.hidden[ch.Key] != "" })
	cs.Origin = r.origin()
	render.WarnRefusals(resp.Refusals)
	return diffs, nil
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
	for _, c := range r.plan.Conflicts {
		if err := r.showConflict(c); err != nil {
			return err
		}
	}
	if r.to.Format != output.Text {
		return nil
	}
	return r.to.Printf("%s to %s: %s, %s in conflict, %d kept\n", r.source(), r.to.Name(r.target.snapshot.GetRevision()), t, output.Count(len(r.plan.Conflicts), "key"), len(r.plan.Kept))
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
	if r.is.entries[c.Key].GetSecret() || r.target.entries[c.Key].GetSecret() || r.bases[r.basedOn[c.Key]].secret(c.Key) {
		for _, v := range []*ledger.Value{&c.Base, &c.From, &c.To} {
			if *v != "" {
				*v = secret.Mask
			}
		}
	}
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

// secret reports whether the key was a secret; s may be nil.
func (s *state) secret(k ledger.Key) bool { return s != nil && s.entries[k].GetSecret() }
