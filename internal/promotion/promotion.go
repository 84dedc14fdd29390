// Package promotion takes over what has changed in one tenant, the source, into another one,
// the target. It reads both through the gateway with the user's permissions, compares them in
// three ways with what was last promoted, and makes the change set. The command line and the
// console use it.
package promotion

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/stelehq/stele/internal/gateway/reason"
	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/schema"
	"github.com/stelehq/stele/internal/ledger/secret"
	"github.com/stelehq/stele/internal/wire"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// ErrNoCommits: the source has no commits.
var ErrNoCommits = errors.New("the tenant has no commits")

// LeftError is returned for more keys that would be left for a later promotion than a commit
// can record.
type LeftError struct{ Keys int }

func (e *LeftError) Error() string {
	return fmt.Sprintf("%d keys would be left for a later promotion, more than %d", e.Keys, ledger.MaxLeft)
}

// SizeError is returned for more changes than a commit can hold.
type SizeError struct{ Keys int }

func (e *SizeError) Error() string {
	return fmt.Sprintf("%d keys differ, and a commit changes at most %d", e.Keys, ledger.MaxChanges)
}

// Side is a tenant, and the calls to its gateway.
type Side struct {
	Tenant ledger.Tenant
	// Ctx acts for the tenant.
	Ctx    context.Context
	Config stelev1.ConfigClient
	Ledger stelev1.LedgerClient
}

// name is a state of the tenant, for example staging@42.
func (s Side) name(rev ledger.Revision) string { return string(s.Tenant) + rev.String() }

// Request says what to promote.
type Request struct {
	From, To Side
	// At is the state of the source; nil for the newest.
	At     *stelev1.At
	Prefix ledger.Pattern
	// Decide decides conflicts.
	Decide func(ledger.Key) Decision
	// Message is the reason of the commit; empty for one that names the source.
	Message      string
	AllowInvalid bool
	// KeepSecrets leaves secrets that differ for a later promotion, and reveals none.
	KeepSecrets bool
}

// Promotion is one promotion: what it has read, and its plan.
type Promotion struct {
	Plan Plan
	// Hidden are secrets that are left for a later promotion, and why.
	Hidden map[ledger.Key]string
	// Warnings are conditions that the user should know of.
	Warnings []string

	Request
	is, target *state
	// bases are the states of the source at its earlier promotions, by revision; basedOn is
	// the one for each key.
	bases   map[ledger.Revision]*state
	basedOn map[ledger.Key]ledger.Revision
	epoch   ledger.Epoch // of the source's ledger, if it is another one
}

// state is the part of a tenant's own settings that is promoted.
type state struct {
	Side
	snapshot *stelev1.Snapshot
	values   Settings
	entries  map[ledger.Key]*stelev1.Entry
}

func (s *state) revision() ledger.Revision { return ledger.Revision(s.snapshot.GetRevision()) }

// secret reports whether the key was a secret; s may be nil.
func (s *state) secret(k ledger.Key) bool { return s != nil && s.entries[k].GetSecret() }

// Source is the state that is promoted, for example staging@42, and Target the one that it is
// promoted to.
func (p *Promotion) Source() string { return p.From.name(p.is.revision()) }
func (p *Promotion) Target() string { return p.To.name(p.target.revision()) }

// SourceRevision is the revision that is promoted, and TargetRevision the head of the plan.
func (p *Promotion) SourceRevision() ledger.Revision { return p.is.revision() }
func (p *Promotion) TargetRevision() ledger.Revision { return p.target.revision() }

// Prepare reads the states and compares them.
func Prepare(r Request) (*Promotion, error) {
	p := &Promotion{Request: r}
	var err error
	if p.is, err = p.state(r.From, &stelev1.ListRequest{At: r.At}); err != nil {
		return nil, err
	}
	if p.is.revision() == 0 {
		return nil, fmt.Errorf("promote %s: %w", r.From.Tenant, ErrNoCommits)
	}
	if p.target, err = p.state(r.To, &stelev1.ListRequest{}); err != nil {
		return nil, err
	}
	if err := p.otherLedger(); err != nil {
		return nil, err
	}
	if err := p.readBases(); err != nil {
		return nil, err
	}
	if err := p.reveal(); err != nil {
		return nil, err
	}
	p.Plan = Compare(p.is.values, p.target.values, func(k ledger.Key) (ledger.Value, bool) {
		rev, promoted := p.basedOn[k]
		if !promoted {
			return "", false
		}
		return p.bases[rev].values[k], true
	})
	p.Plan.Resolve(r.Decide)
	return p, nil
}

// state reads a tenant's own settings under the prefix, and their schemas, all at one
// revision.
func (p *Promotion) state(of Side, req *stelev1.ListRequest) (*state, error) {
	is := &state{Side: of, values: make(Settings), entries: make(map[ledger.Key]*stelev1.Entry)}
	prefixes := []string{string(p.Prefix)}
	if p.Prefix != "" {
		prefixes = append(prefixes, schema.Tag+strings.TrimSuffix(string(p.Prefix), "/"))
	}
	for _, prefix := range prefixes {
		req.Prefix, req.PageToken, req.PageSize = prefix, "", 10_000
		for more := true; more; more = req.PageToken != "" {
			resp, err := of.Config.List(of.Ctx, req)
			if err != nil {
				return nil, fmt.Errorf("list %q of %s: %w", prefix, of.Tenant, err)
			}
			is.snapshot, req.PageToken = resp.Snapshot, resp.NextPageToken
			for _, e := range resp.Entries {
				if k := ledger.Key(e.Key); e.Base == nil && Selects(p.Prefix, k) {
					is.values[k], is.entries[k] = ledger.Value(e.Value), e
				}
			}
		}
		if is.revision() == 0 {
			break
		}
		req.At = wire.AtRevision(is.revision())
	}
	return is, nil
}

// otherLedger finds out whether the tenants are in different ledgers.
func (p *Promotion) otherLedger() error {
	source, err := p.From.Ledger.GetStatus(p.From.Ctx, &stelev1.GetStatusRequest{})
	if err != nil {
		return err
	}
	target, err := p.To.Ledger.GetStatus(p.To.Ctx, &stelev1.GetStatusRequest{})
	if err == nil && !bytes.Equal(source.Epoch, target.Epoch) {
		copy(p.epoch[:], source.Epoch)
	}
	return err
}

// readBases finds the promotion that has last decided about each key, and reads the states
// that were promoted.
func (p *Promotion) readBases() error {
	p.bases, p.basedOn = make(map[ledger.Revision]*state), make(map[ledger.Key]ledger.Revision)
	undecided := make(map[ledger.Key]bool)
	for _, s := range []*state{p.is, p.target} {
		for k := range s.values {
			undecided[k] = true
		}
	}
	// The newest promotion of all keys decides about most of them: one commit per page.
	req := &stelev1.ListCommitsRequest{PromotedFrom: string(p.From.Tenant), PageSize: 1, OmitValues: true}
	for len(undecided) > 0 {
		resp, err := p.To.Ledger.ListCommits(p.To.Ctx, req)
		if err != nil {
			return fmt.Errorf("find the promotions of %s: %w", p.To.Tenant, err)
		}
		for _, info := range resp.Commits {
			o, err := ledger.ParsePromotion(info.Commit.Origin.GetPromotion())
			if err != nil || o.Epoch != p.epoch {
				continue // of a ledger that has had a tenant of this name
			}
			for k := range undecided {
				if Covers(o, k) {
					p.basedOn[k] = o.Revision
					delete(undecided, k)
				}
			}
			if err := p.readBase(o); err != nil {
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
func (p *Promotion) readBase(o *ledger.PromotionOrigin) (err error) {
	used := slices.Contains(slices.Collect(maps.Values(p.basedOn)), o.Revision)
	if !used || p.bases[o.Revision] != nil {
		return nil
	}
	was, err := p.state(p.From, &stelev1.ListRequest{At: wire.AtRevision(o.Revision), MinRevision: uint64(o.Revision), MinId: o.ID[:]})
	if reason.Of(err) == reason.HistoryChanged {
		p.Warnings = append(p.Warnings, fmt.Sprintf("%s is another state now than when it was promoted: all keys of that promotion that differ are conflicts", p.From.name(o.Revision)))
		maps.DeleteFunc(p.basedOn, func(_ ledger.Key, rev ledger.Revision) bool { return rev == o.Revision })
		return nil
	}
	p.bases[o.Revision] = was
	return err
}

// reveal replaces the masks of the secrets that must be compared by their values. Those that
// the user may not reveal are left out.
func (p *Promotion) reveal() error {
	p.Hidden = make(map[ledger.Key]string)
	wanted := make(map[*state][]string)
	keys := make(map[ledger.Key]bool)
	for _, s := range []*state{p.is, p.target} {
		for k := range s.entries {
			keys[k] = true
		}
	}
	for k := range keys {
		states := []*state{p.is, p.target}
		base := p.bases[p.basedOn[k]]
		if base != nil {
			states = append(states, base)
			if base.entries[k].GetRevision() == p.is.entries[k].GetRevision() {
				continue // the source has not changed it: both are the mask
			}
		} else if p.is.entries[k] == nil {
			continue
		}
		for _, s := range states {
			switch {
			case !s.secret(k):
			case p.KeepSecrets:
				p.Hidden[k] = "its values were not compared"
			default:
				wanted[s] = append(wanted[s], string(k))
			}
		}
	}
	for s, keys := range wanted {
		slices.Sort(keys)
		denied, err := s.revealAll(keys)
		if err != nil {
			return err
		}
		for _, k := range denied {
			p.Hidden[ledger.Key(k)] = fmt.Sprintf("you may not reveal it in %s", s.Tenant)
		}
	}
	for k := range p.Hidden {
		delete(p.is.values, k)
		delete(p.target.values, k)
	}
	return nil
}

// manyKeys is how many of the largest values fit an answer.
const manyKeys = 15

// revealAll reveals secrets, and returns those that the user may not reveal.
func (s *state) revealAll(keys []string) (denied []string, err error) {
	for some := range slices.Chunk(keys, manyKeys) {
		more, err := s.revealSome(some)
		if err != nil {
			return nil, err
		}
		denied = append(denied, more...)
	}
	return denied, nil
}

// revealSome reveals secrets in one call, and by halves if it is denied.
func (s *state) revealSome(keys []string) (denied []string, err error) {
	resp, err := s.Config.BatchGet(s.Ctx, &stelev1.BatchGetRequest{Keys: keys, At: wire.AtRevision(s.revision()), Reveal: true})
	switch {
	case err == nil:
		for _, e := range resp.Entries {
			s.values[ledger.Key(e.Key)] = ledger.Value(e.Value)
		}
		return nil, nil
	case status.Code(err) != codes.PermissionDenied:
		return nil, fmt.Errorf("reveal the secrets of %s: %w", s.Tenant, err)
	case len(keys) == 1:
		return keys, nil
	}
	for _, half := range [][]string{keys[:len(keys)/2], keys[len(keys)/2:]} {
		some, err := s.revealSome(half)
		if err != nil {
			return nil, err
		}
		denied = append(denied, some...)
	}
	return denied, nil
}

// Conflicts are the conflicts of the plan, without the values of secrets.
func (p *Promotion) Conflicts() []Conflict {
	shown := slices.Clone(p.Plan.Conflicts)
	for i := range shown {
		c := &shown[i]
		p.mask(c.Key, &c.Base, &c.From, &c.To)
	}
	return shown
}

// Diffs are the changes of the plan against the target, without the values of secrets.
func (p *Promotion) Diffs() []*stelev1.KeyDiff {
	diffs := make([]*stelev1.KeyDiff, len(p.Plan.Changes))
	for i, ch := range p.Plan.Changes {
		from, to := p.target.values[ch.Key], ch.Value
		p.mask(ch.Key, &from, &to)
		diffs[i] = &stelev1.KeyDiff{Key: string(ch.Key), FromValue: string(from), ToValue: string(to)}
	}
	return diffs
}

// mask hides the values of a key that is or was a secret.
func (p *Promotion) mask(k ledger.Key, values ...*ledger.Value) {
	if !p.is.secret(k) && !p.target.secret(k) && !p.bases[p.basedOn[k]].secret(k) {
		return
	}
	for _, v := range values {
		if *v != "" {
			*v = secret.Mask
		}
	}
}

// ChangeSet is what the plan changes.
func (p *Promotion) ChangeSet() *ledger.ChangeSet {
	head := p.target.revision()
	return &ledger.ChangeSet{
		Message: cmp.Or(p.Message, "Promote "+p.Source()), Changes: slices.Clone(p.Plan.Changes),
		ExpectedHead: &head, ExpectedHeadID: p.target.snapshot.GetId(), AllowInvalid: p.AllowInvalid, Origin: p.origin(),
	}
}

func (p *Promotion) origin() *ledger.PromotionOrigin {
	o := &ledger.PromotionOrigin{Tenant: p.From.Tenant, Revision: p.is.revision(), Epoch: p.epoch, Keys: p.Prefix, Left: slices.Sorted(maps.Keys(p.Hidden))}
	copy(o.ID[:], p.is.snapshot.GetId())
	for _, c := range p.Plan.Conflicts {
		o.Left = append(o.Left, c.Key)
	}
	return o
}

// Preview checks the change set at the target, and leaves out secrets whose keys are not
// secret there. It returns nil if nothing changes.
func (p *Promotion) Preview(cs *ledger.ChangeSet) (*stelev1.PlanResponse, error) {
	if len(cs.Changes) == 0 {
		return nil, nil
	}
	if n := len(cs.Changes); n > ledger.MaxChanges {
		return nil, &SizeError{n}
	}
	if n := len(p.origin().Left); n > ledger.MaxLeft {
		return nil, &LeftError{n}
	}
	resp, err := p.To.Ledger.Plan(p.To.Ctx, &stelev1.PlanRequest{Commit: wire.CommitRequest(cs)})
	if err != nil {
		return nil, err
	}
	resp.Diffs = slices.DeleteFunc(resp.Diffs, func(d *stelev1.KeyDiff) bool {
		readable := p.is.secret(ledger.Key(d.Key)) && d.ToValue != "" && d.ToValue != string(secret.Mask)
		if readable {
			p.Hidden[ledger.Key(d.Key)] = fmt.Sprintf("no route of %s makes it a secret", p.To.Tenant)
		}
		return readable
	})
	cs.Changes = slices.DeleteFunc(cs.Changes, func(ch ledger.Change) bool { return p.Hidden[ch.Key] != "" })
	cs.Origin = p.origin()
	return resp, nil
}
