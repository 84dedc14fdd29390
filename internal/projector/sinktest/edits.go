package sinktest

import (
	"testing"

	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/projector"
)

// Manual edits, and the values that they are read as.
const (
	byHand      = "by hand"
	byHandValue = ledger.Value(`"by hand"`)
)

// changed checks that the item was seen to have changed.
func (s *stand) changed(w projector.Write) projector.Item {
	s.Helper()
	scanned, ok := s.scan(w.Tenant)[s.name(w)]
	if !ok {
		s.Fatalf("%s is not scanned", w.Key)
	}
	read, ok := s.read(w)
	if !ok {
		s.Fatalf("%s is not there", w.Key)
	}
	for how, item := range map[string]projector.Item{"scanned": scanned, "read": read} {
		if s.store.Same(item, w) {
			s.Errorf("%s was edited and, %s, is the same as what was written", w.Key, how)
		}
		if item.Key != w.Key || !item.Value.Equal(byHandValue) {
			s.Errorf("%s was edited and, %s, is %s with %q", w.Key, how, item.Key, item.Value)
		}
	}
	return scanned
}

func edited(t *testing.T, s *stand) {
	writes := []projector.Write{write(1, "a", `"x"`), write(2, "b/c", `{"y":1}`), write(3, "d", `1`)}
	s.must(writes...)
	for _, w := range writes {
		s.Put(t, s.name(w), byHand)
		found := s.changed(w)
		w.Replace = &found
		s.must(w)
		s.holds(writes...)
	}
}

func overwritten(t *testing.T, s *stand) {
	w := write(1, "a", `"x"`)
	s.must(w)
	s.Put(t, s.name(w), byHand)
	next := write(2, "a", `"z"`)
	s.must(next)
	s.holds(next)
	s.Put(t, s.name(w), byHand)
	gone := write(3, "a", "")
	s.must(gone)
	s.holds(gone)
}

func deletedByHand(t *testing.T, s *stand) {
	w, kept := write(1, "a", `"x"`), write(1, "b", `"y"`)
	s.must(w, kept)
	s.Delete(t, s.name(w))
	if item, ok := s.read(w); ok && s.store.Same(item, w) {
		t.Error("a deleted item is the same as the written one")
	}
	if item, ok := s.scan(acme)[s.name(w)]; ok && s.store.Same(item, w) {
		t.Error("a deleted item is the same as the written one, when scanned")
	}
	s.must(w)
	s.holds(w, kept)
}

// plant puts an item where the ledger has written none.
func (s *stand) plant() projector.Item {
	s.Helper()
	s.must(write(1, "tenantconfig/a", `"x"`))
	name := s.name(write(1, "tenantconfig/planted", ""))
	s.Put(s.T, name, byHand)
	item, ok := s.scan(acme)[name]
	if !ok {
		s.Fatal("an added item is not scanned")
	}
	if item.Key != "tenantconfig/planted" || item.Revision != 0 || !item.Value.Equal(byHandValue) {
		s.Errorf("an added item is %s%s with %q", item.Key, item.Revision, item.Value)
	}
	return item
}

// gone checks that a name has no value any more.
func (s *stand) gone(name string) {
	s.Helper()
	if item, ok, err := s.store.Read(s.Context(), name); err != nil || ok && item.Value != "" {
		s.Errorf("%s was removed and is there: %q, %v", name, item.Value, err)
	}
	if item, ok := s.scan(acme)[name]; ok && item.Value != "" {
		s.Errorf("%s was removed and is scanned: %q", name, item.Value)
	}
}

func foreign(t *testing.T, s *stand) {
	item := s.plant()
	for range 2 { // the second time it is gone already
		if err := s.store.Remove(t.Context(), item); err != nil {
			t.Fatalf("remove %s: %v", item.Name, err)
		}
		s.gone(item.Name)
	}
	s.holds(write(1, "tenantconfig/a", `"x"`))
}

func foreignChanged(t *testing.T, s *stand) {
	item := s.plant()
	s.Put(t, item.Name, "by another hand")
	// Whether that counts as a failure is the store's to say.
	_ = s.store.Remove(t.Context(), item)
	if now, ok := s.scan(acme)[item.Name]; !ok || now.Value != `"by another hand"` {
		t.Errorf("what was seen to be something else was removed, or is %q", now.Value)
	}
}

func foreignOverwritten(t *testing.T, s *stand) {
	item := s.plant()
	w := write(2, item.Key, `"ours"`)
	s.must(w)
	s.holds(w)
}

// ownRemoved: a key whose route has changed is no longer the sink's.
func ownRemoved(t *testing.T, s *stand) {
	w, kept := write(1, "a", `"x"`), write(1, "b", `"y"`)
	s.must(w, kept)
	item, _ := s.read(w)
	if err := s.store.Remove(t.Context(), item); err != nil {
		t.Fatalf("remove %s: %v", item.Name, err)
	}
	s.gone(item.Name)
	s.holds(kept)
	next := write(2, "a", `"z"`)
	s.must(next)
	s.holds(next, kept)
}

// otherEpoch: a new ledger counts from 1 again.
func otherEpoch(t *testing.T, s *stand) {
	left := []projector.Write{write(41, "a", `"x"`), write(42, "b", ""), write(42, "c", `"y"`)}
	s.must(write(40, "b", `"x"`))
	s.must(left...)
	s.reopen(other)
	for _, w := range left {
		item, ok := s.read(w)
		if ok && (item.Revision != 0 || s.store.Same(item, w)) {
			t.Errorf("another ledger's %s counts as this one's: %s", w.Key, item.Revision)
		}
	}
	if item := s.scan(acme)[s.name(left[2])]; item.Revision != 0 || !item.Value.Equal(`"y"`) {
		t.Errorf("another ledger's %s is scanned as %s %q", item.Key, item.Revision, item.Value)
	}
	taken := []projector.Write{write(1, "a", `"new"`), write(2, "b", `"new"`), write(3, "c", "")}
	s.must(taken...)
	s.holds(taken...)
}
