package schema

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/routes"
	"github.com/stelehq/stele/internal/ledger/secret"
)

// inForce are the schemas for a tenant's values in a state, and in those that change
// sets make of it.
type inForce struct {
	source        *Source
	tenant        ledger.Tenant
	state         ledger.State
	own, platform *Set
	bases         []ledger.Base // of the tenant; their schemas hold as well

	// own and bases, as the change set that was checked last leaves them
	next      *Set
	nextBases []ledger.Base
	added     [][]ledger.Change // since the state, plain, in their order
}

// In are the schemas that are in force in a tenant's state at its head.
func (s *Source) In(t ledger.Tenant, state ledger.State) (ledger.InForce, error) {
	own, err := s.Of(t, state)
	if err != nil {
		return nil, err
	}
	f := &inForce{source: s, tenant: t, state: state, own: own, bases: s.replica.Bases(t)}
	if !t.Reserved() {
		f.platform, err = s.Platform()
	}
	return f, err
}

// Check checks a change set against the schemas in force after it. Setting a schema
// also checks the values below it.
func (f *inForce) Check(ctx context.Context, cs *ledger.ChangeSet, plain []ledger.Change) error {
	f.next, f.nextBases = f.own, f.bases
	var wrong ledger.InvalidError
	changed, fields := f.documents(&wrong, cs, plain)
	var seen *Set
	if len(changed) > 0 {
		f.next = f.own.with(f.tenant, changed)
		seen = f.own.seenBy(cs.Viewer).with(f.tenant, changed)
		if err := readable(&wrong, f.next, seen, changed, fields); err != nil {
			return err
		}
	}
	sets, err := f.sets(plain)
	if err != nil || len(wrong.Violations) > 0 || f.tenant.Reserved() || len(sets) == 0 && len(changed) == 0 {
		return cmp.Or(err, wrong.OrNil())
	}
	table, _, err := f.source.routes.Table()
	if err != nil {
		return fmt.Errorf("find out which keys are secret: %w", err)
	}
	values, done := context.WithTimeout(ctx, maxTime)
	defer done()
	for i, c := range plain {
		if c.Delete || c.Key.Reserved() {
			continue
		}
		field := fmt.Sprintf("changes[%d].value", i)
		switch err := f.value(values, &wrong, table, cs, field, c, sets); {
		case values.Err() != nil && ctx.Err() == nil:
			return ledger.Invalid(field, fmt.Sprintf("the values take more than %s to check: make the schemas simpler, or split the change set", maxTime))
		case err != nil:
			return err
		}
	}
	if len(wrong.Violations) > 0 || cs.AllowInvalid || len(changed) == 0 {
		return wrong.OrNil()
	}
	field := fields[changed[0].Prefix]
	bounded, cancel := context.WithTimeout(ctx, maxTime)
	defer cancel()
	broken, err := f.live(bounded, table, cs.Viewer, seen.touched(prefixes(changed)), plain)
	switch {
	case bounded.Err() != nil && ctx.Err() == nil:
		return ledger.Invalid(field, fmt.Sprintf("the live values below it take more than %s to check: make it simpler, or set it all the same (allow_invalid, --allow-invalid) and look for those that break it (stele schema check)", maxTime))
	case err != nil:
		return err
	}
	return broken.refusal(field)
}

// sets are all schemas that hold for the values of a change set; none if it sets no value.
func (f *inForce) sets(plain []ledger.Change) (sets []*Set, err error) {
	for _, c := range plain {
		if c.Key == ledger.BasesKey {
			if f.nextBases, err = ledger.ParseBases(c.Value); err != nil {
				return nil, nil // the ledger refuses it
			}
		}
	}
	if !slices.ContainsFunc(plain, func(c ledger.Change) bool { return !c.Delete && !c.Key.Reserved() }) {
		return nil, nil
	}
	if f.platform != nil {
		sets = append(sets, f.platform)
	}
	bases, err := f.source.Bases(f.nextBases)
	if err != nil {
		return nil, err
	}
	sets = append(sets, bases...)
	if f.next != nil {
		sets = append(sets, f.next)
	}
	return sets, nil
}

// maxTime bounds a check, because the tenant's other change sets wait for it.
const maxTime = 4 * time.Second

// Add makes the change set that was checked last a part of the state.
func (f *inForce) Add(plain []ledger.Change, at ledger.Revision) {
	f.own, f.bases = f.next, f.nextBases
	f.added = append(f.added, plain)
}

// documents are the schemas that a change set sets or deletes, and their fields in it.
// It refuses keys that only a later version may know.
func (f *inForce) documents(wrong *ledger.InvalidError, cs *ledger.ChangeSet, plain []ledger.Change) (changed []Document, fields map[ledger.Prefix]string) {
	for i, c := range plain {
		if !c.Key.Reserved() {
			continue
		}
		p, is := PrefixOf(c.Key)
		switch {
		case c.Key == ledger.BasesKey: // the ledger checks it
		case is && !strings.HasPrefix(string(p), "_"):
			if fields == nil {
				fields = make(map[ledger.Prefix]string)
			}
			fields[p] = fmt.Sprintf("changes[%d].value", i)
			changed = append(changed, Document{Prefix: p, Text: c.Value})
		case c.Delete || cs.Import != nil || cs.Restores():
		default:
			wrong.Add(fmt.Sprintf("changes[%d].key", i), fmt.Sprintf("%s: tags that begin with \"_\" are the ledger's own; it has %sPREFIX, for prefixes without \"_\", and %s: choose another tag", c.Key, Tag, ledger.BasesKey))
		}
	}
	return changed, fields
}

// readable refuses documents that are not schemas. seen is the part of the next set that
// the viewer sees: a document cannot refer to another one, and the ones that refer to it are
// not named. The prefix of one that only refers to a changed one is named with that.
func readable(wrong *ledger.InvalidError, next, seen *Set, changed []Document, fields map[ledger.Prefix]string) error {
	if size := next.size(); size > MaxSet {
		wrong.Add(fields[changed[0].Prefix], fmt.Sprintf("all schemas of %s together have %d bytes, more than %d", next.tenant, size, MaxSet))
		return wrong.OrNil()
	}
	broken := seen.broken(prefixes(changed))
	for _, d := range changed {
		if err := broken[d.Prefix]; err != nil {
			wrong.Add(fields[d.Prefix], fmt.Sprintf("%s%s is not a valid schema: %v", Tag, d.Prefix, err))
			delete(broken, d.Prefix)
		}
	}
	for _, d := range seen.Documents() {
		if err := broken[d.Prefix]; err != nil {
			wrong.Add(fields[changed[0].Prefix], fmt.Sprintf("%s%s, which refers to it, would be invalid: %v", Tag, d.Prefix, err))
		}
	}
	return wrong.OrNil()
}

// value checks one change against the schemas for its key. A restored value is a stored one.
func (f *inForce) value(ctx context.Context, wrong *ledger.InvalidError, table *routes.Table, cs *ledger.ChangeSet, field string, c ledger.Change, sets []*Set) error {
	viewer := cs.Viewer
	if !cs.Restores() {
		viewer = nil // the value is the author's own
	}
	found, _, err := f.source.violations(ctx, table, viewer, f.tenant, c.Key, ledger.Version{Value: c.Value}, sets...)
	for _, v := range found {
		wrong.Add(field, fmt.Sprintf("%s: %s", c.Key, v))
	}
	return err
}

// violations checks a value, which may be sealed, against the schemas of some sets. It is not
// checked if it is a stored secret that the viewer may not reveal.
func (s *Source) violations(ctx context.Context, table *routes.Table, viewer ledger.Viewer, t ledger.Tenant, k ledger.Key, is ledger.Version, sets ...*Set) (all []Violation, checked bool, err error) {
	hidden := secret.Sealed(is.Value) || !t.Reserved() && table.Secret(k)
	opened := false
	for _, set := range sets {
		if _, ok := set.For(k); !ok {
			continue
		}
		if hidden && !opened && viewer != nil && !viewer.Opens(t, k) {
			return nil, false, nil
		}
		opened = true
		plain, ok, err := s.open(ctx, is.Base.Owner(t), k, is.Value)
		if err != nil || !ok {
			return nil, true, err
		}
		found, _, err := set.Check(ctx, k, plain, hidden)
		if err != nil {
			return nil, true, err
		}
		all = append(all, found...)
	}
	return all, true, nil
}

func prefixes(documents []Document) []ledger.Prefix {
	out := make([]ledger.Prefix, len(documents))
	for i, d := range documents {
		out[i] = d.Prefix
	}
	return out
}
