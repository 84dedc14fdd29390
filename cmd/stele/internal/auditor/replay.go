package auditor

import (
	"context"
	"fmt"
	"slices"

	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/proof"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
)

// Verified counts the verified items.
type Verified struct {
	Commits, Changes, Keys int
	// Inherited keys are read as values of the bases Bases, whose commits are not part of
	// the verification.
	Inherited int
	Bases     []ledger.Tenant
	// First and Last commit; nil without one.
	First, Last *ledger.Commit
}

// Tenant verifies all commits of the tenant that the checkpoint covers, replays them,
// and compares the result with the gateway's reads at that revision. seen is called for
// every commit.
func (a *Auditor) Tenant(ctx context.Context, c Checkpoint, t ledger.Tenant, seen func(ledger.Revision)) (Verified, error) {
	var v Verified
	chain := proof.NewChain(c.Checkpoint, t, 1)
	state := make(replay)
	err := a.Proofs(ctx, c, 1, c.Covered, func(p proof.Proven) error {
		commit, err := chain.Next(p)
		if err != nil {
			return err
		}
		if err := state.apply(commit); err != nil {
			return err
		}
		v.Commits++
		v.Changes += len(commit.Changes)
		commit.Encoded, commit.Changes = nil, nil
		if v.First == nil {
			v.First = commit
		}
		v.Last = commit
		seen(commit.Revision)
		return nil
	})
	if err != nil {
		return v, err
	}
	return v, a.compare(ctx, state, c.Covered, &v)
}

// replay is the result of commits: the last change of each key.
type replay map[ledger.Key]written

type written struct {
	revision ledger.Revision
	value    ledger.Value // empty for a deletion
}

func (r replay) apply(c *ledger.Commit) error {
	for _, ch := range c.Changes {
		if was := r[ch.Key].revision; was != ch.Previous {
			return fmt.Errorf("%s says that %s was last changed by %s, and it was by %s", c.Revision, ch.Key, ch.Previous, was)
		}
	}
	for _, ch := range c.Changes {
		r[ch.Key] = written{c.Revision, ch.Value}
	}
	return nil
}

// compare reads every key at the revision, and counts them.
func (a *Auditor) compare(ctx context.Context, want replay, at ledger.Revision, v *Verified) error {
	if at == 0 {
		return nil
	}
	bases, err := ledger.ParseBases(want[ledger.BasesKey].value)
	if err != nil {
		return differs("the list of bases at %s: %v", at, err)
	}
	req := &stelev1.ListRequest{At: &stelev1.At{Point: &stelev1.At_Revision{Revision: uint64(at)}}, PageSize: 10_000}
	for before := ""; ; {
		resp, err := a.Config.List(ctx, req)
		if err != nil {
			return err
		}
		for _, e := range resp.Entries {
			w := want[ledger.Key(e.Key)]
			switch {
			case e.Key <= before:
				return differs("%s comes after %s in a list", e.Key, before)
			case e.Base != nil:
				if err := want.inherits(e, bases); err != nil {
					return err
				}
				before = e.Key
				if v.Inherited++; !slices.Contains(v.Bases, ledger.Tenant(e.Base.Tenant)) {
					v.Bases = append(v.Bases, ledger.Tenant(e.Base.Tenant))
				}
				continue
			case w.value == "":
				return differs("%s is read as set at %s, and no commit has set it", e.Key, at)
			case e.Value != string(w.value) && !e.Secret: // the commit has a secret encrypted, and this answer has it masked
				return differs("%s is read as %.80s at %s, and %s has set it to %.80s", e.Key, e.Value, at, w.revision, w.value)
			case e.Revision != uint64(w.revision):
				return differs("%s is read as set by %s, and it was by %s", e.Key, ledger.Revision(e.Revision), w.revision)
			}
			before = e.Key
			v.Keys++
		}
		if req.PageToken = resp.NextPageToken; req.PageToken == "" {
			break
		}
	}
	set := 0
	for _, w := range want {
		if w.value != "" {
			set++
		}
	}
	if v.Keys != set {
		return differs("%d keys are read as set at %s, and the commits have set %d", v.Keys, at, set)
	}
	return nil
}

// inherits checks what the tenant's own commits say about an inherited entry: the tenant has
// not set the key, and its list names the base at a revision that can have the value.
func (r replay) inherits(e *stelev1.Entry, bases []ledger.Base) error {
	own := r[ledger.Key(e.Key)]
	pin := slices.IndexFunc(bases, func(b ledger.Base) bool { return string(b.Tenant) == e.Base.Tenant })
	since := max(own.revision, r[ledger.BasesKey].revision)
	switch {
	case own.value != "":
		return differs("%s is read as inherited from %s, and %s has set it", e.Key, e.Base.Tenant, own.revision)
	case !ledger.Key(e.Key).Inheritable():
		return differs("%s is read as inherited from %s, and is never inherited", e.Key, e.Base.Tenant)
	case pin < 0:
		return differs("%s is read as inherited from %s, which is not a base of the tenant", e.Key, e.Base.Tenant)
	case e.Base.Revision == 0 || e.Base.Revision > uint64(bases[pin].Revision):
		return differs("%s is read as set by %s%s, and the base is at %s", e.Key, e.Base.Tenant, ledger.Revision(e.Base.Revision), bases[pin].Revision)
	case e.Revision != uint64(since):
		return differs("%s is read as inherited since %s, and it is since %s", e.Key, ledger.Revision(e.Revision), since)
	}
	return nil
}

func differs(format string, args ...any) error {
	return &proof.InvalidError{What: "the replica", Err: fmt.Errorf(format, args...)}
}
