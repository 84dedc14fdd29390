package schema

import (
	"context"
	"fmt"

	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/replica"
	"github.com/stelehq/stele/internal/ledger/routes"
)

// Broken are existing values that violate their schemas.
type Broken struct {
	// Count of the values that were looked at, and of those that are broken.
	Checked, Count int
	// First of them.
	First []BrokenValue
	// NotChecked counts the secrets that the viewer may not reveal.
	NotChecked int
}

// BrokenValue is one of them.
type BrokenValue struct {
	Tenant     ledger.Tenant
	Key        ledger.Key
	Revision   ledger.Revision
	Base       ledger.Source // where the value is inherited from
	Violations []Violation
}

func (b *Broken) add(t ledger.Tenant, k ledger.Key, is ledger.Version, found []Violation, checked bool) {
	if !checked {
		b.NotChecked++
		return
	}
	b.Checked++
	if len(found) == 0 {
		return
	}
	if b.Count++; len(b.First) < maxReport {
		b.First = append(b.First, BrokenValue{t, k, is.Revision, is.Base, found})
	}
}

// refusal is the error for a change set whose schemas existing values violate. It does
// not reveal the values.
func (b *Broken) refusal(field string) error {
	if b.Count == 0 {
		return nil
	}
	var wrong ledger.InvalidError
	for i, v := range b.First {
		of := string(v.Tenant)
		if v.Base.Inherited() {
			of += fmt.Sprintf(", inherited from %s%s", v.Base.Tenant, v.Base.Revision)
		}
		text := fmt.Sprintf("%s%s of %s: %s", v.Key, v.Revision, of, v.Violations[0].withoutValue())
		if i == 0 {
			text = fmt.Sprintf("%s would break it; change them first, or have them left as they are (allow_invalid, --allow-invalid): %s", many(b.Count, "live value"), text)
		}
		wrong.Add(field, text)
	}
	return wrong.OrNil()
}

func (v Violation) withoutValue() Violation {
	v.Found = ""
	return v
}

// live checks the existing values under the prefixes as the change set leaves them,
// except those that it sets, and those that the viewer may not read.
func (f *inForce) live(ctx context.Context, table *routes.Table, viewer ledger.Viewer, under []ledger.Prefix, plain []ledger.Change) (b Broken, err error) {
	staged := make(map[ledger.Key]ledger.Value) // empty: deleted
	for _, changes := range f.added {
		for _, c := range changes {
			staged[c.Key] = c.Value
		}
	}
	skip := make(map[ledger.Key]bool)
	for _, c := range plain {
		skip[c.Key] = true
	}
	look := func(p ledger.Prefix, k ledger.Key, is ledger.Version) error {
		if viewer != nil && !viewer.Reads(f.tenant, k) {
			return nil
		}
		if viewer != nil {
			viewer.Looked(f.tenant, p)
		}
		found, checked, err := f.source.violations(ctx, table, viewer, f.tenant, k, is, f.next)
		if err != nil {
			return err
		}
		b.add(f.tenant, k, is, found, checked)
		return ctx.Err()
	}
	for _, p := range under {
		for d, err := range f.state.Effective().Diff(0, f.state.Head().Revision, p, "") {
			if err != nil {
				return b, err
			}
			if _, moved := staged[d.Key]; moved || skip[d.Key] || !covers(p, d.Key) {
				continue
			}
			if err := look(p, d.Key, d.To); err != nil {
				return b, err
			}
		}
	}
	for k, v := range staged {
		for _, p := range under {
			if v == "" || skip[k] || !covers(p, k) {
				continue
			}
			if err := look(p, k, ledger.Version{Revision: f.state.Head().Revision + 1, Value: v}); err != nil {
				return b, err
			}
		}
	}
	return b, nil
}

// Admit looks at the values of all tenants that the process holds before the platform's
// schemas change. A value that is written meanwhile is not seen.
func (s *Source) Admit(ctx context.Context, t ledger.Tenant, cs *ledger.ChangeSet) error {
	if t != ledger.System || cs.AllowInvalid {
		return nil
	}
	f := &inForce{source: s, tenant: t}
	var wrong ledger.InvalidError
	changed, fields := f.documents(&wrong, cs, cs.Changes)
	if len(changed) == 0 || len(wrong.Violations) > 0 {
		return nil // the lane says so
	}
	platform, err := s.Platform()
	if err != nil {
		return err
	}
	next, seen := platform.with(t, changed), platform.seenBy(cs.Viewer).with(t, changed)
	if err := readable(&wrong, next, seen, changed, fields); err != nil {
		return err
	}
	broken, err := s.everywhere(ctx, cs.Viewer, next, seen.touched(prefixes(changed)))
	if err != nil {
		return err
	}
	return broken.refusal(fields[changed[0].Prefix])
}

// everywhere looks at the values of all tenants.
func (s *Source) everywhere(ctx context.Context, viewer ledger.Viewer, set *Set, under []ledger.Prefix) (b Broken, err error) {
	for _, h := range s.replica.Heads("") {
		if err := s.within(ctx, viewer, &b, h.Tenant, true, under, set); err != nil {
			return b, err
		}
	}
	return b, nil
}

// within looks at the live values of a tenant under some prefixes, each as a
// ledger.Pattern, that the viewer may read. If all tenants are looked at, an inherited value
// is looked at in its base only.
func (s *Source) within(ctx context.Context, viewer ledger.Viewer, b *Broken, t ledger.Tenant, all bool, under []ledger.Prefix, sets ...*Set) error {
	table, _, err := s.routes.Table()
	if err != nil {
		return fmt.Errorf("find out which keys are secret: %w", err)
	}
	v, err := s.replica.View(t, replica.At{})
	if err != nil {
		return err
	}
	defer v.Close()
	for _, p := range under {
		for e, err := range v.List(ledger.Pattern(p).Range(), "") {
			if err != nil {
				return err
			}
			k := e.Key
			if k.Reserved() || !covers(p, k) || all && e.Base.Inherited() {
				continue
			}
			if viewer != nil {
				if !viewer.Reads(t, k) {
					continue
				}
				viewer.Looked(t, p)
			}
			is := ledger.Version{Revision: e.Revision, Value: e.Value, Base: e.Base}
			found, checked, err := s.violations(ctx, table, viewer, t, k, is, sets...)
			if err != nil {
				return err
			}
			b.add(t, k, is, found, checked)
			if err := ctx.Err(); err != nil {
				return err
			}
		}
	}
	return nil
}
