package replica_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/replica"
	bolt "go.etcd.io/bbolt"
)

var (
	damages    = flag.Int("damages", 120, "how many files to damage")
	damageSeed = flag.Uint64("damage-seed", 1, "where the damage begins to be random")
)

const page = 4096

// A damage is one thing that a disk does to a file.
type damage struct {
	name string
	do   func(rng *rand.Rand, file []byte) []byte
}

var damageKinds = []damage{
	{"a flipped bit", func(rng *rand.Rand, file []byte) []byte {
		file[rng.IntN(len(file))] ^= 1 << rng.IntN(8)
		return file
	}},
	{"a flipped bit in a page's head", func(rng *rand.Rand, file []byte) []byte {
		file[rng.IntN(len(file)/page)*page+rng.IntN(96)] ^= 1 << rng.IntN(8)
		return file
	}},
	{"a cut", func(rng *rand.Rand, file []byte) []byte { return file[:rng.IntN(len(file))] }},
	{"a cut at a page", func(rng *rand.Rand, file []byte) []byte { return file[:rng.IntN(len(file)/page)*page] }},
	{"a page of zeros", func(rng *rand.Rand, file []byte) []byte {
		at := rng.IntN(len(file)/page) * page
		clear(file[at : at+page])
		return file
	}},
	{"two swapped pages", func(rng *rand.Rand, file []byte) []byte {
		a, b := rng.IntN(len(file)/page)*page, rng.IntN(len(file)/page)*page
		for i := range page {
			file[a+i], file[b+i] = file[b+i], file[a+i]
		}
		return file
	}},
}

// Silent damage is either seen, and the file set aside and built again, or it
// changes no answer.
func TestDamage_FileIsRebuiltAndNeverAnswersWrong(t *testing.T) {
	runs := *damages
	if testing.Short() {
		runs = min(runs, 60)
	}
	dir := t.TempDir()
	path := filepath.Join(dir, "replica.db")
	j := newFakeJournal()
	n := start(t, path, j)
	tenants := []ledger.Tenant{"acme", "a", "umbrella"}
	histories := make(map[ledger.Tenant]*history)
	for _, tenant := range tenants {
		histories[tenant] = newHistory(tenant)
	}
	long := func(i int) ledger.ChangeSet { // enough keys for branch pages
		set := churn(i)
		set.Changes = append(set.Changes, ledger.Change{
			Key: ledger.Key(fmt.Sprintf("long/way/to/a/key/%04d", i*37%1000)), Value: ledger.Value(fmt.Sprintf(`"value %d"`, i)),
		})
		return set
	}
	for i := range 1200 {
		histories[tenants[i%len(tenants)]].write(t, n.ledger, long(i))
		if i%150 == 149 {
			if err := n.Flush(); err != nil {
				t.Fatal(err)
			}
		}
	}
	n.close(t)
	file := usedPart(t, path)
	sound, err := survive(t, filepath.Join(dir, "sound.db"), append([]byte(nil), file...), j, histories, rand.New(rand.NewPCG(1, 1)))
	if sound != "harmless" || err != nil {
		t.Fatalf("no damage at all is %s: %v", sound, err)
	}
	// The journal grows, so that every trial writes into its damaged file.
	n = start(t, path, j)
	for i := range 60 {
		histories[tenants[i%len(tenants)]].write(t, n.ledger, long(1200+i))
	}
	n.close(t)

	counts := make(map[string]map[string]int)
	for i := range runs {
		kind := damageKinds[i%len(damageKinds)]
		name := fmt.Sprintf("%s, -damage-seed=%d, number %d", kind.name, *damageSeed, i)
		rng := rand.New(rand.NewPCG(*damageSeed, uint64(i)))
		bad := kind.do(rng, append([]byte(nil), file...))
		seen, err := survive(t, filepath.Join(dir, "damaged.db"), bad, j, histories, rng)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if counts[kind.name] == nil {
			counts[kind.name] = make(map[string]int)
		}
		counts[kind.name][seen]++
	}
	for _, kind := range damageKinds {
		t.Logf("%s: %v", kind.name, counts[kind.name])
	}
}

// usedPart is the file without the room that bbolt has made at its end, where
// nothing can be damaged.
func usedPart(t *testing.T, path string) []byte {
	file, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	db, err := bolt.Open(path, 0o600, &bolt.Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	err = db.View(func(tx *bolt.Tx) error {
		file = file[:tx.Size()]
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return file
}

// survive lives with a damaged file, and says who saw the damage first.
func survive(t *testing.T, path string, file []byte, j *fakeJournal, histories map[ledger.Tenant]*history, rng *rand.Rand) (seen string, err error) {
	if err := os.WriteFile(path, file, 0o600); err != nil {
		t.Fatal(err)
	}
	asides := func() int {
		found, err := filepath.Glob(path + ".damaged-*")
		if err != nil {
			t.Fatal(err)
		}
		return len(found)
	}
	defer func() {
		found, _ := filepath.Glob(path + "*")
		for _, f := range found {
			os.Remove(f)
		}
	}()
	r, err := replica.Open(replica.Config{Path: path})
	if err != nil {
		return "", fmt.Errorf("open: %w", err)
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	if asides() > 0 {
		seen = "seen by opening it"
	} else if sawDamage(r, histories, rng) {
		seen = "seen by a read"
	}
	if err := r.Follow(j); err != nil {
		return "", fmt.Errorf("follow: %w", err)
	}
	// From here on no answer may be wrong: the file has passed the check, or is
	// a new one.
	if err := settle(r, &seen, "seen by the scrub"); err != nil {
		return "", err
	}
	for {
		err := compareSample(r, histories, rng)
		if errors.Is(err, ledger.ErrUnavailable) { // seen only now, and being rebuilt
			if err := settle(r, &seen, "seen by a later read"); err != nil {
				return "", err
			}
			continue
		}
		if err != nil {
			return "", fmt.Errorf("after the scrub has passed: %w", err)
		}
		break
	}
	// Writing into it must not bring the damage out.
	if err := r.Flush(); err != nil {
		if !replica.IsDamage(err) {
			return "", fmt.Errorf("flush: %w", err)
		}
		seen = "seen by a write"
	} else if err := compareSample(r, histories, rng); err != nil {
		return "", fmt.Errorf("after a flush: %w", err)
	} else if _, err := r.Check(context.Background()); err != nil {
		return "", fmt.Errorf("check after a flush: %w", err)
	}
	if seen == "" {
		seen = "harmless"
	}
	return seen, nil
}

// settle waits until the replica is current and its file has passed the check.
func settle(r *replica.Replica, seen *string, by string) error {
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		if err := r.Stopped(); err != nil {
			return fmt.Errorf("stopped: %w", err)
		}
		current, err := r.Check(context.Background())
		switch {
		case replica.IsDamage(err):
			if *seen == "" {
				*seen = by
			}
		case current && err == nil && r.Ready():
			return nil
		}
	}
	return errors.New("the file was neither found sound nor rebuilt")
}

// sawDamage reads a little before anything has checked the file.
func sawDamage(r *replica.Replica, histories map[ledger.Tenant]*history, rng *rand.Rand) bool {
	for _, h := range histories {
		v, err := r.View(h.tenant, replica.At{})
		if err != nil {
			return errors.Is(err, ledger.ErrUnavailable)
		}
		defer v.Close()
		keys := h.keys()
		for range 50 {
			if _, _, err := v.Get(keys[rng.IntN(len(keys))]); err != nil {
				return true
			}
		}
	}
	return false
}

func compareSample(r *replica.Replica, histories map[ledger.Tenant]*history, rng *rand.Rand) error {
	for _, h := range histories {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		err := r.Wait(ctx, h.tenant, h.head())
		cancel()
		if err != nil {
			return err
		}
		keys := h.keys()
		if err := h.compareState(r, replica.At{}, h.head(), keys, nil); err != nil {
			return err
		}
		for range 3 {
			rev := ledger.Revision(1 + rng.IntN(int(h.head())))
			if err := h.compareState(r, replica.At{Revision: rev}, rev, keys, nil); err != nil {
				return err
			}
			if err := h.listsRight(r, rev); err != nil {
				return err
			}
		}
		if err := h.listsRight(r, h.head()); err != nil {
			return err
		}
		if err := h.compareCommits(r, 32); err != nil {
			return err
		}
	}
	return nil
}

// TestView_PanicInLoop checks that a panic in the loop over a listing reaches its caller,
// and does not count as damage.
func TestView_PanicInLoop(t *testing.T) {
	n := start(t, filepath.Join(t.TempDir(), "replica"), newFakeJournal())
	defer n.close(t)
	if _, err := n.ledger.Commit(t.Context(), "acme", ledger.ChangeSet{Changes: []ledger.Change{{Key: "a/b", Value: "1"}}}); err != nil {
		t.Fatal(err)
	}
	v, err := n.View("acme", replica.At{})
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	defer func() {
		if p := recover(); p != "of the caller" {
			t.Errorf("the caller's panic became %v", p)
		}
		if _, _, err := v.Get("a/b"); err != nil {
			t.Errorf("read after the panic: %v", err)
		}
	}()
	for range v.List("", "") {
		panic("of the caller")
	}
}

// TestDamage_RebuildIsRetried damages a file while its folder cannot be written to: the replica
// is built when that is over.
func TestDamage_RebuildIsRetried(t *testing.T) {
	path := filepath.Join(t.TempDir(), "data", "replica.db")
	if err := os.Mkdir(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	log := &failures{}
	r, err := replica.Open(replica.Config{Path: path, Log: slog.New(log)})
	if err != nil {
		t.Fatal(err)
	}
	j := newFakeJournal()
	if err := r.Follow(j); err != nil {
		t.Fatal(err)
	}
	n := &node{r, ledger.New(ledger.Config{Journal: j, Replica: r})}
	defer n.close(t)
	eventually(t, "the replica is ready", r.Ready)
	set := ledger.ChangeSet{Author: "ann", Changes: []ledger.Change{{Key: "a/b", Value: "1"}}}
	if _, err := n.ledger.Commit(t.Context(), "acme", set); err != nil {
		t.Fatal(err)
	}
	repair := breakFolder(t, filepath.Dir(path))
	n.Damage()
	eventually(t, "two tries fail", func() bool { return log.n.Load() >= 2 })
	if _, err := n.View("acme", replica.At{}); !errors.Is(err, ledger.ErrUnavailable) {
		t.Errorf("a read: %v, want unavailable", err)
	}
	if _, err := n.ledger.Commit(t.Context(), "acme", set); !errors.Is(err, ledger.ErrUnavailable) {
		t.Errorf("a write: %v, want unavailable", err)
	}
	repair()
	eventually(t, "the replica is built again", func() bool {
		if err := n.Stopped(); err != nil {
			t.Fatal(err)
		}
		return n.Ready() && n.Head("acme").Revision == 1
	})
	if asides, err := filepath.Glob(path + ".damaged-*"); err != nil || len(asides) != 1 {
		t.Errorf("files set aside: %v, %v; want one", asides, err)
	}
}

// TestDamage_RebuildWhileViewsAreOpen damages a file while one goroutine has two views open: it
// can close one after the other, and the replica is built again.
func TestDamage_RebuildWhileViewsAreOpen(t *testing.T) {
	n := start(t, filepath.Join(t.TempDir(), "replica.db"), newFakeJournal())
	set := ledger.ChangeSet{Author: "ann", Changes: []ledger.Change{{Key: "a/b", Value: "1"}}}
	if _, err := n.ledger.Commit(t.Context(), "acme", set); err != nil {
		t.Fatal(err)
	}
	if err := n.Flush(); err != nil {
		t.Fatal(err)
	}
	var views []*replica.View
	for range 2 {
		v, err := n.View("acme", replica.At{})
		if err != nil {
			t.Fatal(err)
		}
		views = append(views, v)
	}
	n.Damage()
	eventually(t, "the file is being closed", func() bool { _, ok := n.Progress(); return !ok })
	time.Sleep(20 * time.Millisecond) // until bbolt would hold its lock
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		for _, v := range views {
			v.Close()
		}
	}()
	select {
	case <-closed:
	case <-time.After(30 * time.Second):
		t.Fatal("the views cannot be closed")
	}
	eventually(t, "the replica is built again", func() bool { return n.Ready() && n.Head("acme").Revision == 1 })
	n.close(t)
}

// breakFolder puts a file in the folder's place, until repair is called.
func breakFolder(t *testing.T, dir string) (repair func()) {
	t.Helper()
	away := dir + ".away"
	if err := os.Rename(dir, away); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dir, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	return func() {
		t.Helper()
		if err := os.Remove(dir); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(away, dir); err != nil {
			t.Fatal(err)
		}
	}
}

// failures counts the logged failures to rebuild a file.
type failures struct {
	slog.Handler
	n atomic.Int32
}

func (f *failures) Enabled(context.Context, slog.Level) bool { return true }

func (f *failures) Handle(_ context.Context, r slog.Record) error {
	if strings.Contains(r.Message, "cannot be rebuilt") {
		f.n.Add(1)
	}
	return nil
}
