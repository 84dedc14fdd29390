package witness_test

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stelehq/stele/internal/ledger/proof"
	"github.com/stelehq/stele/internal/witness"
	"golang.org/x/mod/sumdb/tlog"
)

// signing is a tree that grows and is signed, for a collector.
type signing struct {
	t *testing.T
	*tree
	mu      sync.Mutex // guards what follows
	newest  proof.Signed
	changed chan struct{}
	split   []string
}

func newSigning(t *testing.T, l *tree) *signing {
	s := &signing{t: t, tree: l, changed: make(chan struct{})}
	s.sign()
	return s
}

func (s *signing) sign() {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := proof.Checkpoint{Epoch: s.epoch, Size: s.size, Root: s.root(s.t, s.size)}
	s.newest = proof.Signed{Checkpoint: c, Note: s.signed(s.t, s.size), Keys: s.key.Keys()}
	close(s.changed)
	s.changed = make(chan struct{})
}

func (s *signing) extend(commits int) {
	s.mu.Lock()
	s.grow(s.t, commits, "commit")
	s.mu.Unlock()
	s.sign()
}

func (s *signing) Newest() (proof.Signed, <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.newest, s.changed
}

func (s *signing) Consistency(old, new int64) (tlog.TreeProof, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return tlog.ProveTree(new, old, s.tree)
}

func (s *signing) Compare(signed string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	c, err := proof.Open(signed, s.key)
	switch {
	case err != nil:
		return err
	case c.Size > s.size:
		return proof.ErrAhead
	case c.Root != s.root(s.t, c.Size):
		s.split = append(s.split, signed)
		return &proof.SplitViewError{Size: c.Size, Ours: s.newest.Note, Theirs: signed}
	}
	return nil
}

func (s *signing) splitViews() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.split)
}

// lines are what a collector has logged.
type lines struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *lines) has(text string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Contains(l.text.String(), text)
}

func collect(t *testing.T, s *signing, log io.Writer, urls []string, keys ...string) *witness.Collector {
	t.Helper()
	return collectWith(t, s, log, "", urls, keys...)
}

// collectWith keeps cosignatures in a file.
func collectWith(t *testing.T, s *signing, log io.Writer, memory string, urls []string, keys ...string) *witness.Collector {
	t.Helper()
	w, err := proof.ParseWitnesses(keys, 1)
	if err != nil {
		t.Fatal(err)
	}
	c, err := witness.Collect(witness.CollectorConfig{
		URLs: urls, Keys: w, Tree: s, Log: slog.New(slog.NewTextHandler(log, nil)), HTTP: &http.Client{Transport: &http.Transport{}}, Retry: 10 * time.Millisecond,
		Memory: memory,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !holds(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not in time: %s", what)
		}
	}
}

func cosigned(c *witness.Collector, n int) int64 {
	newest, _ := c.Newest(n)
	return newest.Size
}

// Each checkpoint is cosigned by those witnesses that answer; one that does not delays no
// other.
func TestCollector_WitnessIsDown(t *testing.T) {
	l := newTree(t)
	l.grow(t, 3, "commit")
	a, b := start(t, "witness.example/a", logKey(t, l)), start(t, "witness.example/b", logKey(t, l))
	s := newSigning(t, l)
	hung := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		<-r.Context().Done()
	}))
	t.Cleanup(hung.Close)
	down := start(t, "witness.example/down", logKey(t, l))
	down.Server.Close()
	c := collect(t, s, io.Discard, []string{a.URL, b.URL, hung.URL, down.URL}, a.key, b.key, down.key)
	for size := int64(3); size < 9; size += 2 {
		eventually(t, fmt.Sprintf("%d commits are cosigned twice", size), func() bool { return cosigned(c, 2) == size })
		newest, _ := c.Newest(2)
		w, err := proof.ParseWitnesses([]string{a.key, b.key}, 2)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := proof.Open(newest.Note, l.key.Require(w)); err != nil || got.Size != size {
			t.Errorf("%v, %v", got, err)
		}
		if cosigned(c, 3) != 0 {
			t.Error("a witness that is down has cosigned")
		}
		s.extend(2)
	}
	b.Server.Close()
	s.extend(1)
	eventually(t, "one witness is left", func() bool { return cosigned(c, 1) == s.size })
	if cosigned(c, 2) == s.size {
		t.Error("a witness that has gone away cosigned")
	}
}

// The holder of the key shows a witness another history. The signer of the ledger finds out, and
// who requires a quorum accepts only one of the two.
func TestCollector_SplitView(t *testing.T) {
	l := newTree(t)
	l.grow(t, 5, "commit")
	fork := l.fork(t, 4)
	w := start(t, "witness.example/w1", logKey(t, l))
	if got := w.post(t, fork.request(t, 0, 4)); got.Code != http.StatusOK {
		t.Fatal(got.Code)
	}
	s := newSigning(t, l)
	var log lines
	c := collect(t, s, &log, []string{w.URL}, w.key)
	eventually(t, "the split view is found", func() bool { return s.splitViews() > 0 && log.has("split view") })
	if cosigned(c, 1) != 0 {
		t.Error("a witness has cosigned both histories")
	}
	witnesses, err := proof.ParseWitnesses([]string{w.key}, 1)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := proof.Open(l.signed(t, 5), l.key.Require(witnesses)); !errors.Is(err, proof.ErrInvalid) {
		t.Errorf("the history that the witness did not see: %v", err)
	}
	if _, err := proof.Open(w.newest(t, l.key.Name()).Body.String(), l.key.Require(witnesses)); err != nil {
		t.Errorf("the history that the witness has seen: %v", err)
	}
}

// A witness whose state was put back to an earlier one is reported, and not asked to
// cosign from there.
// rollBack gives the witness its state from before its first checkpoint.
func (w *running) rollBack(t *testing.T, l *tree) {
	t.Helper()
	w.Server.CloseClientConnections()
	back := start(t, "witness.example/w1", logKey(t, l))
	back.cosigner = w.cosigner
	back.witness.Close()
	back.path = t.TempDir() + "/witness.db"
	back.open(t, true, logKey(t, l))
	old := w.witness
	w.witness = back.witness
	t.Cleanup(func() { old.Close() })
}

func TestCollector_WitnessIsRolledBack(t *testing.T) {
	l := newTree(t)
	l.grow(t, 3, "commit")
	s := newSigning(t, l)
	w := start(t, "witness.example/w1", logKey(t, l))
	var log lines
	c := collect(t, s, &log, []string{w.URL}, w.key)
	eventually(t, "3 commits are cosigned", func() bool { return cosigned(c, 1) == 3 })
	w.rollBack(t, l)
	s.extend(2)
	eventually(t, "it is reported", func() bool { return log.has("has forgotten what it has cosigned") })
	if cosigned(c, 1) != 3 {
		t.Errorf("%d commits are cosigned by a witness that was rolled back", cosigned(c, 1))
	}
}

// Two processes sign with one key and ask the same witness: it cosigns for both.
// A signer that restarts remembers what a witness has cosigned: one that was rolled back in
// the meantime, even to no state at all, cosigns nothing for it.
func TestCollector_WitnessIsRolledBackWhileTheSignerIsDown(t *testing.T) {
	l := newTree(t)
	l.grow(t, 3, "commit")
	s := newSigning(t, l)
	w := start(t, "witness.example/w1", logKey(t, l))
	memory := filepath.Join(t.TempDir(), "cosignatures.json")
	var log lines
	c := collectWith(t, s, &log, memory, []string{w.URL}, w.key)
	eventually(t, "3 commits are cosigned", func() bool { return cosigned(c, 1) == 3 })
	c.Close()
	c = collectWith(t, s, &log, memory, []string{w.URL}, w.key)
	eventually(t, "the same witness cosigns after a restart", func() bool { return cosigned(c, 1) == 3 })
	c.Close()

	w.rollBack(t, l)
	s.extend(2)
	c = collectWith(t, s, &log, memory, []string{w.URL}, w.key)
	eventually(t, "it is reported", func() bool { return log.has("has forgotten what it has cosigned") })
	if cosigned(c, 1) != 0 {
		t.Errorf("%d commits are cosigned by a witness that was rolled back", cosigned(c, 1))
	}
	c.Close()

	// A witness that replaces it has a key of its own.
	other := start(t, "witness.example/w2", logKey(t, l))
	w.witness, other.witness = other.witness, w.witness
	c = collectWith(t, s, &log, memory, []string{w.URL}, other.key)
	eventually(t, "another witness cosigns", func() bool { return cosigned(c, 1) == 5 })
	c.Close()

	if err := os.WriteFile(memory, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := witness.Collect(witness.CollectorConfig{Memory: memory}); err == nil || !strings.Contains(err.Error(), memory) {
		t.Errorf("a file that was cut: %v", err)
	}
}

func TestCollector_TwoSigners(t *testing.T) {
	l := newTree(t)
	l.grow(t, 3, "commit")
	w := start(t, "witness.example/w1", logKey(t, l))
	s := newSigning(t, l)
	a := collect(t, s, io.Discard, []string{w.URL}, w.key)
	b := collect(t, s, io.Discard, []string{w.URL}, w.key)
	for range 20 {
		s.extend(1)
	}
	eventually(t, "both have the newest cosigned", func() bool { return cosigned(a, 1) == 23 && cosigned(b, 1) == 23 })
}
