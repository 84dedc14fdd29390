package witness_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/proof"
	"github.com/stelehq/stele/internal/witness"
	"go.uber.org/goleak"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// tree is a log in memory, and a key that signs it.
type tree struct {
	epoch  ledger.Epoch
	secret string
	key    proof.Verifier
	signer note.Signer
	hashes []tlog.Hash
	size   int64
}

func (l *tree) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	out := make([]tlog.Hash, len(indexes))
	for i, at := range indexes {
		out[i] = l.hashes[at]
	}
	return out, nil
}

func newTree(t *testing.T) *tree {
	t.Helper()
	secret, public, err := proof.GenerateKey(treeEpoch)
	if err != nil {
		t.Fatal(err)
	}
	return newTreeOf(t, secret, public)
}

var treeEpoch = ledger.Epoch{1, 2, 3, 4, 5, 6, 7, 8}

func newTreeOf(t *testing.T, secret, public string) *tree {
	t.Helper()
	l, err := &tree{epoch: treeEpoch}, error(nil)
	if l.key, err = proof.ParseVerifier(public); err != nil {
		t.Fatal(err)
	}
	if l.signer, err = note.NewSigner(secret); err != nil {
		t.Fatal(err)
	}
	l.secret = secret
	return l
}

// fork is another history of the same key.
func (l *tree) fork(t *testing.T, size int) *tree {
	t.Helper()
	f := *l
	f.hashes, f.size = nil, 0
	f.grow(t, size, "another history")
	return &f
}

func (l *tree) grow(t *testing.T, commits int, what string) {
	t.Helper()
	for range commits {
		hashes, err := tlog.StoredHashes(l.size, fmt.Appendf(nil, "%s %d", what, l.size), l)
		if err != nil {
			t.Fatal(err)
		}
		l.hashes = append(l.hashes, hashes...)
		l.size++
	}
}

func (l *tree) root(t *testing.T, size int64) tlog.Hash {
	t.Helper()
	root, err := tlog.TreeHash(size, l)
	if err != nil {
		t.Fatal(err)
	}
	return root
}

func (l *tree) signed(t *testing.T, size int64) string {
	t.Helper()
	signed, err := proof.Checkpoint{Epoch: l.epoch, Size: size, Root: l.root(t, size)}.Sign(l.signer)
	if err != nil {
		t.Fatal(err)
	}
	return signed
}

// request is the body that proves the tree of new from that of old.
func (l *tree) request(t *testing.T, old, new int64) string {
	t.Helper()
	lines := ""
	if old > 0 {
		path, err := tlog.ProveTree(new, old, l)
		if err != nil {
			t.Fatal(err)
		}
		for _, h := range path {
			lines += h.String() + "\n"
		}
	}
	return fmt.Sprintf("old %d\n%s\n%s", old, lines, l.signed(t, new))
}

// running is a witness that answers on a port of its own.
type running struct {
	*httptest.Server
	witness  *witness.Witness
	cosigner proof.Cosigner
	key      string
	path     string
}

var noon = time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)

func start(t *testing.T, name string, logs ...note.Verifier) *running {
	t.Helper()
	r := cosigner(t, name, filepath.Join(t.TempDir(), "witness.db"))
	r.open(t, true, logs...)
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) { r.witness.ServeHTTP(w, req) }))
	t.Cleanup(func() {
		r.Server.Close()
		r.witness.Close()
	})
	return r
}

// cosigner is a witness with a new key that is not open.
func cosigner(t *testing.T, name, path string) *running {
	t.Helper()
	secret, public, err := proof.GenerateCosigner(name)
	if err != nil {
		t.Fatal(err)
	}
	r := &running{key: public, path: path}
	if r.cosigner, err = proof.ParseCosigner(secret); err != nil {
		t.Fatal(err)
	}
	return r
}

func (r *running) open(t *testing.T, create bool, logs ...note.Verifier) {
	t.Helper()
	w, err := witness.Open(witness.Config{Key: r.cosigner, Logs: logs, Path: r.path, Create: create, Now: func() time.Time { return noon }})
	if err != nil {
		t.Fatal(err)
	}
	r.witness = w
}

// post sends a body to the witness.
func (r *running) post(t *testing.T, body string) *httptest.ResponseRecorder {
	t.Helper()
	out := httptest.NewRecorder()
	r.witness.ServeHTTP(out, httptest.NewRequest(http.MethodPost, "/add-checkpoint", strings.NewReader(body)))
	return out
}

func (r *running) newest(t *testing.T, origin string) *httptest.ResponseRecorder {
	t.Helper()
	out := httptest.NewRecorder()
	r.witness.ServeHTTP(out, httptest.NewRequest(http.MethodGet, "/"+witness.OriginHash(origin)+"/checkpoint", nil))
	return out
}

func logKey(t *testing.T, l *tree) note.Verifier {
	t.Helper()
	v, err := note.NewVerifier(l.key.String())
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// resigned is a checkpoint of any text, signed with the log's key.
func resigned(t *testing.T, l *tree, text string) string {
	t.Helper()
	b, err := note.Sign(&note.Note{Text: text}, l.signer)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
