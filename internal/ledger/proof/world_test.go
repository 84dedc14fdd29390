package proof_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/journal"
	"github.com/stelehq/stele/internal/ledger/ledgertest"
	"github.com/stelehq/stele/internal/ledger/proof"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"go.uber.org/goleak"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
	"google.golang.org/protobuf/proto"
)

func TestMain(m *testing.M) {
	proof.SetPace(10*time.Millisecond, 2*time.Second) // to make a stream again takes a while
	goleak.VerifyTestMain(m)
}

// world is a journal on a server of its own, and what was written to it.
type world struct {
	conn    *nats.Conn
	journal *journal.Journal
	key     proof.Key
	signer  note.Signer // of the key
	secret  string
	heads   map[ledger.Tenant]ledger.Head
	// written are the records in the journal.
	written []written
}

type written struct {
	record  []byte
	commits []*ledger.Commit
}

func newWorld(t *testing.T) *world {
	t.Helper()
	s := ledgertest.Server(t)
	nc, err := s.Connect()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	j, err := journal.Open(t.Context(), nc, journal.Config{Embedded: s})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(j.Close)
	secret, _, err := proof.GenerateKey(j.Epoch())
	if err != nil {
		t.Fatal(err)
	}
	key, err := proof.ParseKey(secret)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := note.NewSigner(secret)
	if err != nil {
		t.Fatal(err)
	}
	return &world{conn: nc, journal: j, key: key, signer: signer, secret: secret, heads: make(map[ledger.Tenant]ledger.Head)}
}

// next makes a record of the tenant's next commits.
func (w *world) next(t testing.TB, tenant ledger.Tenant, commits int) written {
	t.Helper()
	var r written
	var body stelev1.Record
	head := w.heads[tenant]
	for range commits {
		epoch := w.journal.Epoch()
		p := &stelev1.Commit{
			Epoch: epoch[:], Tenant: string(tenant), Revision: uint64(head.Revision) + 1, Author: "alice",
			Changes: []*stelev1.Change{{Key: "a/b", Value: fmt.Sprint(head.Revision)}},
		}
		if head.Revision > 0 {
			p.Parent = head.ID[:]
		}
		b, err := proto.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		body.Commits = append(body.Commits, b)
		head.Revision, head.ID = head.Revision+1, ledger.IDOf(b)
		r.commits = append(r.commits, &ledger.Commit{Tenant: tenant, ID: head.ID, Encoded: b, Revision: head.Revision})
	}
	var err error
	if r.record, err = proto.Marshal(&body); err != nil {
		t.Fatal(err)
	}
	return r
}

// join makes one record of several.
func join(parts ...written) (r written) {
	for _, part := range parts {
		r.record = append(r.record, part.record...)
		r.commits = append(r.commits, part.commits...)
	}
	return r
}

// write appends a record of the tenant's next commits to the journal.
func (w *world) write(t testing.TB, tenant ledger.Tenant, commits int) {
	t.Helper()
	w.append(t, w.next(t, tenant, commits))
}

// append appends a record to the journal.
func (w *world) append(t testing.TB, r written) {
	t.Helper()
	seq, err := w.journal.Append(context.Background(), ledger.Sequence(len(w.written)), r.record)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range r.commits {
		w.heads[c.Tenant] = ledger.Head{Revision: c.Revision, ID: c.ID, Sequence: seq}
	}
	w.written = append(w.written, r)
}

// leaves are the tree's, in order.
func (w *world) leaves() []tlog.Hash {
	var out []tlog.Hash
	for _, r := range w.written {
		for _, c := range r.commits {
			out = append(out, tlog.Hash(c.ID))
		}
	}
	return out
}

// remake replaces the journal by one that holds these records.
func (w *world) remake(t *testing.T, records []written) {
	t.Helper()
	js, err := jetstream.New(w.conn)
	if err != nil {
		t.Fatal(err)
	}
	const name = "STELE"
	s, err := js.Stream(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	// The server removes the folder of all streams with the last one, and can remove it from
	// under a new one.
	if _, err := js.CreateOrUpdateStream(t.Context(), jetstream.StreamConfig{Name: "KEEPS-THE-FOLDER"}); err != nil {
		t.Fatal(err)
	}
	if err := js.DeleteStream(t.Context(), name); err != nil {
		t.Fatal(err)
	}
	ledgertest.RecreateStream(t, js, s.CachedInfo().Config)
	// All at once: a tree that follows must not take it for a shorter journal meanwhile.
	var sent []jetstream.PubAckFuture
	for _, r := range records {
		f, err := js.PublishAsync("stele.journal.v1", r.record)
		if err != nil {
			t.Fatal(err)
		}
		sent = append(sent, f)
	}
	for _, f := range sent {
		select {
		case <-f.Ok():
		case err := <-f.Err():
			t.Fatal(err)
		case <-time.After(time.Minute):
			t.Fatal("the journal does not take the records")
		}
	}
}

// checkpoints are all that are in the stream, verified.
func (w *world) checkpoints(t *testing.T) []proof.Checkpoint {
	t.Helper()
	v, err := proof.ParseVerifier(w.key.Public())
	if err != nil {
		t.Fatal(err)
	}
	js, err := jetstream.New(w.conn)
	if err != nil {
		t.Fatal(err)
	}
	s, err := js.Stream(t.Context(), "STELE-CHECKPOINTS")
	if err != nil {
		t.Fatal(err)
	}
	var out []proof.Checkpoint
	for seq := uint64(1); ; seq++ {
		m, err := s.GetMsg(t.Context(), seq, jetstream.WithGetMsgSubject("stele.checkpoints.v1.tree"))
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		c, err := proof.Open(string(m.Data), v)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, c)
		seq = m.Sequence
	}
}

func (w *world) side(t *testing.T) *journal.AuxStream {
	t.Helper()
	side, err := w.journal.OpenAuxStream(t.Context(), journal.Checkpoints)
	if err != nil {
		t.Fatal(err)
	}
	return side
}

// follow opens a tree and has it follow the journal.
func (w *world) follow(t *testing.T, path string) *proof.Tree {
	t.Helper()
	tree := open(t, path)
	if err := tree.Follow(w.journal); err != nil {
		t.Fatal(err)
	}
	return tree
}

// sign is follow with a signer.
func (w *world) sign(t *testing.T, path string) *proof.Tree {
	t.Helper()
	tree := w.follow(t, path)
	if err := tree.Sign(w.side(t), w.key); err != nil {
		t.Fatal(err)
	}
	return tree
}

func open(t *testing.T, path string) *proof.Tree {
	t.Helper()
	tree, err := proof.OpenTree(proof.Config{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { shut(t, tree) })
	return tree
}

func shut(t *testing.T, tree *proof.Tree) {
	t.Helper()
	if err := tree.Close(); err != nil {
		t.Fatal(err)
	}
}

func (w *world) path(t *testing.T) string { return filepath.Join(t.TempDir(), "tree.db") }

// awaitTree waits until the tree holds what the journal holds, and compares them.
func (w *world) awaitTree(t *testing.T, tree *proof.Tree) {
	t.Helper()
	leaves := w.leaves()
	want := mth(leaves).String()
	eventually(t, "the tree holds the journal", func() bool {
		if err := tree.Stopped(); err != nil {
			t.Fatal(err)
		}
		size, root, err := tree.Root()
		if err != nil || size < int64(len(leaves)) { // it is being built
			return false
		}
		if size != int64(len(leaves)) || root != want {
			t.Fatalf("the root with %d commits is %s, want %s with %d", size, root, want, len(leaves))
		}
		return true
	})
}

// awaitSigned waits until a checkpoint covers what was written.
func (w *world) awaitSigned(t *testing.T, tree *proof.Tree) {
	t.Helper()
	size := int64(len(w.leaves()))
	eventually(t, "a checkpoint covers everything", func() bool {
		if err := tree.Stopped(); err != nil {
			t.Fatal(err)
		}
		c, _ := tree.Newest()
		return c.Size == size
	})
}

// size is how many commits the tree has.
func size(t *testing.T, tree *proof.Tree) int64 {
	t.Helper()
	n, ok := tree.Size()
	if !ok {
		t.Fatal("the tree does not exist yet")
	}
	return n
}

// awaitStop waits until the tree stops, and returns why.
func awaitStop(t *testing.T, tree *proof.Tree) error {
	t.Helper()
	eventually(t, "the tree stops", func() bool { return tree.Stopped() != nil })
	return tree.Stopped()
}

// mth is RFC 6962's Merkle tree hash, as it is written there.
func mth(leaves []tlog.Hash) tlog.Hash {
	switch n := len(leaves); n {
	case 0:
		return sha256.Sum256(nil)
	case 1:
		return leaves[0]
	default:
		k := 1
		for 2*k < n {
			k *= 2
		}
		return tlog.NodeHash(mth(leaves[:k]), mth(leaves[k:]))
	}
}

// eventually polls until the condition holds, for at most a minute.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !holds(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not in time: %s", what)
		}
	}
}

// asides are the files that were set aside.
func asides(t *testing.T, path string) []string {
	t.Helper()
	found, err := filepath.Glob(path + ".damaged-*")
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	b, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, b, 0o600); err != nil {
		t.Fatal(err)
	}
}
