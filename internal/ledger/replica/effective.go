package replica

import (
	"iter"
	"maps"
	"slices"
	"time"

	"github.com/stelehq/stele/internal/ledger"
)

// effectiveKey is one key of a listing as readers see it.
type effectiveKey struct {
	key ledger.Key
	effective
}

// scan begins to read the keys under a prefix that were ever set, as readers of the view
// see them.
func (v *View) scan(prefix ledger.Prefix, from ledger.Key, values bool) (c *layeredScan, err error) {
	defer v.snap.guard(&err)
	own, err := v.snap.scan(prefix, from, v.rev, 0, values)
	if err != nil {
		return nil, err
	}
	c = &layeredScan{own: own}
	if v.snap.bases.revision == 0 {
		return c, nil
	}
	if c.bases, err = v.basesOf(v.rev); err != nil {
		return nil, err
	}
	c.inherited = make([]pulled, len(c.bases.layers))
	for i := range c.bases.layers {
		l := &c.bases.layers[i]
		if c.inherited[i].keys, err = l.scan(prefix, from, l.base.Revision, 0, values); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// layeredScan merges the scans of a tenant and of its bases: of equal keys the tenant's own
// value wins, and then the value of the first base.
type layeredScan struct {
	own       *scan
	bases     *bases // nil if the tenant never had any
	first     pulled
	inherited []pulled // of each base
}

// pulled is a scan, and the key that it is at.
type pulled struct {
	keys   *scan
	at     keyVersion
	loaded bool
	ended  bool
}

// peek reads the key that the scan is at; ok is false at the end. The scan of a base skips
// keys that are not inherited.
func (p *pulled) peek(inherited bool) (ok bool, err error) {
	for !p.loaded && !p.ended {
		if p.at, ok, err = p.keys.next(); err != nil {
			return false, err
		}
		p.ended, p.loaded = !ok, ok && (!inherited || p.at.value != "" && p.at.key.Inheritable())
	}
	return p.loaded, nil
}

// next returns the next key; ok is false at the end.
func (c *layeredScan) next() (next effectiveKey, ok bool, err error) {
	if c.bases == nil {
		kv, ok, err := c.own.next()
		return effectiveKey{kv.key, effective{version: kv.version}}, ok, err
	}
	c.first.keys = c.own
	if ok, err = c.first.peek(false); err != nil {
		return next, false, err
	}
	winner := -1 // the tenant itself
	if ok {
		next = effectiveKey{c.first.at.key, effective{version: c.first.at.version}}
	}
	for i := range c.inherited {
		p := &c.inherited[i]
		more, err := p.peek(true)
		if err != nil {
			return next, false, err
		}
		switch {
		case !more || ok && p.at.key > next.key:
		case !ok || p.at.key < next.key:
			next, winner, ok = c.inherit(i, 0), i, true
		case winner < 0 && next.value == "": // the tenant has deleted its own value
			next, winner = c.inherit(i, next.revision), i
		}
	}
	if c.first.loaded && c.first.at.key == next.key {
		c.first.loaded = false
	}
	for i := range c.inherited {
		if p := &c.inherited[i]; p.loaded && p.at.key == next.key {
			p.loaded = false
		}
	}
	return next, ok, nil
}

// inherit is the key that the scan of a base is at; deleted is the revision that deleted the
// tenant's own value.
func (c *layeredScan) inherit(i int, deleted ledger.Revision) effectiveKey {
	p, l := &c.inherited[i], &c.bases.layers[i]
	return effectiveKey{p.at.key, effective{
		version{revision: max(deleted, c.bases.revision), value: p.at.value}, ledger.Source{Tenant: l.tenant, Revision: p.at.revision},
	}}
}

// Diff yields the keys under the prefix whose values differ in meaning between two
// revisions, in the order of their keys, from the first at or after start. Either revision
// may be the later.
//
// Only keys that have changed since the older revision, in the tenant or between the
// pins of its bases, are looked up.
func (v *View) Diff(from, to ledger.Revision, prefix ledger.Prefix, start ledger.Key) iter.Seq2[ledger.KeyDiff, error] {
	if v.snap.bases.revision == 0 {
		return own{v}.Diff(from, to, prefix, start)
	}
	return func(yield func(ledger.KeyDiff, error) bool) {
		keys, err := v.changedKeys(from, to, prefix, start)
		each(keys.next, err, func(key ledger.Key, err error) bool {
			var d ledger.KeyDiff
			if err == nil {
				d, err = keys.diff(key)
			}
			if err != nil {
				yield(ledger.KeyDiff{}, err)
				return false
			}
			if from > to {
				d.From, d.To = d.To, d.From
			}
			return d.From.Value.Equal(d.To.Value) || yield(d, nil)
		})
	}
}

// Changed yields the keys that were set or deleted after a revision, or are inherited
// differently, each with its value in force at the view's revision, in the order of the
// keys, from the first at or after start.
func (v *View) Changed(since ledger.Revision, start ledger.Key) iter.Seq2[ledger.KeyVersion, error] {
	if v.snap.bases.revision == 0 {
		return own{v}.Changed(since, start)
	}
	return func(yield func(ledger.KeyVersion, error) bool) {
		keys, err := v.changedKeys(since, v.rev, "", start)
		each(keys.next, err, func(key ledger.Key, err error) bool {
			if err != nil {
				return yield(ledger.KeyVersion{}, err)
			}
			is, changed, err := keys.since(key)
			return err == nil && !changed || yield(ledger.KeyVersion{Key: key, Version: is}, err)
		})
	}
}

// changedKeys are the keys that may differ between two states of the view.
type changedKeys struct {
	view         *View
	older, newer ledger.Revision
	was, is      *bases
	sources      []keySource
}

// keySource yields keys in their order.
type keySource struct {
	// scan yields those that were set after since; otherwise they are in list.
	scan   *scan
	since  ledger.Revision
	list   []ledger.Key
	at     ledger.Key
	loaded bool
	ended  bool
}

// changedKeys begins to read the keys that may differ between two states.
func (v *View) changedKeys(from, to ledger.Revision, prefix ledger.Prefix, start ledger.Key) (k *changedKeys, err error) {
	defer v.snap.guard(&err)
	if err := v.comparable(from, to); err != nil {
		return nil, err
	}
	k = &changedKeys{view: v, older: min(from, to), newer: max(from, to)}
	// A version at the head names every key that has changed since the older state.
	scan, err := v.snap.scan(prefix, start, v.snap.head, k.older, false)
	if err != nil {
		return nil, err
	}
	k.sources = []keySource{{scan: scan, since: k.older}}
	if k.was, err = v.basesOf(k.older); err != nil {
		return nil, err
	}
	if k.is, err = v.basesOf(k.newer); err != nil || k.was.revision == k.is.revision {
		return k, err
	}
	return k, k.addBases(prefix, start)
}

// fewCommits is up to how many commits of a base are read one by one to find the keys that
// they have changed; for more of them, a scan of all keys costs less.
const fewCommits = 64

// addBases adds the keys that may be inherited differently.
func (k *changedKeys) addBases(prefix ledger.Prefix, start ledger.Key) error {
	same := slices.EqualFunc(k.was.layers, k.is.layers, func(a, b layer) bool { return a.tenant == b.tenant })
	for _, side := range []*bases{k.was, k.is} {
		for i := range side.layers {
			l := &side.layers[i]
			var since ledger.Revision
			pin := l.base.Revision
			if same {
				other := k.was.layers[i].base.Revision
				since, pin = min(other, k.is.layers[i].base.Revision), max(other, k.is.layers[i].base.Revision)
			}
			if same && (side == k.was || since == pin) {
				continue // one scan covers both states
			}
			source, err := l.changedSince(since, pin, prefix, start)
			if err != nil {
				return err
			}
			k.sources = append(k.sources, source)
		}
	}
	return nil
}

// changedSince are the keys of a base that were set or deleted after since, up to pin.
func (l *layer) changedSince(since, pin ledger.Revision, prefix ledger.Prefix, start ledger.Key) (k keySource, err error) {
	if since == 0 || pin-since > fewCommits {
		k.since = since
		k.scan, err = l.scan(prefix, start, pin, since, false)
		return k, err
	}
	changed := make(map[ledger.Key]bool)
	commits := Commits{l.snapshot}
	for rev := since + 1; rev <= pin; rev++ {
		c, err := commits.Commit(rev)
		if err != nil {
			return k, err
		}
		for _, ch := range c.Changes {
			if prefix.Match(ch.Key) && ch.Key >= start {
				changed[ch.Key] = true
			}
		}
	}
	k.list = slices.Sorted(maps.Keys(changed))
	return k, nil
}

func (s *keySource) peek() (ok bool, err error) {
	for !s.loaded && !s.ended {
		if s.scan == nil {
			if s.ended = len(s.list) == 0; !s.ended {
				s.at, s.list, s.loaded = s.list[0], s.list[1:], true
			}
			continue
		}
		kv, more, err := s.scan.next()
		if err != nil {
			return false, err
		}
		s.at, s.ended, s.loaded = kv.key, !more, more && kv.revision > s.since
	}
	return s.loaded, nil
}

// next returns the next key, once; ok is false at the end.
func (k *changedKeys) next() (key ledger.Key, ok bool, err error) {
	for i := range k.sources {
		more, err := k.sources[i].peek()
		if err != nil {
			return "", false, err
		}
		if more && (!ok || k.sources[i].at < key) {
			key, ok = k.sources[i].at, true
		}
	}
	for i := range k.sources {
		if s := &k.sources[i]; s.loaded && s.at == key {
			s.loaded = false
		}
	}
	return key, ok, nil
}

// diff is a key in the older and the newer state.
func (k *changedKeys) diff(key ledger.Key) (d ledger.KeyDiff, err error) {
	defer k.view.snap.guard(&err)
	was, err := k.view.effectiveAt(key, k.older, k.was)
	if err != nil {
		return d, err
	}
	is, err := k.view.effectiveAt(key, k.newer, k.is)
	return ledger.KeyDiff{Key: key, From: was.exported(), To: is.exported()}, err
}

// since is a key in the newer state, and whether it has changed since the older one.
func (k *changedKeys) since(key ledger.Key) (found ledger.Version, changed bool, err error) {
	defer k.view.snap.guard(&err)
	is, err := k.view.effectiveAt(key, k.newer, k.is)
	if err != nil || k.is.revision == 0 || is.revision > k.older && !is.base.Inherited() && is.revision > 0 {
		return is.exported(), is.revision > k.older, err
	}
	was, err := k.view.effectiveAt(key, k.older, k.was)
	if err != nil || was.base == is.base && was.value == is.value {
		return is.exported(), false, err
	}
	is.revision = max(is.revision, k.is.revision) // also a deletion is as new as the list
	return is.exported(), true, nil
}

// EffectiveCommit is a commit of the tenant as its readers see it. If it changes the
// list of bases, it also has the changes of the values that are inherited by it, sorted by
// key, and a deletion that uncovers an inherited value sets it. Other commits are returned
// as they are.
func (v *View) EffectiveCommit(c *ledger.Commit) (seen *ledger.Commit, err error) {
	defer v.snap.guard(&err)
	moves := c.Touches(ledger.BasesKey)
	if v.snap.bases.revision == 0 || !moves && !slices.ContainsFunc(c.Changes, func(ch ledger.Change) bool { return ch.Delete }) {
		return c, nil
	}
	is, err := v.basesOf(c.Revision)
	if err != nil || !moves && len(is.layers) == 0 {
		return c, err
	}
	shown := *c
	shown.Changes = slices.Clone(c.Changes)
	for i, ch := range shown.Changes {
		if !ch.Delete {
			continue
		}
		found, err := is.inherit(ch.Key, version{})
		if err != nil {
			return nil, err
		}
		if found.value != "" {
			shown.Changes[i] = ledger.Change{Key: ch.Key, Value: found.value, Previous: ch.Previous, Base: found.base}
		}
	}
	if !moves {
		return &shown, nil
	}
	keys, err := v.changedKeys(c.Revision-1, c.Revision, "", "")
	if err != nil {
		return nil, err
	}
	for {
		key, ok, err := keys.next()
		if err != nil {
			return nil, err
		}
		if !ok {
			return &shown, nil
		}
		if c.Touches(key) {
			continue
		}
		d, err := keys.diff(key)
		if err != nil {
			return nil, err
		}
		if d.From.Value.Equal(d.To.Value) {
			continue
		}
		ch := d.Change()
		ch.Previous, ch.Base = d.From.Revision, d.To.Base
		shown.Changes = append(shown.Changes, ch)
	}
}

// EffectiveCommit is View.EffectiveCommit for a commit that the replica holds.
func (r *Replica) EffectiveCommit(c *ledger.Commit) (*ledger.Commit, error) {
	if !r.inherits(c.Tenant) {
		return c, nil
	}
	v, err := r.View(c.Tenant, At{})
	if err != nil {
		return nil, err
	}
	defer v.Close()
	return v.EffectiveCommit(c)
}

// comparable checks that the states of two revisions are known; the one before any commit
// always is.
func (v *View) comparable(from, to ledger.Revision) error {
	if newer := max(from, to); newer > v.snap.head {
		return &ledger.RangeError{Tenant: v.snap.tenant, Revision: newer, Head: v.snap.head}
	}
	for _, r := range []ledger.Revision{min(from, to), max(from, to)} {
		if r > 0 && r < v.snap.kept {
			return v.snap.notKept(r, time.Time{})
		}
	}
	return nil
}
