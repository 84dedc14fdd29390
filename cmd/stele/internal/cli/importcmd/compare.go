package importcmd

import (
	"context"
	"fmt"
	"maps"
	"os"
	"slices"

	"github.com/stelehq/stele/cmd/stele/internal/cli/session"
	"github.com/stelehq/stele/cmd/stele/internal/failure"
	"github.com/stelehq/stele/cmd/stele/internal/migrate"
	"github.com/stelehq/stele/cmd/stele/internal/output"
	"github.com/stelehq/stele/cmd/stele/internal/wire"
	"github.com/stelehq/stele/internal/ledger"
)

// agreement says how far one tenant's keys are those of the source after an import, for
// programs.
type agreement struct {
	// Agrees is set if every key of the source has its value in the ledger, and nothing
	// of the source is unfit.
	Agrees bool `json:"agrees"`
	// Differs lists keys whose value is another one, or that are not set.
	Differs []ledger.Key `json:"differs,omitempty"`
	// Unfit has the names whose newest value the ledger would not take, and why.
	Unfit map[string]string `json:"unfit,omitempty"`
	// Kept lists keys that the source does not have.
	Kept []ledger.Key `json:"kept,omitempty"`
	// Pruned are keys that the source does not have and that were deleted.
	Pruned []ledger.Key `json:"pruned,omitempty"`
}

// comparison compares the ledger with the final state of a source.
type comparison struct {
	*session.Session
	options importOptions
	lines   *migrate.Reader
}

func (c *comparison) compare(ctx context.Context) (map[ledger.Tenant]*agreement, error) {
	all := make(map[ledger.Tenant]*agreement)
	for t, final := range c.lines.Final() {
		a := new(agreement)
		has, err := (*imported)(c.Session).Entries(ctx, t, c.lines.Mapping.Into())
		if err != nil {
			return nil, fmt.Errorf("compare %s with the source: %w", t, err)
		}
		for _, key := range slices.Sorted(maps.Keys(final.Values)) {
			if !has[key].Equal(final.Values[key]) {
				a.Differs = append(a.Differs, key)
			}
			delete(has, key)
		}
		if a.Kept = slices.Sorted(maps.Keys(has)); c.options.prune && len(a.Kept) > 0 {
			if err := c.delete(ctx, t, a.Kept); err != nil {
				return nil, fmt.Errorf("prune %s: %w", t, err)
			}
			a.Pruned, a.Kept = a.Kept, nil
		}
		for name, err := range final.Unfit {
			if a.Unfit == nil {
				a.Unfit = make(map[string]string)
			}
			a.Unfit[name] = failure.Message(err)
		}
		a.Agrees = len(a.Differs)+len(a.Unfit) == 0
		all[t] = a
	}
	return all, nil
}

// delete deletes keys that the source does not have.
func (c *comparison) delete(ctx context.Context, t ledger.Tenant, keys []ledger.Key) error {
	for some := range slices.Chunk(keys, ledger.MaxChanges) {
		cs := &ledger.ChangeSet{Message: "Delete what is not in the source of the import"}
		for _, k := range some {
			cs.Changes = append(cs.Changes, ledger.Change{Key: k, Delete: true})
		}
		if _, err := c.Ledger.Commit((*imported)(c.Session).as(ctx, t), wire.CommitRequest(cs)); err != nil {
			return err
		}
	}
	return nil
}

// tellAgreements lists differences from the source.
func tellAgreements(all map[ledger.Tenant]*agreement) {
	list := func(header string, keys []string) {
		if len(keys) == 0 {
			return
		}
		fmt.Fprintf(os.Stderr, "%s: %d\n", header, len(keys))
		for _, k := range keys[:min(len(keys), mostMisfits)] {
			fmt.Fprintf(os.Stderr, "  %s\n", k)
		}
		if more := len(keys) - mostMisfits; more > 0 {
			fmt.Fprintf(os.Stderr, "  and %d more\n", more)
		}
	}
	for _, t := range slices.Sorted(maps.Keys(all)) {
		a := all[t]
		list(fmt.Sprintf("keys of %s that differ from the source", t), texts(a.Differs))
		var unfit []string
		for _, name := range slices.Sorted(maps.Keys(a.Unfit)) {
			unfit = append(unfit, name+": "+a.Unfit[name])
		}
		list(fmt.Sprintf("names that %s does not have as the source has them now", t), unfit)
		list(fmt.Sprintf("keys of %s that the source does not have (--prune deletes them)", t), texts(a.Kept))
		list(fmt.Sprintf("keys of %s deleted because the source does not have them", t), texts(a.Pruned))
	}
}

func texts(keys []ledger.Key) []string {
	out := make([]string, len(keys))
	for i, k := range keys {
		out[i] = string(k)
	}
	return out
}

// disagreement is an error if a tenant is not as the source.
func disagreement(all map[ledger.Tenant]*agreement) error {
	wrong := 0
	for _, a := range all {
		if !a.Agrees {
			wrong++
		}
	}
	if wrong == 0 {
		return nil
	}
	return failure.With(failure.Conflict, fmt.Errorf("%s not as the source is", output.Count(wrong, "tenant")))
}
