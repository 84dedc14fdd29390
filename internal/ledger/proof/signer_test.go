package proof_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/ledgertest"
	"github.com/stelehq/stele/internal/ledger/proof"
)

// Signers with the same key race for every checkpoint. All that are in the stream
// stand in one line, and are what the journal says.
func TestSign_SignersNeverFork(t *testing.T) {
	w := newWorld(t)
	const signers = 3
	trees := make([]*proof.Tree, signers)
	paths := make([]string, signers)
	for i := range trees {
		paths[i] = w.path(t)
		trees[i] = w.sign(t, paths[i])
	}
	tenants := []ledger.Tenant{"acme", "a", "globex", "umbrella"}
	for i := range 300 {
		record := w.next(t, tenants[i%len(tenants)], 1+i%3)
		if i%5 == 0 {
			record = join(record, w.next(t, tenants[(i+1)%len(tenants)], 2))
		}
		w.append(t, record)
		if i%50 == 49 { // one of them restarts, now and then with nothing
			n := i / 50 % signers
			shut(t, trees[n])
			if i%100 == 99 {
				paths[n] = w.path(t)
			}
			trees[n] = w.sign(t, paths[n])
		}
	}
	for _, tree := range trees {
		w.awaitSigned(t, tree)
	}
	leaves := w.leaves()
	all := w.checkpoints(t)
	var before proof.Checkpoint
	for _, c := range all {
		if c.Epoch != w.journal.Epoch() || c.Size <= before.Size {
			t.Errorf("after %v comes %v", before, c)
		}
		if c.Root != mth(leaves[:c.Size]) {
			t.Errorf("%v is not what the journal says", c)
		}
		before = c
	}
	if len(all) < 2 || before.Size != int64(len(leaves)) {
		t.Errorf("%d checkpoints, the last with %d of %d commits", len(all), before.Size, len(leaves))
	}
}

// stream is the real one, with a word in what happens.
type stream struct {
	proof.Stream
	before func() error // an append; its error is the append's
	after  func() error
}

func (s stream) AppendAfter(ctx context.Context, name string, expected ledger.Sequence, body []byte) (ledger.Sequence, error) {
	if err := s.before(); err != nil {
		return 0, err
	}
	seq, err := s.Stream.AppendAfter(ctx, name, expected, body)
	if err == nil {
		err = s.after()
	}
	return seq, err
}

// A process ends after it has promised a size and a root: before the signature has
// left, or after, without having learned that it arrived.
func TestSign_CheckpointSurvivesACrash(t *testing.T) {
	fine := func() error { return nil }
	for name, arrives := range map[string]bool{"the signature never left": false, "the signature arrived": true} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			path := w.path(t)
			tree := w.follow(t, path)
			w.write(t, "acme", 3)
			crash := make(chan struct{})
			var once sync.Once
			dies := func() error {
				once.Do(func() { close(crash) })
				return ledger.ErrUnknownOutcome
			}
			s := stream{w.side(t), dies, fine}
			if arrives {
				s.before, s.after = fine, dies
			}
			w.awaitTree(t, tree)
			if err := tree.Sign(s, w.key); err != nil {
				t.Fatal(err)
			}
			<-crash
			shut(t, tree)

			kept := w.path(t)
			copyFile(t, path, kept)
			tree = w.sign(t, path)
			w.awaitSigned(t, tree)
			if all := w.checkpoints(t); len(all) != 1 || all[0].Size != 3 || all[0].Root != mth(w.leaves()) {
				t.Errorf("the checkpoints are %v", all)
			}
			shut(t, tree)

			// The same file, and a journal that has not what was promised.
			other := w.next(t, "acme", 1)
			w.heads = map[ledger.Tenant]ledger.Head{}
			w.remake(t, []written{w.next(t, "acme", 2), other})
			tree = w.sign(t, kept)
			if err := awaitStop(t, tree); !proof.IsContradiction(err) {
				t.Error(err)
			}
			if all := w.checkpoints(t); len(all) != 1 {
				t.Errorf("it has signed %v", all[1:])
			}
			shut(t, tree)
		})
	}
}

// reason is why a tree has stopped.
func reason(err error) string {
	var stopped *ledger.StoppedError
	if !errors.As(err, &stopped) {
		return ""
	}
	return stopped.Reason.Error()
}

// The stream of checkpoints is lost, or is not what it was.
func TestSign_ContradictingCheckpointStream(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(t *testing.T, w *world, s jetstream.JetStream, cfg jetstream.StreamConfig)
		want   string
	}{
		"it is lost": {func(*testing.T, *world, jetstream.JetStream, jetstream.StreamConfig) {},
			"has lost the one at 6 commits: restore the stream from a backup"},
		"another key signs": {func(t *testing.T, w *world, s jetstream.JetStream, cfg jetstream.StreamConfig) {
			ledgertest.RecreateStream(t, s, cfg)
			secret, _, err := proof.GenerateKey(w.journal.Epoch())
			if err != nil {
				t.Fatal(err)
			}
			key, err := proof.ParseKey(secret)
			if err != nil {
				t.Fatal(err)
			}
			tree := w.follow(t, w.path(t))
			if err := tree.Sign(w.side(t), key); err != nil {
				t.Fatal(err)
			}
			w.awaitSigned(t, tree)
			w.write(t, "acme", 1)
			w.awaitSigned(t, tree)
			shut(t, tree)
		}, "is not signed with this process's key"},
		"an old checkpoint reappears": {func(t *testing.T, w *world, s jetstream.JetStream, cfg jetstream.StreamConfig) {
			old := proof.Checkpoint{Epoch: w.journal.Epoch(), Size: 2, Root: mth(w.leaves()[:2])}
			w.post(t, s, cfg, old, 3)
		}, "has 2 commits and the root"},
		"a checkpoint of another ledger": {func(t *testing.T, w *world, s jetstream.JetStream, cfg jetstream.StreamConfig) {
			w.post(t, s, cfg, proof.Checkpoint{Epoch: ledger.Epoch{9}, Size: 6, Root: mth(w.leaves())}, 3)
		}, "is not signed with this process's key"},
		"another root of the same size": {func(t *testing.T, w *world, s jetstream.JetStream, cfg jetstream.StreamConfig) {
			w.post(t, s, cfg, proof.Checkpoint{Epoch: w.journal.Epoch(), Size: 6, Root: mth(w.leaves()[:5])}, 3)
		}, "has 6 commits and the root"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			path := w.path(t)
			tree := w.sign(t, path)
			w.write(t, "acme", 2)
			w.awaitSigned(t, tree)
			w.write(t, "acme", 4)
			w.awaitSigned(t, tree)
			shut(t, tree)
			js, err := jetstream.New(w.conn)
			if err != nil {
				t.Fatal(err)
			}
			s, err := js.Stream(t.Context(), "STELE-CHECKPOINTS")
			if err != nil {
				t.Fatal(err)
			}
			if err := js.DeleteStream(t.Context(), "STELE-CHECKPOINTS"); err != nil {
				t.Fatal(err)
			}
			tc.change(t, w, js, s.CachedInfo().Config)
			tree = w.sign(t, path)
			if err := awaitStop(t, tree); !errors.Is(err, proof.ErrStopped) || !strings.Contains(reason(err), tc.want) {
				t.Errorf("stopped because %q, want %q", err, tc.want)
			}
			shut(t, tree)
		})
	}
}

// post creates the stream again and fills it with one checkpoint.
func (w *world) post(t *testing.T, js jetstream.JetStream, cfg jetstream.StreamConfig, c proof.Checkpoint, times int) {
	t.Helper()
	ledgertest.RecreateStream(t, js, cfg)
	signed, err := c.Sign(w.signer)
	if err != nil {
		t.Fatal(err)
	}
	for range times {
		if _, err := js.Publish(t.Context(), "stele.checkpoints.v1.tree", []byte(signed)); err != nil {
			t.Fatal(err)
		}
	}
}

func TestOpen_KeyOfAnotherLedger(t *testing.T) {
	w := newWorld(t)
	secret, public, err := proof.GenerateKey(ledger.Epoch{9})
	if err != nil {
		t.Fatal(err)
	}
	key, err := proof.ParseKey(secret + "\n")
	if err != nil {
		t.Fatal(err)
	}
	if key.Public() != public {
		t.Errorf("the public key is %s, want %s", key.Public(), public)
	}
	tree := w.follow(t, w.path(t))
	if err := tree.Sign(w.side(t), key); !errors.Is(err, proof.ErrOtherLedger) {
		t.Errorf("sign with the key of another ledger: %v", err)
	}
	for _, s := range []string{"", "x", public, secret[:len(secret)-4]} {
		if _, err := proof.ParseKey(s); err == nil {
			t.Errorf("%q is taken for a key", s)
		}
	}
}
