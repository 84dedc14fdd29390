package importcmd

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/stelehq/stele/cmd/stele/internal/cli/session"
	"github.com/stelehq/stele/cmd/stele/internal/failure"
	"github.com/stelehq/stele/cmd/stele/internal/migrate"
	"github.com/stelehq/stele/cmd/stele/internal/output"
	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/wire"
)

// agreement says how far one tenant's keys are those of the source after an import, for
// programs.
type agreement struct {
	// Agrees is set if every key of the source has its value in the ledger, and nothing
	// of the source is unfit.
	Agrees bool `json:"agrees"`
	// Differs lists keys whose value is another one, or that are not set.
	Differs []ledger.Key `json:"differs,omitempty"`
	// Unfit has the names whose newest value the ledger would reject, and why.
	Unfit map[string]string `json:"unfit,omitempty"`
	// Kept lists keys that the source does not have.
	Kept []ledger.Key `json:"kept,omitempty"`
	// Pruned are keys that the source does not have and that --prune has deleted.
	Pruned []ledger.Key `json:"pruned,omitempty"`
	// Reset are keys that had another value and that --prune has set.
	Reset []ledger.Key `json:"reset,omitempty"`
	// head is the revision of the commit that --prune wrote; 0 without one.
	head ledger.Revision
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
		maps.DeleteFunc(has, func(k ledger.Key, _ ledger.Value) bool { return !c.lines.Mapping.Into().Covers(k) })
		a.Kept = slices.Sorted(maps.Keys(has))
		// What does not fit is absent from the values, although the source has it.
		if c.options.prune && len(final.Unfit) == 0 {
			if err := c.equalize(ctx, t, a, final); err != nil {
				return nil, fmt.Errorf("prune %s: %w", t, err)
			}
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

// equalize makes the ledger's keys equal to the source: it deletes those that the source
// does not have, and sets those that differ.
func (c *comparison) equalize(ctx context.Context, t ledger.Tenant, a *agreement, final *migrate.Final) error {
	var changes []ledger.Change
	for _, k := range a.Kept {
		changes = append(changes, ledger.Change{Key: k, Delete: true})
	}
	for _, k := range a.Differs {
		changes = append(changes, ledger.Change{Key: k, Value: final.Values[k]})
	}
	for _, part := range migrate.Split(changes) {
		cs := &ledger.ChangeSet{Message: "Make the keys equal to the source of the import", Changes: part}
		done, err := c.Ledger.Commit((*imported)(c.Session).as(ctx, t), wire.CommitRequest(cs))
		if err != nil {
			return err
		}
		a.head = ledger.Revision(done.Revision)
	}
	a.Pruned, a.Kept, a.Reset, a.Differs = a.Kept, nil, a.Differs, nil
	return nil
}

// report lists differences from the source.
func (c *comparison) report(all map[ledger.Tenant]*agreement) {
	list := func(header string, keys []string) {
		if len(keys) == 0 {
			return
		}
		fmt.Fprintf(output.Stderr, "%s: %d\n", header, len(keys))
		for _, k := range keys[:min(len(keys), mostMisfits)] {
			fmt.Fprintf(output.Stderr, "  %s\n", k)
		}
		if more := len(keys) - mostMisfits; more > 0 {
			fmt.Fprintf(output.Stderr, "  and %d more\n", more)
		}
	}
	prune := func(what string) string {
		if !c.options.accepts("prune") {
			return ""
		}
		return " (--prune " + what + ")"
	}
	for _, t := range slices.Sorted(maps.Keys(all)) {
		a := all[t]
		list(fmt.Sprintf("keys of %s that differ from the source%s", t, prune("sets them")), texts(a.Differs))
		list(fmt.Sprintf("names of the source that could not be imported into %s, with the reasons above", t), slices.Sorted(maps.Keys(a.Unfit)))
		list(fmt.Sprintf("keys of %s that the source does not have%s", t, prune("deletes them")), texts(a.Kept))
		list(fmt.Sprintf("keys of %s set to the value in the source", t), texts(a.Reset))
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
func (c *comparison) disagreement(all map[ledger.Tenant]*agreement) error {
	var wrong []string
	try := "stele set, for the keys that are to have the value of the source"
	if c.options.accepts("prune") {
		try = "--prune, to set the keys to the values of the source"
	}
	for _, t := range slices.Sorted(maps.Keys(all)) {
		if !all[t].Agrees {
			wrong = append(wrong, string(t))
		}
		if len(all[t].Unfit) > 0 {
			try = "the import again after correcting the names in the source"
		}
	}
	if len(wrong) == 0 {
		return nil
	}
	const named = 5
	err := fmt.Errorf("not equal to the source: %s", strings.Join(wrong[:min(len(wrong), named)], ", "))
	if more := len(wrong) - named; more > 0 {
		err = fmt.Errorf("%w and %d more", err, more)
	}
	return failure.Try(failure.With(failure.Conflict, err), "%s", try)
}
