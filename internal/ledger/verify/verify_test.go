package verify_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/journal"
	"github.com/stelehq/stele/internal/ledger/ledgertest"
	"github.com/stelehq/stele/internal/ledger/proof"
	"github.com/stelehq/stele/internal/ledger/verify"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// folder is a ledger's, and its key.
type folder struct {
	dir    string
	secret string
	key    proof.Verifier
	heads  map[ledger.Tenant]ledger.Revision
	// extra, if set, writes more.
	extra func(*ledgertest.Node)
	// restored is the option for a restored ledger.
	restored bool
}

// run runs a ledger on the folder, writes to it, waits until all of it is signed,
// and stops it.
func (f *folder) run(t *testing.T, commits int) {
	t.Helper()
	s, err := journal.StartServer(journal.ServerConfig{Dir: filepath.Join(f.dir, "journal")})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	n := ledgertest.Start(t, s, ledgertest.Config{Dir: f.dir})
	defer n.Close()
	if f.secret == "" {
		var public string
		if f.secret, public, err = proof.GenerateKey(n.Journal.Epoch()); err != nil {
			t.Fatal(err)
		}
		if f.key, err = proof.ParseVerifier(public); err != nil {
			t.Fatal(err)
		}
	}
	key, err := proof.ParseKey(f.secret)
	if err != nil {
		t.Fatal(err)
	}
	side, err := n.Journal.OpenAuxStream(t.Context(), journal.Checkpoints)
	if err != nil {
		t.Fatal(err)
	}
	tree, err := proof.OpenTree(proof.Config{Path: filepath.Join(f.dir, "tree.db")})
	if err != nil {
		t.Fatal(err)
	}
	defer tree.Close()
	if err := errors.Join(tree.Follow(n.Journal), tree.Sign(side, key)); err != nil {
		t.Fatal(err)
	}
	for i := range commits {
		tenant := []ledger.Tenant{"acme", "umbrella", "a"}[i%3]
		r, err := n.Ledger.Commit(t.Context(), tenant, ledger.ChangeSet{
			Author: "ann", RequestID: fmt.Sprint(f.heads[tenant], "/", i),
			Changes: []ledger.Change{{Key: ledger.Key(fmt.Sprintf("tag/%d", i%7)), Value: ledger.Value(fmt.Sprintf("[%d,%d]", uint64(f.heads[tenant]), i))}},
		})
		if err != nil {
			t.Fatal(err)
		}
		f.heads[tenant] = r.Revision
	}
	if f.extra != nil {
		f.extra(n)
	}
	for tenant, head := range f.heads {
		await(t, "a checkpoint", func() bool {
			newest, _ := tree.Newest()
			covered, err := tree.Covered(tenant, newest.Size)
			return err == nil && covered == head
		})
	}
}

func await(t *testing.T, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !done(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s did not come", what)
		}
	}
}

func newFolder(t *testing.T, commits int) *folder {
	f := &folder{dir: t.TempDir(), heads: make(map[ledger.Tenant]ledger.Revision)}
	f.run(t, commits)
	return f
}

func (f *folder) verify(t *testing.T, from ...proof.Checkpoint) *verify.Report {
	t.Helper()
	r, err := verify.Ledger(t.Context(), verify.Config{Dir: f.dir, Key: f.key, From: from, Restored: f.restored})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// prints are the hashes of all files in the folder.
func (f *folder) prints(t *testing.T) map[string][32]byte {
	t.Helper()
	out := make(map[string][32]byte)
	err := filepath.WalkDir(f.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		out[path] = sha256.Sum256(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestVerify_StoppedLedgerIsUnchanged(t *testing.T) {
	f := newFolder(t, 60)
	before := f.prints(t)
	r := f.verify(t)
	if len(r.Findings) > 0 {
		t.Fatalf("findings: %v", r.Findings)
	}
	if r.Commits != 60 || r.Tenants != 3 || r.Messages != 60 || r.Checkpoints == 0 || proof.KeyName(r.Epoch) != f.key.Name() {
		t.Errorf("%+v", r)
	}
	after := f.prints(t)
	for name, print := range before {
		if after[name] != print {
			t.Errorf("%s was changed", name)
		}
	}
	if len(after) != len(before) {
		t.Errorf("%d files became %d", len(before), len(after))
	}
}

// A process that was killed leaves files that are behind the journal: they are
// what the journal made, as far as they go.
func TestVerify_FilesBehindTheJournal(t *testing.T) {
	f := newFolder(t, 30)
	old := make(map[string][]byte)
	for _, name := range []string{"tree.db", "replica.db"} {
		b, err := os.ReadFile(filepath.Join(f.dir, name))
		if err != nil {
			t.Fatal(err)
		}
		old[name] = b
	}
	f.run(t, 30)
	for name, b := range old {
		if err := os.WriteFile(filepath.Join(f.dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if r := f.verify(t); len(r.Findings) > 0 || r.Commits != 60 {
		t.Errorf("%+v", r)
	}
}

// The derived files may be missing only from a ledger that was just restored; an
// existing file is compared with the journal in any case.
func TestVerify_RestoredLedger(t *testing.T) {
	f := newFolder(t, 30)
	for i, name := range []string{"tree.db", "replica.db"} {
		if err := os.Remove(filepath.Join(f.dir, name)); err != nil {
			t.Fatal(err)
		}
		if r := f.verify(t); len(r.Findings) != i+1 {
			t.Errorf("without %s: %+v", name, r)
		}
		f.restored = true
		if r := f.verify(t); len(r.Findings) > 0 || r.Commits != 30 {
			t.Errorf("restored, without %s: %+v", name, r)
		}
		f.restored = false
	}
}

func TestVerify_OlderJournal(t *testing.T) {
	f := newFolder(t, 30)
	backup := t.TempDir()
	if err := os.CopyFS(backup, os.DirFS(filepath.Join(f.dir, "journal"))); err != nil {
		t.Fatal(err)
	}
	f.run(t, 30)
	dir := filepath.Join(f.dir, "journal")
	if err := errors.Join(os.RemoveAll(dir), os.CopyFS(dir, os.DirFS(backup))); err != nil {
		t.Fatal(err)
	}
	r := f.verify(t)
	for _, where := range []string{"tree.db", "replica.db", "STELE-CHECKPOINTS"} {
		found := false
		for _, finding := range r.Findings {
			found = found || strings.HasPrefix(finding.Where, where)
		}
		if !found {
			t.Errorf("%s does not report that the journal was restored: %v", where, r.Findings)
		}
	}
}

// An older checkpoint reveals what the folder cannot: all of it was set back.
func TestVerify_FromAnEarlierCheckpoint(t *testing.T) {
	f := newFolder(t, 12)
	backup := t.TempDir()
	if err := os.CopyFS(backup, os.DirFS(f.dir)); err != nil {
		t.Fatal(err)
	}
	f.run(t, 30)
	seen := f.newest(t)
	if r := f.verify(t, seen); len(r.Findings) > 0 {
		t.Errorf("findings: %v", r.Findings)
	}
	f.dir = backup
	if r := f.verify(t); len(r.Findings) > 0 {
		t.Errorf("the backup by itself: %v", r.Findings)
	}
	r := f.verify(t, seen)
	if len(r.Findings) != 1 || r.Findings[0].Where != "the checkpoint to start from" {
		t.Errorf("the backup, by the checkpoint: %v", r.Findings)
	}
	seen.Size, seen.Root[0] = 1, seen.Root[0]^1
	if r := f.verify(t, seen); len(r.Findings) != 1 {
		t.Errorf("another root: %v", r.Findings)
	}
}

// newest is the newest checkpoint.
func (f *folder) newest(t *testing.T) proof.Checkpoint {
	t.Helper()
	s, err := journal.StartServer(journal.ServerConfig{Dir: filepath.Join(f.dir, "journal")})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	nc, err := s.Connect()
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	e, err := journal.OpenEvidence(t.Context(), nc)
	if err != nil {
		t.Fatal(err)
	}
	var newest proof.Checkpoint
	_, err = e.AuxStream(t.Context(), journal.Checkpoints, func(name string, _ ledger.Sequence, body []byte) error {
		if name == proof.CheckpointName {
			newest, err = proof.Open(string(body), f.key)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return newest
}

func TestVerify_Errors(t *testing.T) {
	f := newFolder(t, 3)
	other, public, err := proof.GenerateKey(ledger.Epoch{1})
	if err != nil || other == "" {
		t.Fatal(err)
	}
	key, err := proof.ParseVerifier(public)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := verify.Ledger(t.Context(), verify.Config{Dir: f.dir, Key: key}); !errors.Is(err, proof.ErrOtherLedger) {
		t.Errorf("another ledger's key: %v", err)
	}
	if _, err := verify.Ledger(t.Context(), verify.Config{Dir: t.TempDir(), Key: f.key}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no ledger: %v", err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := verify.Ledger(ended, verify.Config{Dir: f.dir, Key: f.key}); !errors.Is(err, context.Canceled) {
		t.Errorf("interrupted: %v", err)
	}
	s, err := journal.StartServer(journal.ServerConfig{Dir: filepath.Join(f.dir, "journal")})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := verify.Ledger(t.Context(), verify.Config{Dir: f.dir, Key: f.key}); err == nil || !strings.Contains(err.Error(), "stop the ledger first") {
		t.Errorf("a ledger that runs: %v", err)
	}
}

func TestLedger_CommitsThatAreAheadAreReported(t *testing.T) {
	f := &folder{dir: t.TempDir(), heads: make(map[ledger.Tenant]ledger.Revision)}
	f.extra = func(n *ledgertest.Node) {
		ledgertest.CommitAt(t, n, "acme", time.Now().Add(365*24*time.Hour))
		ledgertest.CommitAt(t, n, "acme", time.Now().Add(366*24*time.Hour))
		r, _, err := n.Ledger.ResetClock(t.Context(), "acme", "op", "the clock was wrong")
		if err != nil {
			t.Fatal(err)
		}
		f.heads["acme"] = r.Revision
	}
	f.run(t, 6)
	r := f.verify(t)
	if len(r.Findings) > 0 || r.Ahead != 2 || r.FirstAhead == nil || r.FirstAhead.Tenant != "acme" || r.FirstAhead.Revision != 3 {
		t.Errorf("findings %v, %d ahead, the first %v; want none, 2, acme@3", r.Findings, r.Ahead, r.FirstAhead)
	}
}
