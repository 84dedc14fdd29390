//go:build faults

package systemtest

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stelehq/stele/internal/ledger"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
)

// TestBases_KilledMoves kills "stele up" again and again while the pins of tenants move: at the
// base's commit, after one tenant or most of them, and while the process starts. Each tenant
// gets each revision of the base at most once, and the last.
func TestBases_KilledMoves(t *testing.T) {
	const tenants = 300
	random, kills := seeded(t), number(t, "STELE_FAULTS_KILLS", 50)
	data, config := t.TempDir(), filepath.Join(t.TempDir(), "config.yaml")
	g := startUp(t, data, config)
	set := func(tenant ledger.Tenant, key, value string) uint64 {
		t.Helper()
		req := &stelev1.CommitRequest{Changes: []*stelev1.Change{{Key: key, Value: value}}, RequestId: key + value}
		return untilUp(t, acting(t, tenant), g.ledger.Commit, req).Revision
	}
	set("defaults", "app/n", "0")
	all := make([]ledger.Tenant, tenants)
	for i := range all {
		all[i] = ledger.Tenant(fmt.Sprintf("heir-%03d", i))
		set(all[i], string(ledger.BasesKey), `[{"tenant":"defaults","revision":1,"follow":true}]`)
	}
	// value is what a tenant inherits.
	value := func(tenant ledger.Tenant) string {
		return untilUp(t, acting(t, tenant), g.config.Get, &stelev1.GetRequest{Key: "app/n"}).Entry.Value
	}
	begun := time.Now()
	for n := range kills {
		want := fmt.Sprint(n + 1)
		set("defaults", "app/n", want)
		// The pins move in random order: some tenants have the revision, and some have not.
		for range random.IntN(4) {
			victim := all[random.IntN(tenants)]
			await(t, "a pin that has moved", func() bool { return value(victim) == want })
		}
		g.kill()
		if n%rare == 0 {
			p := launchUp(t, data, config)
			time.Sleep(time.Duration(random.Int64N(int64(200 * time.Millisecond))))
			p.kill()
		}
		g = startUp(t, data, config)
	}
	last := set("defaults", "app/n", `"last"`)
	moves := 0
	for _, tenant := range all {
		await(t, "the base's last revision", func() bool { return value(tenant) == `"last"` })
		moved := make(map[string]bool)
		for i, l := range walk(t, g, tenant, 2) {
			if !strings.HasPrefix(l.requestID, "defaults@") {
				continue
			}
			if moved[l.requestID] {
				t.Errorf("%s@%d moves to %s again", tenant, i+1, l.requestID)
			}
			moved[l.requestID] = true
		}
		if !moved[fmt.Sprintf("defaults@%d", last)] {
			t.Errorf("%s has the last value without a commit for it", tenant)
		}
		moves += len(moved)
	}
	g.stop(t)
	fmt.Printf("kill -9 of stele up while pins move: %d kills, %d revisions of a base, %d pins moved for %d tenants, none twice, all at the last revision; %s\n",
		kills, last, moves, tenants, time.Since(begun).Round(time.Second))
}
