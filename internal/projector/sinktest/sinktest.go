// Package sinktest is the conformance test of projector.Store. Every store runs it,
// against the real system or its closest substitute.
package sinktest

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/routes"
	"github.com/stelehq/stele/internal/projector"
)

// Place is where a store keeps its items: empty at first, and one test's alone.
type Place struct {
	// Open opens the store for a ledger.
	Open func(ctx context.Context, epoch ledger.Epoch) (projector.Store, error)
	// Fit makes the kind's Fit of the same settings.
	Fit func(epoch ledger.Epoch) (projector.Fit, error)
	// Put simulates a manual edit: it sets the text of the item of a name, and leaves
	// the rest of it unchanged. It creates a missing item. The text is never JSON, so
	// that it can only be read as a string.
	Put func(t testing.TB, name, text string)
	// Delete also simulates a manual edit.
	Delete func(t testing.TB, name string)
	// Conditional is set if the place itself keeps a newer write from being
	// replaced by an older one.
	Conditional bool
	// Refused is a key and value that the store cannot hold; zero where it can hold
	// all.
	Refused projector.Write
}

// Store runs the test, each part in a place of its own.
func Store(t *testing.T, place func(t *testing.T) Place) {
	for _, part := range []struct {
		name string
		run  func(*testing.T, *stand)
	}{
		{"WhatIsWrittenIsReadBack", readBack},
		{"ValuesOfEveryKind", values},
		{"TheSameAgain", again},
		{"Deletion", deletion},
		{"OlderAfterNewer", older},
		{"TenantsAreApart", tenants},
		{"ARefusedKeyFailsNoOther", refused},
		{"NamesAreTheirKeysOwn", names},
		{"AFitSaysWhatIsRefused", fits},
		{"CallsAtOnce", atOnce},
		{"ACanceledCallFails", canceled},
		{"YieldEndsTheScan", yieldEnds},
		{"AHandEditIsSeenAndRepaired", edited},
		{"AHandEditGivesWayToAWrite", overwritten},
		{"WhatSomebodyDeletedIsWrittenAgain", deletedByHand},
		{"AForeignItemIsRemoved", foreign},
		{"AForeignItemThatChangesIsNot", foreignChanged},
		{"AForeignItemGivesWayToAWrite", foreignOverwritten},
		{"AnOwnItemIsRemoved", ownRemoved},
		{"AnotherLedgersItemIsTakenOver", otherEpoch},
		{"ItIsStillThereWhenOpenedAgain", reopened},
	} {
		t.Run(part.name, func(t *testing.T) {
			s := &stand{T: t, Place: place(t)}
			s.open(epoch)
			part.run(t, s)
		})
	}
}

var (
	epoch = ledger.Epoch{1, 2, 3, 4, 5, 6, 7, 8}
	other = ledger.Epoch{8, 7, 6, 5, 4, 3, 2, 1}
)

const acme ledger.Tenant = "acme"

// stand is a store that is open in its place.
type stand struct {
	*testing.T
	Place
	store projector.Store
}

func (s *stand) open(e ledger.Epoch) {
	s.Helper()
	store, err := s.Open(s.Context(), e)
	if err != nil {
		s.Fatalf("open: %v", err)
	}
	s.store = store
	s.Cleanup(func() {
		if err := store.Close(); err != nil {
			s.Errorf("close: %v", err)
		}
	})
}

// reopen is another run of a projector, of the same ledger or another one.
func (s *stand) reopen(e ledger.Epoch) {
	s.Helper()
	if err := s.store.Close(); err != nil {
		s.Fatalf("close: %v", err)
	}
	s.open(e)
}

// write is a key set in the tenant acme.
func write(rev ledger.Revision, k ledger.Key, v ledger.Value) projector.Write {
	return projector.Write{
		Tenant: acme, Key: k, Value: v, Revision: rev,
		Commit: ledger.IDOf([]byte(k + ledger.Key(v) + ledger.Key(rev.String()))),
		Author: "alice@example.com", Message: "why, \"said\" she: ü",
		Time:  time.Date(2026, 1, 2, 3, 4, 5, 678901234, time.UTC).Add(time.Duration(rev) * time.Second),
		Route: &routes.Route{Drift: routes.Report},
	}
}

// try writes in calls as large as the store takes, and returns each write's error.
func (s *stand) try(writes ...projector.Write) []error {
	s.Helper()
	var all []error
	for _, call := range calls(s.store.Limits(), writes) {
		errs, err := s.store.Write(s.Context(), call)
		if err != nil {
			s.Fatalf("write %d keys: %v", len(call), err)
		}
		if len(errs) != len(call) {
			s.Fatalf("%d errors for %d writes", len(errs), len(call))
		}
		all = append(all, errs...)
	}
	return all
}

// calls splits writes by the limits.
func calls(l projector.Limits, writes []projector.Write) [][]projector.Write {
	var out [][]projector.Write
	for _, w := range writes {
		last := len(out) - 1
		if last < 0 || l.Batch > 0 && len(out[last]) == l.Batch || l.Batch == 0 && out[last][0].Tenant != w.Tenant {
			out = append(out, nil)
			last++
		}
		out[last] = append(out[last], w)
	}
	return out
}

// must writes, and fails the test on any error.
func (s *stand) must(writes ...projector.Write) {
	s.Helper()
	for i, err := range s.try(writes...) {
		if err != nil {
			s.Fatalf("write %s %s%s: %v", writes[i].Key, writes[i].Tenant, writes[i].Revision, err)
		}
	}
}

func (s *stand) name(w projector.Write) string {
	s.Helper()
	n, err := s.store.Name(w.Tenant, w.Key)
	if err != nil {
		s.Fatalf("name of %s: %v", w.Key, err)
	}
	return n
}

func (s *stand) read(w projector.Write) (projector.Item, bool) {
	s.Helper()
	item, ok, err := s.store.Read(s.Context(), s.name(w))
	if err != nil {
		s.Fatalf("read %s: %v", s.name(w), err)
	}
	return item, ok
}

// scan returns the tenant's items by their names.
func (s *stand) scan(t ledger.Tenant) map[string]projector.Item {
	s.Helper()
	items := make(map[string]projector.Item)
	err := s.store.Scan(s.Context(), t, func(i projector.Item) error {
		if i.Tenant != t {
			s.Errorf("the scan of %s yields %s of %s", t, i.Name, i.Tenant)
		}
		if _, twice := items[i.Name]; twice {
			s.Errorf("the scan yields %s twice", i.Name)
		}
		items[i.Name] = i
		return nil
	})
	if err != nil {
		s.Fatalf("scan %s: %v", t, err)
	}
	return items
}

// holds checks that Read and Scan find the written items, and recognize them.
func (s *stand) holds(writes ...projector.Write) {
	s.Helper()
	scanned := make(map[ledger.Tenant]map[string]projector.Item)
	for _, w := range writes {
		if scanned[w.Tenant] == nil {
			scanned[w.Tenant] = s.scan(w.Tenant)
		}
		item, ok := s.read(w)
		s.as(w, item, ok, "read")
		item, ok = scanned[w.Tenant][s.name(w)]
		s.as(w, item, ok, "scanned")
	}
}

// as checks an item that is, or for a deletion may not be, there.
func (s *stand) as(w projector.Write, item projector.Item, ok bool, how string) {
	s.Helper()
	if !ok {
		if !w.Deleted() {
			s.Errorf("%s of %s is not there when %s", w.Key, w.Tenant, how)
		}
		return
	}
	if item.Tenant != w.Tenant || item.Key != w.Key || item.Name != s.name(w) || item.Revision != w.Revision || !item.Value.Equal(w.Value) {
		s.Errorf("%s: written %s %s%s %.80q, %s %s %s%s %.80q named %s", s.name(w), w.Key, w.Tenant, w.Revision, w.Value,
			how, item.Key, item.Tenant, item.Revision, item.Value, item.Name)
	}
	if !s.store.Same(item, w) {
		s.Errorf("%s, as it was %s, is not the same as what was written: %.200q", item.Name, how, item.Value)
	}
}

// asRefused checks that an error is one that says why it will never get better.
func (s *stand) asRefused(err error, what string) {
	s.Helper()
	if r, ok := errors.AsType[*projector.RefusedError](err); !ok || r.Reason == "" {
		s.Errorf("%s: %v, want a rejection with its reason", what, err)
	}
}
