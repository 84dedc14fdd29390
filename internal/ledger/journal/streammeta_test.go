package journal

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stelehq/stele/internal/ledger"
)

// startWithMeta is startTest with a server that rebuilds metadata.
func startWithMeta(t *testing.T, dir string, epoch ledger.Epoch) (*Server, error) {
	t.Helper()
	return StartServer(ServerConfig{Dir: dir, Epoch: func() (ledger.Epoch, error) { return epoch, nil }})
}

// A flipped bit in the metadata of a stream, or a file of it that is missing, does not lose the
// stream: the server starts with all messages, and what verifies them finds nothing.
func TestServer_RebuildsMetadata(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s, err := startWithMeta(t, dir, ledger.Epoch{})
	if err != nil {
		t.Fatal(err)
	}
	j := openTest(t, s, Config{})
	mustAppend(t, j, 0, "one")
	fillAll(t, j, 0)
	epoch := j.Epoch()
	j.Close()
	s.Close()

	rng := rand.New(rand.NewPCG(1, 2))
	flip := func(bit int) func([]byte) []byte {
		return func(b []byte) []byte {
			b[rng.IntN(len(b))] ^= 1 << bit
			return b
		}
	}
	changes := map[string]func([]byte) []byte{
		"cut":     func(b []byte) []byte { return b[:len(b)/2] },
		"empty":   func([]byte) []byte { return []byte{} },
		"missing": func([]byte) []byte { return nil },
	}
	for bit := range 8 {
		changes[fmt.Sprintf("bit %d", bit)] = flip(bit)
	}
	round := ledger.Sequence(1)
	damage := func(name, file string, change func([]byte) []byte) {
		t.Helper()
		path := filepath.Join(dir, filepath.FromSlash(streamsDir), name, file)
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if b = change(b); b == nil {
			err = os.Remove(path)
		} else {
			err = os.WriteFile(path, b, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	check := func(t *testing.T) {
		s, err := startWithMeta(t, dir, epoch)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		nc, err := s.Connect()
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		e, err := OpenEvidence(t.Context(), nc)
		if err != nil {
			t.Fatal(err)
		}
		if n, err := e.Journal(t.Context(), func(Message) error { return nil }); n != 1 || err != nil {
			t.Errorf("the journal has %d messages: %v", n, err)
		}
		for _, kind := range []AuxKind{Checkpoints, Reads} {
			if n, err := e.AuxStream(t.Context(), kind, func(string, ledger.Sequence, []byte) error { return nil }); n != round || err != nil {
				t.Errorf("%s has %d messages, want %d: %v", kind.stream, n, round, err)
			}
		}
		j, err := Open(t.Context(), nc, Config{Embedded: s})
		if err != nil {
			t.Fatal(err)
		}
		defer j.Close()
		if j.Epoch() != epoch {
			t.Errorf("the ledger is %s, and was %s", j.Epoch(), epoch)
		}
		fillAll(t, j, round)
		round++
	}
	for _, name := range streamNames() {
		for _, file := range []string{metaFile, metaSum} {
			for kind, change := range changes {
				t.Run(name+" "+file+" "+kind, func(t *testing.T) {
					damage(name, file, change)
					check(t)
				})
			}
		}
	}
	t.Run("all streams", func(t *testing.T) {
		for _, name := range streamNames() {
			damage(name, metaFile, flip(3))
		}
		if s, err := startWithMeta(t, dir, ledger.Epoch{}); err == nil || !strings.Contains(err.Error(), "no other file says") {
			t.Errorf("a server whose streams say nothing, and nothing else does: %v, %v", s, err)
		}
		check(t)
	})
	if found, _ := filepath.Glob(filepath.Join(dir, "STELE.damaged-*.inf")); len(found) == 0 {
		t.Error("the damaged file was not kept")
	}
}

// fillAll writes a message to each auxiliary stream, which has had that many; buckets keep one.
func fillAll(t *testing.T, j *Journal, had ledger.Sequence) {
	t.Helper()
	for _, kind := range []AuxKind{Checkpoints, Reads} {
		s, err := j.OpenAuxStream(t.Context(), kind)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.AppendAfter(t.Context(), "a", had, []byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	for _, kind := range []AuxKind{Sinks, Parked, Keys} {
		b, err := j.OpenBucket(t.Context(), kind)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := b.Put(t.Context(), "a", had, []byte("x")); err != nil {
			t.Fatal(err)
		}
	}
}
