package replica

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/stelehq/stele/internal/ledger"
	bolt "go.etcd.io/bbolt"
)

// baseList is a tenant's list of bases.
type baseList struct {
	// revision that set or deleted the list; 0 if the tenant never had one.
	revision ledger.Revision
	list     []ledger.Base
}

// Bases are the bases of a tenant at its head.
func (r *current) Bases(t ledger.Tenant) []ledger.Base {
	list, _ := r.BasesSet(t)
	return list
}

// BasesSet are the bases of a tenant at its head, and the revision that set or deleted their
// list; 0 if the tenant never had one.
func (r *current) BasesSet(t ledger.Tenant) ([]ledger.Base, ledger.Revision) {
	s := r.store.Load()
	if s == nil {
		return nil, 0
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	if ts := s.tenants[t]; ts != nil {
		return ts.bases.list, ts.bases.revision
	}
	return nil, 0
}

// inherits reports whether the tenant has, or once had, bases.
func (r *current) inherits(t ledger.Tenant) bool {
	_, set := r.BasesSet(t)
	return set > 0
}

// Inherits reports whether the tenant has, or once had, bases.
func (v *View) Inherits() bool { return v.snap.bases.revision > 0 }

// Heirs are the tenants that have the tenant as a base at their heads, sorted.
func (r *current) Heirs(t ledger.Tenant) []ledger.Tenant {
	s := r.store.Load()
	if s == nil {
		return nil
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	return slices.Sorted(maps.Keys(s.heirs[t]))
}

// errPinDropped: a base is pinned at a revision whose history was dropped. The file is not
// damaged, but it must be built again to have that history.
var errPinDropped = errors.New("the history of the pinned revision of a base was dropped")

// keepsPins returns an error that has the file rebuilt if a commit pins a base at a revision whose
// history was dropped. s.mu is held.
func (s *tenantStates) keepsPins(c *ledger.Commit) error {
	is, _ := listIn(c)
	for _, b := range is.list {
		if ts := s.tenants[b.Tenant]; ts != nil && b.Revision < ts.start {
			return Discard(fmt.Errorf("%w: %s%s inherits from %s%s, and the history begins at %s", errPinDropped, c.Tenant, c.Revision, b.Tenant, b.Revision, ts.start))
		}
	}
	return nil
}

// lowestPin is the first revision of a base that a tenant inherits at its head: its history is
// kept from there on. s.mu is held.
func (s *tenantStates) lowestPin(base ledger.Tenant) ledger.Revision {
	lowest := ledger.Revision(math.MaxUint64)
	for t := range s.heirs[base] {
		for _, b := range s.tenants[t].bases.list {
			if b.Tenant == base {
				lowest = min(lowest, b.Revision)
			}
		}
	}
	return lowest
}

// loadBases reads the list of a tenant from the file.
func (s *store) loadBases(tx *bolt.Tx, t ledger.Tenant, head ledger.Revision) error {
	file := snapshot{store: s, tenant: t, reading: &reading{tx: tx}}
	key := nameKey(t, ledger.BasesKey)
	p, ok, err := file.storedVersion(key, head)
	if err != nil || !ok {
		return err
	}
	value, err := file.valueOf(key, p)
	if err == nil {
		s.setBases(t, listOf(version{revision: p.revision, value: value}))
	}
	return err
}

// noteBases takes over the list that a commit sets. s.mu is held.
func (s *tenantStates) noteBases(c *ledger.Commit) {
	if is, ok := listIn(c); ok {
		s.setBases(c.Tenant, is)
	}
}

// setBases sets the list of a tenant's head. s.mu is held, or the store is being opened.
func (s *tenantStates) setBases(t ledger.Tenant, next baseList) {
	ts := s.tenant(t)
	for _, b := range ts.bases.list {
		if delete(s.heirs[b.Tenant], t); len(s.heirs[b.Tenant]) == 0 {
			delete(s.heirs, b.Tenant)
		}
	}
	ts.bases = next
	for _, b := range ts.bases.list {
		if s.heirs[b.Tenant] == nil {
			s.heirs[b.Tenant] = make(map[ledger.Tenant]bool)
		}
		s.heirs[b.Tenant][t] = true
	}
}

// listIn is the list that a commit sets; ok is false if it sets none.
func listIn(c *ledger.Commit) (is baseList, ok bool) {
	for _, ch := range c.Changes {
		if ch.Key == ledger.BasesKey {
			return listOf(version{revision: c.Revision, value: ch.Value}), true
		}
	}
	return is, false
}

// listOf reads a list. The ledger accepts only valid ones; any other is empty.
func listOf(is version) baseList {
	list, err := ledger.ParseBases(is.value)
	if err != nil {
		list = nil
	}
	return baseList{is.revision, list}
}

// bases are a tenant's bases at one of its revisions.
type bases struct {
	// revision that set the list; 0 if there was none before.
	revision ledger.Revision
	layers   []layer
}

// layer is the state of a base at the pinned revision.
type layer struct {
	snapshot
	base ledger.Base
}

// effective is the version of a key as readers see it.
type effective struct {
	version
	base ledger.Source
}

func (e effective) exported() ledger.Version {
	v := e.version.exported()
	v.Base = e.base
	return v
}

// basesOf are the bases at the view's revision.
func (v *View) basesOf(rev ledger.Revision) (*bases, error) {
	if rev == v.rev && v.bases != nil {
		return v.bases, nil
	}
	list := v.snap.bases
	if rev < list.revision {
		found, ok, err := v.snap.versionAt(ledger.BasesKey, rev)
		if err != nil {
			return nil, err
		}
		if list = (baseList{}); ok {
			list = listOf(found)
		}
	}
	b := &bases{revision: list.revision, layers: make([]layer, len(list.list))}
	for i, base := range list.list {
		var err error
		if b.layers[i], err = v.snap.layer(base, rev < v.snap.bases.revision); err != nil {
			return nil, err
		}
	}
	if rev == v.rev {
		v.bases = b
	}
	return b, nil
}

// layer is the state of a base in the snapshot. The ledger pins a base at a revision that
// is before the pin in the journal, so a replica that follows the journal holds it. A replica
// of some tenants holds the bases of their heads, and may lack a base of a past list.
func (s *snapshot) layer(b ledger.Base, past bool) (layer, error) {
	l := layer{snapshot: *s, base: b}
	l.tenant, l.newest, l.head, l.kept, l.bases, l.marks = b.Tenant, ledger.Head{}, 0, 0, baseList{}, nil
	s.store.mu.RLock()
	l.live = s.active.tenants[b.Tenant] != nil
	if ts := s.store.tenants[b.Tenant]; ts != nil {
		l.newest, l.head, l.kept, l.marks = ts.head, ts.head.Revision, ts.start, ts.marks
	}
	s.store.mu.RUnlock()
	switch {
	case b.Revision > l.head && past && len(s.r.cfg.Tenants) > 0:
		return l, &ledger.HistoryError{Tenant: b.Tenant, Revision: b.Revision, Upstream: s.r.cfg.Upstream}
	case b.Revision > l.head:
		return l, fmt.Errorf("%w: %s inherits from %s%s, and this replica holds only %s of it; try again", ledger.ErrUnavailable, s.tenant, b.Tenant, b.Revision, l.head)
	case b.Revision < l.kept:
		return l, l.notKept(b.Revision, time.Time{})
	}
	return l, nil
}

// inherit completes the tenant's own version of a key, in which it is not set.
func (b *bases) inherit(key ledger.Key, own version) (effective, error) {
	if !key.Inheritable() {
		return effective{version: own}, nil
	}
	for i := range b.layers {
		l := &b.layers[i]
		found, _, err := l.versionAt(key, l.base.Revision)
		if err != nil {
			return effective{}, err
		}
		if found.value != "" {
			return effective{version{revision: max(own.revision, b.revision), value: found.value}, ledger.Source{Tenant: l.tenant, Revision: found.revision}}, nil
		}
	}
	return effective{version: own}, nil
}

// effectiveAt is the version of a key at a revision; b are the bases at that revision.
func (v *View) effectiveAt(key ledger.Key, rev ledger.Revision, b *bases) (effective, error) {
	is, _, err := v.snap.versionAt(key, rev)
	if err != nil || is.value != "" || b.revision == 0 {
		return effective{version: is}, err
	}
	return b.inherit(key, is)
}

// Version returns the value in force for a key at a revision, also one that is inherited;
// the zero Version if it had never been set. The error is a *ledger.HistoryError for a
// revision before the one that the kept history begins after.
//
// A key that was inherited until its base, or the list of bases, changed has a version
// without a value of the revision at which that list was set.
func (v *View) Version(key ledger.Key, at ledger.Revision) (found ledger.Version, err error) {
	found, err = own{v}.Version(key, at)
	if err != nil || found.Value != "" || v.snap.bases.revision == 0 || at == 0 {
		return found, err
	}
	defer v.snap.guard(&err)
	b, err := v.basesOf(at)
	if err != nil {
		return found, err
	}
	is, err := b.inherit(key, version{revision: found.Revision})
	if err == nil && is.value == "" && b.revision > is.revision {
		var lost bool
		if lost, err = v.inheritedBefore(key); lost {
			is.revision = b.revision
		}
	}
	return is.exported(), err
}

// inheritedBefore reports whether the tenant may have inherited the key before: one of the
// bases that it ever had once set it, at a revision that was pinned or before.
func (v *View) inheritedBefore(key ledger.Key) (bool, error) {
	if !key.Inheritable() {
		return false, nil
	}
	if v.former == nil {
		if err := v.findFormer(); err != nil {
			return false, err
		}
	}
	for i := range v.former {
		l := &v.former[i]
		_, ever, err := l.versionAt(key, l.base.Revision)
		if err != nil || ever {
			return ever, err
		}
	}
	return false, nil
}

// findFormer reads the bases that the tenant ever had, each at the newest revision that was
// pinned. It skips bases that the replica does not keep.
func (v *View) findFormer() error {
	newest := make(map[ledger.Tenant]ledger.Revision)
	lists := v.snap.newKeyLog(ledger.BasesKey, v.snap.head)
	for {
		rev, ok, err := lists.next()
		if err != nil {
			return err
		}
		if !ok || rev < v.snap.kept {
			break
		}
		found, _, err := v.snap.versionAt(ledger.BasesKey, rev)
		if err != nil {
			return err
		}
		for _, b := range listOf(found).list {
			newest[b.Tenant] = max(newest[b.Tenant], b.Revision)
		}
	}
	v.former = make([]layer, 0, len(newest))
	for t, rev := range newest {
		l, err := v.snap.layer(ledger.Base{Tenant: t, Revision: rev}, true)
		var notKept *ledger.HistoryError
		if errors.As(err, &notKept) {
			continue
		}
		if err != nil {
			return err
		}
		v.former = append(v.former, l)
	}
	return nil
}

// Inherited is the value that a key has at the view's revision without the tenant's own one;
// the zero Version if no base has the key.
func (v *View) Inherited(key ledger.Key) (found ledger.Version, err error) {
	defer v.snap.guard(&err)
	b, err := v.basesOf(v.rev)
	if err != nil {
		return found, err
	}
	is, err := b.inherit(key, version{})
	return is.exported(), err
}

// Layer is what one of the tenant's bases has for a key.
type Layer struct {
	ledger.Base
	// Value, and the base's revision that set it; empty if the base does not have the key.
	Value ledger.Value
	Set   ledger.Revision
	// Summary is of the commit that set it.
	Summary ledger.Summary
}

// Layers are the bases at the view's revision, in their order, each with its value of the key.
func (v *View) Layers(key ledger.Key) (out []Layer, err error) {
	defer v.snap.guard(&err)
	b, err := v.basesOf(v.rev)
	if err != nil {
		return nil, err
	}
	for i := range b.layers {
		l := &b.layers[i]
		is := Layer{Base: l.base}
		found, _, err := l.versionAt(key, l.base.Revision)
		if err != nil {
			return nil, err
		}
		if found.value != "" {
			is.Value, is.Set = found.value, found.revision
			if is.Summary, _, err = l.summary(found.revision); err != nil {
				return nil, err
			}
		}
		out = append(out, is)
	}
	return out, nil
}

// Hides reports whether the tenant sets the key itself, or inherits it from a base that comes
// before the one named: a change of that base does not reach the tenant.
func (v *View) Hides(key ledger.Key, base ledger.Tenant) (hides bool, err error) {
	defer v.snap.guard(&err)
	if !key.Inheritable() {
		return true, nil
	}
	is, _, err := v.snap.versionAt(key, v.rev)
	if err != nil || is.value != "" {
		return err == nil, err
	}
	b, err := v.basesOf(v.rev)
	if err != nil {
		return false, err
	}
	for i := range b.layers {
		l := &b.layers[i]
		if l.tenant == base {
			return false, nil
		}
		found, _, err := l.versionAt(key, l.base.Revision)
		if err != nil || found.value != "" {
			return err == nil, err
		}
	}
	return false, nil
}

// Pin is a pin of a tenant that follows a base, and is behind the base's head.
type Pin struct {
	Tenant ledger.Tenant
	Base   ledger.Base
	// Head is the base's newest commit.
	Head ledger.Head
}

// BehindBases are the pins of all tenants that are behind the bases that they follow.
func (r *current) BehindBases() (behind []Pin) {
	s := r.store.Load()
	if s == nil {
		return nil
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	for base, heirs := range s.heirs {
		if ts := s.tenants[base]; ts == nil || len(ts.bases.list) > 0 {
			continue // the ledger accepts no such list: in a cycle, pins would move forever
		}
		head := s.headLocked(base)
		for t := range heirs {
			for _, b := range s.tenants[t].bases.list {
				if b.Tenant == base && b.Follow && b.Revision < head.Revision {
					behind = append(behind, Pin{t, b, head})
				}
			}
		}
	}
	return behind
}

// OldestPin counts the pins that are behind, and returns the time of the oldest commit of a base
// that one of their tenants lacks.
func (r *Replica) OldestPin() (behind int, since time.Time, err error) {
	lowest := make(map[ledger.Tenant]ledger.Revision)
	for _, p := range r.BehindBases() {
		behind++
		if at, ok := lowest[p.Base.Tenant]; !ok || p.Base.Revision < at {
			lowest[p.Base.Tenant] = p.Base.Revision
		}
	}
	for base, pin := range lowest {
		v, err := r.View(base, At{})
		if err != nil {
			return behind, since, err
		}
		c, _, err := v.Summary(pin + 1)
		at := v.Effective(pin+1, c.Time)
		v.Close()
		if err != nil {
			return behind, since, err
		}
		if since.IsZero() || at.Before(since) {
			since = at
		}
	}
	return behind, since, nil
}

// IsBase reports whether some tenant has the tenant as a base.
func (r *current) IsBase(t ledger.Tenant) bool {
	s := r.store.Load()
	if s == nil {
		return false
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	return len(s.heirs[t]) > 0
}

// SummaryOf is the summary of the commit that set an entry of this view, of the tenant or of a
// base, and its id.
func (v *View) SummaryOf(e Entry) (sum ledger.Summary, id ledger.CommitID, err error) {
	if !e.Base.Inherited() {
		return v.Summary(e.Revision)
	}
	defer v.snap.guard(&err)
	base := v.snap
	base.tenant, base.kept = e.Base.Tenant, 0 // the commit of a value in force is always kept
	return base.summary(e.Base.Revision)
}
