//go:build faults

package systemtest

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stelehq/stele/internal/ledger"
)

// number is a setting of these tests in the environment.
func number(t *testing.T, name string, otherwise int) int {
	t.Helper()
	text, ok := os.LookupEnv(name)
	if !ok {
		return otherwise
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		t.Fatalf("$%s is %q, not a number of at least 1", name, text)
	}
	return n
}

// seeded makes chance that can be repeated.
func seeded(t *testing.T) *rand.Rand {
	t.Helper()
	seed := uint64(number(t, "STELE_FAULTS_SEED", int(time.Now().UnixNano())))
	t.Logf("seed %d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}

// TestKilledImport_LosesNothing kills "stele up" again and again while a history
// is imported: $STELE_FAULTS_HISTORY, or one that it makes.
func TestKilledImport_LosesNothing(t *testing.T) {
	random := seeded(t)
	kills := number(t, "STELE_FAULTS_KILLS", 50)
	var all verdict
	extended := 0
	for rest := kills; rest > 0; rest -= mostCrashes {
		path := os.Getenv("STELE_FAULTS_HISTORY")
		if path == "" || rest < kills {
			path = generate(t, random, 800*min(rest, mostCrashes))
		}
		tr := trial{
			history: readHistory(t, path), random: random, crashes: min(rest, mostCrashes), data: t.TempDir(),
			crash: func(g *gateway) { g.kill() },
		}
		all.add(tr.run(t))
		extended += tr.auditor.extended
		if err := os.RemoveAll(tr.data); err != nil {
			t.Fatal(err)
		}
		fmt.Printf("kill -9 of stele up during an import: %d kills (%d of them while its replica was written, or just after), and %d while it started; "+
			"%d commits acknowledged, 0 lost, %d of them a second time; chains whole, %d keys at head equal to the replay, "+
			"also from a replica and a tree that were built again; %d checkpoints extend the ones before them; %s\n",
			all.crashes, all.inFlush, all.starting, all.acknowledged, all.again, all.keys, extended, all.took.Round(time.Second))
	}
}

// mostCrashes of one ledger: after each, all of it is read again.
const mostCrashes = 50

// trial is an import with crashes.
type trial struct {
	history history
	random  *rand.Rand
	crashes int
	data    string
	// crash ends the process without a warning.
	crash   func(*gateway)
	auditor distruster
}

type verdict struct {
	crashes             int
	inFlush, starting   int
	acknowledged, again int
	keys                int
	took                time.Duration
}

func (v *verdict) add(w verdict) {
	v.crashes += w.crashes
	v.inFlush += w.inFlush
	v.starting += w.starting
	v.acknowledged += w.acknowledged
	v.again += w.again
	v.keys += w.keys
	v.took += w.took
}

// Every so many crashes comes one while the replica's file is written, and one
// while the process starts.
const rare = 5

func (tr *trial) run(t *testing.T) (v verdict) {
	begun := time.Now()
	config := filepath.Join(t.TempDir(), "config.yaml")
	im := &importer{history: tr.history, acks: make(map[ledger.Tenant][]ledger.CommitID)}
	checked := make(map[ledger.Tenant]int)
	tr.auditor.public = filepath.Join(tr.data, "identity", "checkpoint.pub")
	total := tr.history.lines()

	for n := range tr.crashes {
		g := startUp(t, tr.data, config)
		tr.check(t, g, im, checked)
		var importing sync.WaitGroup
		importing.Go(func() { im.run(t.Context(), g) })
		// Spread over the whole log, at no round number.
		target := int((float64(n) + tr.random.Float64()) / float64(tr.crashes+1) * float64(total))
		await(t, "progress of the import", func() bool { return im.done() >= target || im.failed() != nil })
		if n%rare == rare-1 {
			// Continue slowly until the replica moves its commits into its file.
			im.pace.Store(int64(20 * time.Millisecond))
			written := changed(filepath.Join(tr.data, "replica.db"))
			// An import that has ended before it was slowed down leaves nothing to write.
			await(t, "a write of the replica", func() bool { return written() || im.failed() != nil || im.done() == total })
			im.pace.Store(0)
			if written() { // crash in the middle of it, or when it is done
				time.Sleep(time.Duration(tr.random.Int64N(int64(30 * time.Millisecond))))
				v.inFlush++
			}
		}
		tr.crash(g)
		importing.Wait()
		if err := im.failed(); err != nil {
			t.Fatal(err)
		}
		if n%rare == 0 {
			p := launchUp(t, tr.data, config)
			time.Sleep(time.Duration(tr.random.Int64N(int64(200 * time.Millisecond))))
			p.kill()
			v.starting++
		}
	}

	g := startUp(t, tr.data, config)
	tr.check(t, g, im, checked)
	im.run(t.Context(), g)
	if err := im.failed(); err != nil {
		t.Fatal(err)
	}
	if im.done() != total {
		t.Fatalf("%d of %d commits were acknowledged", im.done(), total)
	}
	clear(checked) // ask for every commit once more
	tr.check(t, g, im, checked)
	g.stop(t)

	for _, name := range []string{"replica.db", "tree.db"} {
		if err := os.Remove(filepath.Join(tr.data, name)); err != nil {
			t.Fatal(err)
		}
	}
	g = startUp(t, tr.data, config)
	v.keys = tr.check(t, g, im, checked)
	g.stop(t)
	v.crashes, v.acknowledged, v.again, v.took = tr.crashes, im.total, im.again, time.Since(begun)
	return v
}

// check compares a process that has just started with what was acknowledged and
// against the replay. checked says how many commits of each tenant were asked
// for one by one before. It returns the number of keys at head.
func (tr *trial) check(t *testing.T, g *gateway, im *importer, checked map[ledger.Tenant]int) (keys int) {
	t.Helper()
	for tenant, lines := range tr.history {
		acks := im.acks[tenant]
		if len(acks) == 0 {
			continue
		}
		links := walk(t, g, tenant, uint64(len(acks)))
		for i, l := range links {
			if i < len(acks) && l.id != acks[i] {
				t.Fatalf("%s@%d was acknowledged as %s and is %s", tenant, i+1, acks[i], l.id)
			}
			if i >= len(lines) || l.requestID != lines[i].ChangeSet.RequestID {
				t.Fatalf("%s@%d is not line %d of the tenant", tenant, i+1, i+1)
			}
		}
		for i := checked[tenant]; i < len(acks); i++ {
			checkCommit(t, g, tenant, uint64(i+1), acks[i])
		}
		checked[tenant] = len(acks)
		tr.auditor.visit(t, g, tenant, uint64(len(acks)), acks[len(acks)-1])
		keys += checkState(t, g, tenant, uint64(len(links)), tr.history.replay(tenant, len(links)))
	}
	return keys
}

func (im *importer) failed() error {
	im.mu.Lock()
	defer im.mu.Unlock()
	return im.wrong
}

// changed reports whether a file was written since changed was called.
func changed(path string) func() bool {
	written := func() (at time.Time) {
		if info, err := os.Stat(path); err == nil {
			at = info.ModTime()
		}
		return at
	}
	before := written()
	return func() bool { return !written().Equal(before) }
}
