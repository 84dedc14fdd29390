package auditor

import (
	"context"
	"fmt"

	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/proof"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
)

// Verified counts the verified items.
type Verified struct {
	Commits, Changes, Keys int
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
	v.Keys, err = a.compare(ctx, state, c.Covered)
	return v, err
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

// compare reads every key at the revision. It returns how many are set.
func (a *Auditor) compare(ctx context.Context, want replay, at ledger.Revision) (keys int, err error) {
	if at == 0 {
		return 0, nil
	}
	req := &stelev1.ListRequest{At: &stelev1.At{Point: &stelev1.At_Revision{Revision: uint64(at)}}, PageSize: 10_000}
	for before := ""; ; {
		resp, err := a.Config.List(ctx, req)
		if err != nil {
			return keys, err
		}
		for _, e := range resp.Entries {
			w := want[ledger.Key(e.Key)]
			switch {
			case e.Key <= before:
				return keys, differs("%s comes after %s in a list", e.Key, before)
			case w.value == "":
				return keys, differs("%s is read as set at %s, and no commit has set it", e.Key, at)
			case e.Value != string(w.value) && !e.Secret: // a secret is in the commit, encrypted, and not told here
				return keys, differs("%s is read as %.80s at %s, and %s has set it to %.80s", e.Key, e.Value, at, w.revision, w.value)
			case e.Revision != uint64(w.revision):
				return keys, differs("%s is read as set by %s, and it was by %s", e.Key, ledger.Revision(e.Revision), w.revision)
			}
			before = e.Key
			keys++
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
	if keys != set {
		return keys, differs("%d keys are read as set at %s, and the commits have set %d", keys, at, set)
	}
	return keys, nil
}

func differs(format string, args ...any) error {
	return &proof.InvalidError{What: "the replica", Err: fmt.Errorf(format, args...)}
}
