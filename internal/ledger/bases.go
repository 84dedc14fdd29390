package ledger

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/stelehq/stele/internal/ledger/strictjson"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
)

// BasesKey is the setting that lists a tenant's bases.
const BasesKey Key = basesTag + "list"

// basesTag is the tag of the settings about bases. They are never inherited.
const basesTag = "_bases/"

// MaxBases is the number of bases that a tenant may have.
const MaxBases = 8

// Base is a tenant whose keys another tenant inherits. The value of a key is the tenant's own.
// If the tenant does not set the key, it is the value of the first base in its list that has
// the key, at the pinned revision. Bases are not transitive: only a base's own values are
// inherited.
type Base struct {
	Tenant Tenant `json:"tenant"`
	// Revision is the pin: the state of the base that is inherited.
	Revision Revision `json:"revision"`
	// Follow moves the pin with every commit of the base.
	Follow bool `json:"follow,omitzero"`
}

// Source is a base and its revision that set a value; the zero Source is the tenant itself.
type Source struct {
	Tenant   Tenant
	Revision Revision
}

// Inherited reports whether the value is a base's.
func (s Source) Inherited() bool { return s.Tenant != "" }

// Owner returns the tenant that set the value; t is the tenant that reads it.
func (s Source) Owner(t Tenant) Tenant {
	if s.Inherited() {
		return s.Tenant
	}
	return t
}

// Proto is the source as the API shows it; nil for the tenant itself.
func (s Source) Proto() *stelev1.BaseRef {
	if !s.Inherited() {
		return nil
	}
	return &stelev1.BaseRef{Tenant: string(s.Tenant), Revision: uint64(s.Revision)}
}

// Inheritable reports whether tenants inherit the key from their bases: every key except the
// list of bases itself.
func (k Key) Inheritable() bool { return !strings.HasPrefix(string(k), basesTag) }

// ParseBases reads the value of BasesKey. An empty value is an empty list.
func ParseBases(v Value) ([]Base, error) {
	if v == "" {
		return nil, nil
	}
	var bases []Base
	if err := strictjson.Unmarshal([]byte(v), &bases, `it must be a list such as [{"tenant":"defaults","revision":17,"follow":true}]`); err != nil {
		return nil, err
	}
	if len(bases) > MaxBases {
		return nil, fmt.Errorf("%d bases are more than %d", len(bases), MaxBases)
	}
	for i, b := range bases {
		if _, err := ParseTenant(string(b.Tenant)); err != nil {
			return nil, fmt.Errorf("[%d].tenant: %w", i, err)
		}
		switch {
		case b.Tenant.Reserved():
			return nil, fmt.Errorf("[%d].tenant: %s is reserved and cannot be a base", i, b.Tenant)
		case b.Revision == 0:
			return nil, fmt.Errorf("[%d].revision: name the revision of %s that is inherited, for example its head", i, b.Tenant)
		case slices.ContainsFunc(bases[:i], func(o Base) bool { return o.Tenant == b.Tenant }):
			return nil, fmt.Errorf("[%d].tenant: %s is listed twice", i, b.Tenant)
		}
	}
	return bases, nil
}

// BasesValue is the value of BasesKey for a list.
func BasesValue(bases []Base) Value {
	b, err := json.Marshal(bases, json.FormatNilSliceAsNull(false))
	if err != nil {
		panic(fmt.Sprintf("encode bases: %v", err)) // names, numbers and booleans only
	}
	return Value(b)
}

// undoBases undoes the change that a commit made to a list of bases, in a list that later
// commits have changed: it removes the bases that the commit added, whatever their pins, and
// lists the bases that it removed again. It returns nil if a later commit has changed the same
// bases.
func undoBases(s State, c *Commit, set, now Value) (*Value, error) {
	before, err := s.Version(BasesKey, c.Revision-1)
	if err != nil {
		return nil, err
	}
	var lists [3][]Base
	for i, v := range []Value{before.Value, set, now} {
		if lists[i], err = ParseBases(v); err != nil {
			return nil, fmt.Errorf("read the bases of %s at %s: %w", c.Tenant, c.Revision, err)
		}
	}
	was, is, next := lists[0], lists[1], lists[2]
	for _, b := range is {
		if old := find(was, b.Tenant); old < 0 {
			next = slices.DeleteFunc(next, func(n Base) bool { return n.Tenant == b.Tenant })
		} else if b != was[old] {
			at := slices.Index(next, b)
			if at < 0 {
				return nil, nil
			}
			next[at] = was[old]
		}
	}
	for i, b := range was {
		if find(is, b.Tenant) >= 0 {
			continue
		}
		if find(next, b.Tenant) >= 0 {
			return nil, nil
		}
		place := 0 // after the one that was before it
		for _, other := range was[:i] {
			place = max(place, find(next, other.Tenant)+1)
		}
		next = slices.Insert(next, place, b)
	}
	if _, err := ParseBases(BasesValue(next)); err != nil || reordered(was, is) {
		return nil, nil
	}
	value := Value("")
	if len(next) > 0 {
		value = BasesValue(next)
	}
	return &value, nil
}

func find(list []Base, t Tenant) int {
	return slices.IndexFunc(list, func(b Base) bool { return b.Tenant == t })
}

// reordered reports whether bases of both lists have another order.
func reordered(a, b []Base) bool {
	last := -1
	for _, base := range a {
		i := find(b, base.Tenant)
		if i >= 0 && i < last {
			return true
		}
		last = max(last, i)
	}
	return false
}

// AttachError is a base that the author of a change set may not attach to a tenant.
type AttachError struct{ Tenant, Base Tenant }

func (e *AttachError) Error() string {
	return fmt.Sprintf("%s may not inherit from %s: an operator must attach it, or list %s in policy/%s/attach of %s", e.Tenant, e.Base, e.Tenant, e.Base, System)
}

// errNoBases is for the ledger's own tenants.
var errNoBases = errors.New("a reserved tenant has no bases")

// checkBases checks the list of bases that a change set leaves. A base that the list had
// before may be moved and pinned to any revision; a new one is attached, which is a
// permission.
func (s *staged) checkBases(ctx context.Context, cfg *Config, t Tenant, cs *ChangeSet) error {
	i := slices.IndexFunc(cs.Changes, func(c Change) bool { return c.Key == BasesKey && !c.Delete })
	if i < 0 {
		return nil
	}
	invalid := func(err error) error {
		return Invalid(fmt.Sprintf("changes[%d].value", i), fmt.Sprintf("%s: %v", BasesKey, err))
	}
	next, err := ParseBases(cs.Changes[i].Value)
	if err != nil {
		return invalid(err)
	}
	if t.Reserved() {
		return invalid(errNoBases)
	}
	was, err := s.keyAndValue(BasesKey)
	if err != nil {
		return err
	}
	known, err := ParseBases(was.value)
	if err != nil {
		return fmt.Errorf("read the bases of %s: %w", t, err)
	}
	ctx, cancel := context.WithTimeout(ctx, journalTimeout) // the tenant's other writes wait meanwhile
	defer cancel()
	var attached []Tenant
	for n, b := range next {
		attaches := !slices.ContainsFunc(known, func(k Base) bool { return k.Tenant == b.Tenant })
		if attaches {
			attached = append(attached, b.Tenant)
		}
		switch head := cfg.Replica.Head(b.Tenant).Revision; {
		case b.Tenant == t:
			return invalid(fmt.Errorf("[%d].tenant: a tenant cannot be its own base", n))
		case attaches && cs.Viewer != nil && !cs.Viewer.Attaches(ctx, t, b.Tenant):
			return &AttachError{t, b.Tenant} // before the error depends on the base
		case head == 0:
			return invalid(fmt.Errorf("[%d].tenant: tenant %s has no commits", n, b.Tenant))
		case b.Revision > head:
			return invalid(fmt.Errorf("[%d].revision: the head of %s is %s", n, b.Tenant, head))
		case attaches && len(cfg.Replica.Bases(b.Tenant)) > 0:
			return invalid(fmt.Errorf("[%d].tenant: %s has bases itself, and bases are not transitive: list its bases instead", n, b.Tenant))
		}
	}
	if len(known) == 0 && len(next) > 0 && cfg.Replica.IsBase(t) {
		return invalid(fmt.Errorf("%s is a base of other tenants, and a base has no bases itself", t))
	}
	s.attached = append(s.attached, attached...)
	return nil
}

// attachments are the bases that the drafts of a record attach. Each draft was checked without
// the others.
type attachments struct {
	replica Replica
	heirs   map[Tenant]bool
	bases   map[Tenant]bool
}

// admit adds the attachments of a draft. It reports false if a base would have bases itself,
// because of the replica's newest state or of the drafts before: the draft must be checked
// again.
func (a *attachments) admit(d *draft) bool {
	if len(d.attached) == 0 {
		return true
	}
	if a.bases[d.lane.tenant] || a.replica.IsBase(d.lane.tenant) {
		return false
	}
	for _, b := range d.attached {
		if a.heirs[b] || len(a.replica.Bases(b)) > 0 {
			return false
		}
	}
	if a.heirs == nil {
		a.heirs, a.bases = make(map[Tenant]bool), make(map[Tenant]bool)
	}
	a.heirs[d.lane.tenant] = true
	for _, b := range d.attached {
		a.bases[b] = true
	}
	return true
}
