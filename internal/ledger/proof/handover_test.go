package proof_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/proof"
	"golang.org/x/mod/sumdb/note"
)

// successor makes another key of the ledger, and returns the old and the new one as lines
// of a key file.
func (w *world) successor(t *testing.T) (old, next string) {
	t.Helper()
	secret, _, err := proof.GenerateKey(w.journal.Epoch())
	if err != nil {
		t.Fatal(err)
	}
	return w.secret + "\n", secret + "\n"
}

func (w *world) signWith(t *testing.T, stream proof.Stream, secret string) *proof.Tree {
	t.Helper()
	key, err := proof.ParseKey(secret)
	if err != nil {
		t.Fatal(err)
	}
	tree := w.follow(t, w.path(t))
	if err := tree.Sign(stream, key); err != nil {
		t.Fatal(err)
	}
	return tree
}

func verifier(t *testing.T, text string) proof.Verifier {
	t.Helper()
	v, err := proof.ParseVerifier(text)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// awaitKeys waits until the tree's newest checkpoint is verified by n keys.
func awaitKeys(t *testing.T, tree *proof.Tree, n int) proof.Signed {
	t.Helper()
	var c proof.Signed
	eventually(t, "the keys are handed over", func() bool {
		if err := tree.Stopped(); err != nil {
			t.Fatal(err)
		}
		c, _ = tree.Newest()
		return strings.Count(c.Keys, "successor ") == n-1 && c.Size > 0
	})
	return c
}

// A verifier with only the first key verifies signatures of the second one, and the first key
// signs nothing more, in no process.
func TestSign_KeyHandsOverToSuccessor(t *testing.T) {
	w := newWorld(t)
	old, next := w.successor(t)
	first := w.signWith(t, w.side(t), old)
	w.write(t, "acme", 2)
	w.awaitSigned(t, first)

	second := w.signWith(t, w.side(t), old+next)
	handover := awaitKeys(t, second, 2)
	w.write(t, "acme", 3)
	w.awaitSigned(t, second)
	third := w.signWith(t, w.side(t), next)
	w.write(t, "acme", 1)
	for _, tree := range []*proof.Tree{first, second, third} { // the first process serves what the others sign
		w.awaitSigned(t, tree)
	}
	newest, _ := first.Newest()
	pinned := verifier(t, w.key.Public())
	if _, err := proof.Open(newest.Note, pinned); !errors.Is(err, proof.ErrInvalid) {
		t.Errorf("the first key alone verifies the second one's checkpoint: %v", err)
	}
	all, err := pinned.Extend(newest.Keys)
	if err != nil {
		t.Fatal(err)
	}
	if c, err := proof.Open(newest.Note, all); err != nil || c.Size != 6 {
		t.Errorf("%v, %v", c, err)
	}
	if all.String() != pinned.String() || all.Fingerprint() != pinned.Fingerprint() {
		t.Errorf("the key that was given is %s, want %s", all, pinned)
	}
	if c, err := proof.Open(handover.Note, all); err != nil {
		t.Errorf("the newest at the handover: %v, %v", c, err)
	}
	// The new key alone vouches for the old one.
	if _, err := verifier(t, all.Newest()).Extend(all.Keys()); err != nil {
		t.Error(err)
	}

	// A thief of the old key cannot sign commits after the handover.
	root := mth(w.leaves())
	for size, valid := range map[int64]bool{2: true, 6: false} {
		forged, err := proof.Checkpoint{Epoch: w.journal.Epoch(), Size: size, Root: root}.Sign(w.signer)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := proof.Open(forged, all); (err == nil) != valid {
			t.Errorf("signed with the old key at %d commits: %v", size, err)
		}
	}
	// Another successor than the one that is known is refused.
	_, other := w.successor(t)
	fork := forked(t, w, old+other)
	if _, err := all.Extend(fork); !errors.Is(err, proof.ErrInvalid) {
		t.Errorf("two successors of a key: %v", err)
	}
}

// forked returns the keys after a handover that is in no ledger.
func forked(t *testing.T, w *world, secrets string) string {
	t.Helper()
	lines := strings.Fields(secrets)
	next, err := proof.ParseKey(lines[1])
	if err != nil {
		t.Fatal(err)
	}
	signed, err := proof.Checkpoint{Epoch: w.journal.Epoch(), Size: 2, Root: mth(w.leaves()[:2]), Successor: next.Public()}.Sign(w.signer, signerOf(t, lines[1]))
	if err != nil {
		t.Fatal(err)
	}
	v, err := verifier(t, w.key.Public()).Succeed(signed)
	if err != nil {
		t.Fatal(err)
	}
	return v.Keys()
}

// halfway is a stream that does not take the list of keys, like a process that is killed
// right after its handover.
type halfway struct{ proof.Stream }

func (h halfway) AppendAfter(ctx context.Context, name string, expected ledger.Sequence, body []byte) (ledger.Sequence, error) {
	if name == proof.KeysName {
		return 0, ledger.ErrUnavailable
	}
	return h.Stream.AppendAfter(ctx, name, expected, body)
}

// A process is killed in the middle of the handover. Any process that comes next, with the old
// key, the new one or both, finishes it.
func TestSign_HandoverIsFinishedAfterACrash(t *testing.T) {
	for name, keys := range map[string]func(old, next string) string{
		"both keys":    func(old, next string) string { return old + next },
		"only the old": func(old, _ string) string { return old },
		"only the new": func(_, next string) string { return next },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			old, next := w.successor(t)
			tree := w.signWith(t, w.side(t), old)
			w.write(t, "acme", 2)
			w.awaitSigned(t, tree)
			shut(t, tree)
			tree = w.signWith(t, halfway{w.side(t)}, old+next)
			eventually(t, "the handover is in the stream", func() bool {
				_, body, err := w.side(t).Last(t.Context(), proof.CheckpointName)
				return err == nil && strings.Contains(string(body), "successor ")
			})
			shut(t, tree)
			w.write(t, "acme", 1)
			again := w.signWith(t, w.side(t), keys(old, next))
			if name == "only the new" { // it waits for one that can say where its key comes from
				w.signWith(t, w.side(t), old)
			}
			awaitKeys(t, again, 2)
			if name != "only the old" {
				w.awaitSigned(t, again)
			}
			last := w.signWith(t, w.side(t), next)
			w.awaitSigned(t, last)
			if c, _ := last.Newest(); c.Keys == "" || !strings.HasPrefix(c.Keys, w.key.Public()+"\n") {
				t.Errorf("the keys begin with another than the first: %q", c.Keys)
			}
		})
	}
}

func TestVerifier_ReadsWhatItWrites(t *testing.T) {
	w := newWorld(t)
	old, next := w.successor(t)
	w.write(t, "acme", 2)
	text := forked(t, w, old+next)
	v := verifier(t, text)
	if v.Keys() != text {
		t.Errorf("read %q, wrote %q", text, v.Keys())
	}
	for i := range len(text) {
		b := []byte(text)
		b[i] ^= 1
		if v, err := proof.ParseVerifier(string(b)); err == nil {
			t.Errorf("byte %d changed: %q is read", i, v.Keys())
		}
	}
	for _, bad := range []string{"", "\n", text + "\n" + text, text[:len(text)-2], "x\n\n" + text} {
		if _, err := proof.ParseVerifier(bad); err == nil {
			t.Errorf("%q is read", bad)
		}
	}
	// The key alone still signs anything except a handover, and a handover needs both.
	alone, err := proof.Checkpoint{Epoch: w.journal.Epoch(), Size: 2, Root: mth(w.leaves()), Successor: v.Newest()}.Sign(w.signer)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := verifier(t, w.key.Public()).Succeed(alone); !errors.Is(err, proof.ErrInvalid) {
		t.Errorf("a handover that the successor did not sign: %v", err)
	}
}

func signerOf(t *testing.T, secret string) note.Signer {
	t.Helper()
	s, err := note.NewSigner(secret)
	if err != nil {
		t.Fatal(err)
	}
	return s
}
