package scrub_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/journal"
	"github.com/stelehq/stele/internal/ledger/ledgertest"
	"github.com/stelehq/stele/internal/ledger/proof"
	"github.com/stelehq/stele/internal/ledger/scrub"
	"github.com/stelehq/stele/internal/ledger/verify"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is a ledger with a tree that signs.
type world struct {
	*ledgertest.Node
	dir  string // of the server
	tree *proof.Tree
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{dir: t.TempDir()}
	s, err := journal.StartServer(journal.ServerConfig{Dir: w.dir, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	w.Node = ledgertest.Start(t, s, ledgertest.Config{})
	secret, _, err := proof.GenerateKey(w.Journal.Epoch())
	if err != nil {
		t.Fatal(err)
	}
	key, err := proof.ParseKey(secret)
	if err != nil {
		t.Fatal(err)
	}
	side, err := w.Journal.OpenAuxStream(t.Context(), journal.Checkpoints)
	if err != nil {
		t.Fatal(err)
	}
	if w.tree, err = proof.OpenTree(proof.Config{Path: filepath.Join(t.TempDir(), "tree.db")}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.tree.Close() })
	if err := errors.Join(w.tree.Follow(w.Journal), w.tree.Sign(side, key)); err != nil {
		t.Fatal(err)
	}
	return w
}

// write commits, and waits until a checkpoint covers it.
func (w *world) write(t *testing.T, commits int) {
	t.Helper()
	w.commit(t, 0, commits)
	for deadline := time.Now().Add(time.Minute); ; {
		c, newer := w.tree.Newest()
		if c.Size >= int64(commits) {
			return
		}
		select {
		case <-newer:
		case <-time.After(time.Until(deadline)):
			t.Fatalf("the newest checkpoint covers %d of %d commits", c.Size, commits)
		}
	}
}

func (w *world) commit(t *testing.T, from, to int) {
	for i := from; i < to; i++ {
		_, err := w.Ledger.Commit(t.Context(), []ledger.Tenant{"acme", "umbrella"}[i%2], ledger.ChangeSet{
			Author: "ann", Changes: []ledger.Change{{Key: ledger.Key(fmt.Sprintf("tag/%d", i%7)), Value: ledger.Value(fmt.Sprintf("%d%s", i, strings.Repeat("0", i%50)))}},
		})
		if err != nil {
			t.Error(err)
			return
		}
	}
}

// block is the path of a stream's first file.
func (w *world) block(stream string) string {
	return filepath.Join(w.dir, "jetstream", "$G", "streams", stream, "msgs", "1.blk")
}

// scrub starts a scrubber, and waits for its next pass.
func (w *world) scrub(t *testing.T, until func(scrub.Status) bool) scrub.Status {
	t.Helper()
	results := openResults(t, filepath.Join(t.TempDir(), "scrub.json"))
	return w.scrubInto(t, results, until)
}

func openResults(t *testing.T, path string) *scrub.Results {
	t.Helper()
	results, err := scrub.OpenResults(path, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return results
}

// scrubInto starts a scrubber that keeps its results there.
func (w *world) scrubInto(t *testing.T, results *scrub.Results, until func(scrub.Status) bool) scrub.Status {
	t.Helper()
	s := scrub.Start(scrub.Config{Journal: w.Journal, Tree: w.tree, Interval: time.Millisecond, Results: results, Log: slog.New(slog.DiscardHandler)})
	defer s.Close()
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		if all := results.Status(); len(all) == 1 && !all[0].Completed.IsZero() && until(all[0]) {
			return all[0]
		}
	}
	t.Fatalf("it says %+v", results.Status())
	return scrub.Status{}
}

func once(scrub.Status) bool { return true }

// A ledger in use has no damage, in any of several passes.
func TestScrubber_WholeLedger(t *testing.T) {
	w := newWorld(t)
	w.write(t, 50)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := 50; ctx.Err() == nil && i < 5000; i++ {
			w.commit(t, i, i+1)
		}
	}()
	var passes int
	var last time.Time
	st := w.scrub(t, func(st scrub.Status) bool {
		if st.Completed != last {
			last = st.Completed
			passes++
		}
		return st.Damaged > 0 || st.Failed != "" || passes >= 5 && st.Messages > 100
	})
	cancel()
	<-done
	if st.Damaged > 0 || st.Failed != "" {
		t.Errorf("after %d passes it says %+v", passes, st)
	}
}

// Every bit matters: in a body, a header, a length, or a checksum.
func TestScrubber_FindsEveryFlippedBit(t *testing.T) {
	w := newWorld(t)
	w.write(t, 40)
	rng := rand.New(rand.NewPCG(1, 2))
	for _, stream := range []string{"STELE", "STELE-CHECKPOINTS"} {
		whole, err := os.ReadFile(w.block(stream))
		if err != nil {
			t.Fatal(err)
		}
		places := make(map[int]bool)
		for bit := range 8 * 22 { // of the first record's lengths, sequence and time
			places[bit] = true
		}
		for range 60 {
			places[rng.IntN(8*len(whole))] = true
		}
		for bit := range places {
			flip(t, w.block(stream), bit)
			st := w.scrub(t, once)
			flip(t, w.block(stream), bit)
			if st.Damaged == 0 || len(st.Findings) == 0 || !strings.HasPrefix(st.Findings[0], stream+": ") {
				t.Errorf("bit %d of byte %d of %s (of %d): it says %+v", bit%8, bit/8, stream, len(whole), st)
			}
			if st.Damaged > 1 {
				t.Errorf("bit %d of byte %d of %s: one message is damaged, and it says %+v", bit%8, bit/8, stream, st)
			}
		}
		if now, err := os.ReadFile(w.block(stream)); err != nil || !bytes.Equal(now, whole) {
			t.Fatalf("the file was changed meanwhile: %v", err)
		}
	}
	if st := w.scrub(t, once); st.Damaged > 0 || st.Messages == 0 {
		t.Errorf("of a journal that is whole again it says %+v", st)
	}
}

// Damage is reported by the process that is started next, until a pass does not find it.
func TestResults_SurviveARestart(t *testing.T) {
	w := newWorld(t)
	w.write(t, 40)
	path := filepath.Join(t.TempDir(), "scrub.json")
	if found := openResults(t, path).Status(); len(found) > 0 {
		t.Fatalf("before the first pass it says %+v", found)
	}
	whole := w.scrubInto(t, openResults(t, path), once)
	if kept := openResults(t, path).Status(); len(kept) != 1 || kept[0].Damaged > 0 || kept[0].Messages < whole.Messages || kept[0].Completed.Before(whole.Completed) {
		t.Errorf("after the restart of a whole ledger it says %+v", kept)
	}
	block, err := os.ReadFile(w.block("STELE"))
	if err != nil {
		t.Fatal(err)
	}
	bit := 8 * (len(block) / 2)
	flip(t, w.block("STELE"), bit)
	damaged := w.scrubInto(t, openResults(t, path), func(st scrub.Status) bool { return st.Damaged > 0 })
	flip(t, w.block("STELE"), bit)
	restarted := openResults(t, path)
	if kept := restarted.Status(); len(kept) != 1 || kept[0].Damaged != damaged.Damaged || !slices.Equal(kept[0].Findings, damaged.Findings) || kept[0].Completed.IsZero() {
		t.Errorf("after the restart of a damaged ledger it says %+v, and before %+v", kept, damaged)
	}
	w.scrubInto(t, restarted, func(st scrub.Status) bool { return st.Damaged == 0 && len(st.Findings) == 0 })
	if kept := openResults(t, path).Status(); len(kept) != 1 || kept[0].Damaged > 0 {
		t.Errorf("after a pass that has found nothing it says %+v", kept)
	}
}

// A file that is damaged itself does not keep a ledger from starting.
func TestOpenResults_Damaged(t *testing.T) {
	path := filepath.Join(t.TempDir(), "scrub.json")
	if err := os.WriteFile(path, []byte("[{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if found := openResults(t, path).Status(); len(found) > 0 {
		t.Errorf("it says %+v", found)
	}
}

// A backup of a damaged ledger fails, names the message, and leaves nothing.
func TestScrubber_BackupOfADamagedLedgerFails(t *testing.T) {
	w := newWorld(t)
	w.write(t, 40)
	check := func(ctx context.Context, b *journal.BackupReader) error {
		report, err := verify.Backup(ctx, b, nil)
		if err == nil && len(report.Findings) > 0 {
			err = errors.New(report.Findings[0].String())
		}
		return err
	}
	dir := filepath.Join(t.TempDir(), "backup")
	if _, err := journal.TakeBackup(t.Context(), w.Conn, dir, check); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	block, err := os.ReadFile(w.block("STELE"))
	if err != nil {
		t.Fatal(err)
	}
	flip(t, w.block("STELE"), 8*(len(block)/2))
	// The server still has the file in memory for a while.
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(100 * time.Millisecond) {
		_, err = journal.TakeBackup(t.Context(), w.Conn, dir, check)
		if err != nil || time.Now().After(deadline) {
			break
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
	}
	if err == nil || !strings.Contains(err.Error(), "STELE: message ") {
		t.Errorf("it says %v", err)
	}
	if left, _ := filepath.Glob(dir + "*"); len(left) > 0 {
		t.Errorf("%q are left", left)
	}
}

func flip(t *testing.T, path string, bit int) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var b [1]byte
	if _, err := f.ReadAt(b[:], int64(bit/8)); err != nil {
		t.Fatal(err)
	}
	b[0] ^= 1 << (bit % 8)
	if _, err := f.WriteAt(b[:], int64(bit/8)); err != nil {
		t.Fatal(err)
	}
}
