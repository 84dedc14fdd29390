//go:build history

package systemtest

import (
	"fmt"
	"math/rand/v2"
	"os/exec"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/stelehq/stele/internal/ledger"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"golang.org/x/sync/errgroup"
)

// heir is a tenant that inherits from a real history.
type heir struct {
	tenant    ledger.Tenant
	base      ledger.Base
	overrides map[string]string // JSON texts
}

// compareHeirs makes 1,000 tenants inherit from one that has a real history, some at past
// revisions, each with a few overrides, and compares them with the oracle and the overrides.
// Then it changes the base, and compares the tenants again.
func (s *source) compareHeirs(t *testing.T, p program, g *gateway, random *rand.Rand, base ledger.Tenant) {
	t.Helper()
	const heirs, compared = 1000, 40
	head := len(s.lines[base])
	states := make(map[ledger.Revision]map[string]any)
	var revisions []ledger.Revision
	for _, n := range []int{head, head, 1 + random.IntN(head), 1 + random.IntN(head), 1 + random.IntN(head)} {
		rev := ledger.Revision(n)
		revisions = append(revisions, rev)
		if states[rev] != nil {
			continue
		}
		states[rev] = make(map[string]any)
		for _, e := range objects[exported](t, output(t, exec.Command("python3", s.oracle, s.file, "--tenant", string(base), "--revision", fmt.Sprint(n)))) {
			states[rev][e.Key] = exact(e.Value)
		}
	}
	all := make([]heir, heirs)
	for i := range all {
		rev := revisions[i%len(revisions)]
		all[i] = heir{ledger.Tenant(fmt.Sprintf("heir-%04d", i)), ledger.Base{Tenant: base, Revision: rev, Follow: int(rev) == head}, make(map[string]string)}
		for key := range states[rev] { // in random order
			if len(all[i].overrides) == 10 {
				break
			}
			all[i].overrides[key] = fmt.Sprintf(`{"of":%d}`, i)
		}
	}
	begun := time.Now()
	var group errgroup.Group
	group.SetLimit(64)
	for _, h := range all {
		group.Go(func() error {
			req := &stelev1.CommitRequest{Changes: []*stelev1.Change{{Key: string(ledger.BasesKey), Value: string(ledger.BasesValue([]ledger.Base{h.base}))}}}
			for key, value := range h.overrides {
				req.Changes = append(req.Changes, &stelev1.Change{Key: key, Value: value})
			}
			_, err := g.ledger.Commit(acting(t, h.tenant), req)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	fmt.Printf("bases: %d tenants inherit %d to %d keys of %s after %s\n", heirs, len(states[slices.Min(revisions)]), len(states[ledger.Revision(head)]), base, time.Since(begun).Round(time.Millisecond))
	lines := 0
	for range compared {
		lines += s.compareHeir(t, p, all[random.IntN(heirs)], states)
	}

	// A change of the base reaches the tenants that follow it, except for what they override.
	var changed string
	for changed = range states[ledger.Revision(head)] {
		break
	}
	begun = time.Now()
	if _, err := g.ledger.Commit(acting(t, base), &stelev1.CommitRequest{Changes: []*stelev1.Change{{Key: changed, Value: `"changed"`}, {Key: "tenantconfig/new", Value: `"new"`}}}); err != nil {
		t.Fatal(err)
	}
	states[ledger.Revision(head)][changed], states[ledger.Revision(head)]["tenantconfig/new"] = exact("changed"), exact("new")
	bases := stelev1.NewBasesClient(g.conn)
	await(t, "all pins at the head", func() bool {
		for _, h := range all {
			if !h.base.Follow {
				continue
			}
			got, err := bases.ListBases(acting(t, h.tenant), &stelev1.ListBasesRequest{})
			if err != nil || got.Bases[0].Revision != uint64(head)+1 {
				return false
			}
		}
		return true
	})
	reached := time.Since(begun).Round(time.Millisecond)
	for range compared {
		lines += s.compareHeir(t, p, all[random.IntN(heirs)], states)
	}
	fmt.Printf("bases: a change reached all that follow within %s; %d lines in %d exports equal to the oracle's with the overrides\n", reached, lines, 2*compared)
}

// compareHeir compares the export of a tenant with its base's state and its overrides.
func (s *source) compareHeir(t *testing.T, p program, h heir, states map[ledger.Revision]map[string]any) int {
	t.Helper()
	want := make(map[string]any)
	for key, value := range states[h.base.Revision] {
		want[key] = value
	}
	for key, value := range h.overrides {
		want[key] = exact(objects[any](t, []byte(value))[0])
	}
	got := objects[exported](t, p.run(t, "-t", string(h.tenant), "export"))
	n := 0
	for _, e := range got {
		if e.Key == string(ledger.BasesKey) {
			continue
		}
		n++
		if is, ok := want[e.Key]; !ok || !reflect.DeepEqual(exact(e.Value), is) {
			t.Fatalf("%s exports %s = %v, want %v (set: %v)", h.tenant, e.Key, e.Value, is, ok)
		}
	}
	if n != len(want) {
		t.Fatalf("%s exports %d keys, want %d", h.tenant, n, len(want))
	}
	return n
}
