package witness_test

import (
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stelehq/stele/internal/ledger/proof"
	"github.com/stelehq/stele/internal/witness"
)

// The cases of c2sp.org/tlog-witness, each on a witness that has cosigned 10 commits.
func TestWitness_AddCheckpoint(t *testing.T) {
	l := newTree(t)
	l.grow(t, 20, "commit")
	stranger := newTree(t)
	stranger.epoch[0]++
	stranger.hashes, stranger.size = l.hashes, l.size
	thief := newTree(t) // of the same name, with another key
	thief.hashes, thief.size = l.hashes, l.size
	signed := l.signed(t, 15)
	damaged := []byte(l.request(t, 10, 15))
	damaged[len(damaged)-10] ^= 1
	long := "old 10\n" + strings.Repeat(l.root(t, 1).String()+"\n", 64) + "\n" + signed
	empty := "stele/0102030405060708\n0\n" + l.root(t, 1).String() + "\n"
	for name, tc := range map[string]struct {
		body   string
		status int
		answer string
	}{
		"an extension":                       {l.request(t, 10, 15), 200, "— witness.example/w1 "},
		"the same size and root again":       {l.request(t, 10, 10), 200, "— witness.example/w1 "},
		"more signatures than are known":     {l.request(t, 10, 15) + thief.signed(t, 15)[strings.Index(thief.signed(t, 15), "—"):], 200, "— witness.example/w1 "},
		"no old size":                        {strings.Replace(l.request(t, 10, 15), "old 10", "10", 1), 400, ""},
		"an old size with a zero":            {strings.Replace(l.request(t, 10, 15), "old 10", "old 010", 1), 400, ""},
		"a negative old size":                {strings.Replace(l.request(t, 10, 15), "old 10", "old -1", 1), 400, ""},
		"no empty line":                      {"old 10\n" + signed[:20], 400, ""},
		"an empty body":                      {"", 400, ""},
		"no checkpoint":                      {"old 10\n\n", 400, ""},
		"a line that is not a hash":          {strings.Replace(l.request(t, 10, 15), "old 10\n", "old 10\nx\n", 1), 400, ""},
		"64 lines of proof":                  {long, 400, ""},
		"an old size above the checkpoint's": {"old 16\n\n" + signed, 400, ""},
		"an origin that is not known":        {stranger.request(t, 0, 15), 404, ""},
		"another key":                        {thief.request(t, 10, 15), 403, ""},
		"a signature that does not verify":   {string(damaged), 403, ""},
		"no signature":                       {"old 10\n\n" + signed[:strings.Index(signed, "—")], 403, ""},
		"an old size that is not the newest": {l.request(t, 8, 15), 409, "10\n"},
		"from zero, to ask for the size":     {l.request(t, 0, 15), 409, "10\n"},
		"a smaller tree than the newest":     {l.request(t, 5, 8), 409, "10\n"},
		"no proof":                           {"old 10\n\n" + signed, 422, ""},
		"a proof of something else":          {strings.Replace(l.request(t, 9, 15), "old 9", "old 10", 1), 422, ""},
		"another history":                    {l.fork(t, 20).request(t, 10, 15), 422, ""},
		"the same size and another root":     {l.fork(t, 20).request(t, 10, 10), 422, ""},
		"the same size with a proof":         {strings.Replace(l.request(t, 10, 10), "old 10\n", "old 10\n"+l.root(t, 3).String()+"\n", 1), 422, ""},
		"a tree of size 0 with some root":    {"old 0\n\n" + resigned(t, l, empty), 409, "10\n"},
		"a body that is too large":           {strings.Repeat("x", 300<<10), 400, ""},
	} {
		t.Run(name, func(t *testing.T) {
			w := start(t, "witness.example/w1", logKey(t, l))
			if got := w.post(t, l.request(t, 0, 10)); got.Code != http.StatusOK {
				t.Fatal(got.Code, got.Body)
			}
			got := w.post(t, tc.body)
			if got.Code != tc.status || !strings.HasPrefix(got.Body.String(), tc.answer) {
				t.Fatalf("answered %d %q, want %d %q", got.Code, got.Body, tc.status, tc.answer)
			}
			if tc.status == http.StatusConflict && got.Header().Get("Content-Type") != "text/x.tlog.size" {
				t.Errorf("the content type of a conflict is %q", got.Header().Get("Content-Type"))
			}
			// Rejected requests changed nothing.
			want := int64(10)
			if name == "an extension" || name == "more signatures than are known" {
				want = 15
			}
			if again := w.post(t, l.request(t, want, 18)); again.Code != http.StatusOK {
				t.Errorf("afterwards, from %d: %d %s", want, again.Code, again.Body)
			}
		})
	}
}

func TestWitness_FirstCheckpoint(t *testing.T) {
	l := newTree(t)
	l.grow(t, 5, "commit")
	root := l.root(t, 1).String()
	for name, tc := range map[string]struct {
		body   string
		status int
	}{
		"no proof is needed":            {l.request(t, 0, 5), 200},
		"a proof from size 0":           {strings.Replace(l.request(t, 0, 5), "old 0\n", "old 0\n"+root+"\n", 1), 422},
		"an old size that never was":    {l.request(t, 3, 5), 409},
		"an empty tree":                 {"old 0\n\n" + resigned(t, l, "stele/0102030405060708\n0\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n"), 200},
		"an empty tree of another root": {"old 0\n\n" + resigned(t, l, "stele/0102030405060708\n0\n"+root+"\n"), 422},
	} {
		t.Run(name, func(t *testing.T) {
			w := start(t, "witness.example/w1", logKey(t, l))
			if got := w.newest(t, l.key.Name()); got.Code != http.StatusNotFound {
				t.Errorf("the newest before the first: %d", got.Code)
			}
			if got := w.post(t, tc.body); got.Code != tc.status {
				t.Errorf("answered %d %q, want %d", got.Code, got.Body, tc.status)
			}
		})
	}
}

// A witness's answer verifies as a quorum of one, and monitors can read it.
func TestWitness_Cosignature(t *testing.T) {
	l := newTree(t)
	l.grow(t, 5, "commit")
	w := start(t, "witness.example/w1", logKey(t, l))
	line := w.post(t, l.request(t, 0, 5)).Body.String()
	witnesses, err := proof.ParseWitnesses([]string{w.key}, 1)
	if err != nil {
		t.Fatal(err)
	}
	for what, signed := range map[string]string{"the answer": l.signed(t, 5) + line, "what monitors read": w.newest(t, l.key.Name()).Body.String()} {
		c, err := proof.Open(signed, l.key.Require(witnesses))
		if err != nil || c.Size != 5 {
			t.Errorf("%s: %v, %v", what, c, err)
		}
		got, err := witnesses.Cosignatures(signed)
		if err != nil || len(got) != 1 || !got[0].Time.Equal(noon) {
			t.Errorf("%s: %v, %v", what, got, err)
		}
	}
	if got := w.newest(t, "stele/ffffffffffffffff"); got.Code != http.StatusNotFound {
		t.Errorf("of a ledger that is not known: %d", got.Code)
	}
}

// Of many requests at once, those that are cosigned are one history.
func TestWitness_RequestsAtOnce(t *testing.T) {
	l := newTree(t)
	l.grow(t, 40, "commit")
	other := l.fork(t, 40)
	w := start(t, "witness.example/w1", logKey(t, l))
	var running sync.WaitGroup
	var cosigned [2]atomic.Int64
	for i := range 40 {
		body := [2]string{l.request(t, 0, int64(i+1)), other.request(t, 0, int64(i+1))}[i%2]
		running.Go(func() {
			if w.post(t, body).Code == http.StatusOK {
				cosigned[i%2].Add(1)
			}
		})
	}
	running.Wait()
	if a, b := cosigned[0].Load(), cosigned[1].Load(); a+b != 1 {
		t.Errorf("%d and %d checkpoints of two histories were cosigned from size 0, want one", a, b)
	}
}

// A witness that is started again remembers, and one that has lost its memory does not start.
func TestOpen_State(t *testing.T) {
	l := newTree(t)
	l.grow(t, 9, "commit")
	w := start(t, "witness.example/w1", logKey(t, l))
	w.post(t, l.request(t, 0, 5))
	if err := w.witness.Close(); err != nil {
		t.Fatal(err)
	}
	w.open(t, false, logKey(t, l))
	if got := w.post(t, l.fork(t, 9).request(t, 5, 9)); got.Code != http.StatusUnprocessableEntity {
		t.Errorf("another history after a restart: %d", got.Code)
	}
	if got := w.post(t, l.request(t, 5, 9)); got.Code != http.StatusOK {
		t.Errorf("an extension after a restart: %d %s", got.Code, got.Body)
	}

	config := witness.Config{Key: w.cosigner, Logs: nil, Path: w.path}
	if _, err := witness.Open(config); err == nil {
		t.Error("a witness of no ledger is opened")
	}
	config.Logs = append(config.Logs, logKey(t, l))
	config.Path = filepath.Join(t.TempDir(), "lost.db")
	if _, err := witness.Open(config); !errors.Is(err, witness.ErrNoState) {
		t.Errorf("without its file: %v", err)
	}
	if err := os.WriteFile(config.Path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := witness.Open(config); !errors.Is(err, witness.ErrNoState) {
		t.Errorf("with an empty file: %v", err)
	}
	other := start(t, "witness.example/w2", logKey(t, l))
	other.witness.Close()
	config.Path = other.path
	if _, err := witness.Open(config); !errors.Is(err, witness.ErrNoState) {
		t.Errorf("with another witness's file: %v", err)
	}
	other.open(t, false, logKey(t, l))
}
