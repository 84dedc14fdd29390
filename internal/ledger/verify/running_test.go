package verify_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/journal"
	"github.com/stelehq/stele/internal/ledger/ledgertest"
	"github.com/stelehq/stele/internal/ledger/proof"
	"github.com/stelehq/stele/internal/ledger/verify"
)

// startSigner makes a tree that follows and signs, and answers backups.
func startSigner(t *testing.T, n *ledgertest.Node) *proof.Tree {
	t.Helper()
	checkpoints, err := n.Journal.OpenAuxStream(t.Context(), journal.Checkpoints)
	if err != nil {
		t.Fatal(err)
	}
	return startSignerOf(t, n, &endOf{n.Journal, n.Journal.Last}, checkpoints)
}

// endOf is a journal of which tests delay the questions where it ends.
type endOf struct {
	*journal.Journal
	last func(context.Context) (ledger.Sequence, error)
}

func (j *endOf) Last(ctx context.Context) (ledger.Sequence, error) { return j.last(ctx) }

// startSignerOf makes a tree that follows a journal and signs in a stream, and answers backups.
func startSignerOf(t *testing.T, n *ledgertest.Node, j *endOf, checkpoints proof.Stream) *proof.Tree {
	t.Helper()
	secret, _, err := proof.GenerateKey(n.Journal.Epoch())
	if err != nil {
		t.Fatal(err)
	}
	key, err := proof.ParseKey(secret)
	if err != nil {
		t.Fatal(err)
	}
	tree, err := proof.OpenTree(proof.Config{Path: filepath.Join(t.TempDir(), "tree.db")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tree.Close() })
	if err := errors.Join(tree.Follow(j), tree.Sign(checkpoints, key)); err != nil {
		t.Fatal(err)
	}
	s, err := verify.ServeTree(n.Conn, tree)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return tree
}

func commitMany(t *testing.T, n *ledgertest.Node, commits int, what string) {
	t.Helper()
	for i := range commits {
		_, err := n.Ledger.Commit(t.Context(), "acme", ledger.ChangeSet{Author: "ann", Changes: []ledger.Change{{Key: "tag/a", Value: ledger.Value(fmt.Sprintf(`"%s %d"`, what, i))}}})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// signedUpTo waits until the newest checkpoint covers as many commits.
func signedUpTo(t *testing.T, tree *proof.Tree, size int64) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; {
		c, newer := tree.Newest()
		if c.Size >= size {
			return
		}
		select {
		case <-newer:
		case <-time.After(time.Until(deadline)):
			t.Fatalf("the newest checkpoint covers %d of %d commits", c.Size, size)
		}
	}
}

// backUp backs up the ledger of a node, and returns what does not verify.
func backUp(t *testing.T, n *ledgertest.Node, dir string, seen *verify.Seen) (found []string) {
	t.Helper()
	_, err := journal.TakeBackup(t.Context(), n.Conn, dir, func(ctx context.Context, b *journal.BackupReader) error {
		report, err := verify.Backup(ctx, b, seen)
		if err != nil {
			return err
		}
		for _, f := range report.Findings {
			found = append(found, f.String())
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// A backup whose journal has lost or changed messages is a whole ledger by itself, with checkpoints
// that it extends. Only the process that has seen the messages knows.
func TestBackup_ComparedWithTheRunningLedger(t *testing.T) {
	n := ledgertest.Start(t, ledgertest.Server(t), ledgertest.Config{})
	tree := startSigner(t, n)
	commitMany(t, n, 5, "before")
	signedUpTo(t, tree, 5)
	early := filepath.Join(t.TempDir(), "early")
	if found := backUp(t, n, early, nil); len(found) > 0 {
		t.Fatal(found)
	}
	commitMany(t, n, 3, "after")
	seen, err := verify.AskTree(t.Context(), n.Conn)
	if err != nil || seen.Tree.Size != 8 || seen.Newest.Size < 5 {
		t.Fatalf("the running ledger has seen %+v, %v", seen, err)
	}
	if found := backUp(t, n, filepath.Join(t.TempDir(), "backup"), seen); len(found) > 0 {
		t.Errorf("a whole ledger: %q", found)
	}
	signedUpTo(t, tree, 8)
	signed, err := verify.AskTree(t.Context(), n.Conn)
	if err != nil || !signed.Verified || signed.Newest.Size != 8 {
		t.Fatalf("the running ledger has seen %+v, %v", signed, err)
	}
	for _, test := range []struct {
		name   string
		others int // commits instead of those that are lost
		seen   *verify.Seen
		want   []string
	}{
		{"lost", 0, &verify.Seen{Tree: seen.Tree}, []string{"the tree of the running ledger: it states 8 commits, and the journal has 5: the journal was cut"}},
		{"changed", 3, &verify.Seen{Tree: seen.Tree}, []string{"the tree of the running ledger: it says that the root of the first 8 commits is "}},
		{"changed, and longer", 4, &verify.Seen{Tree: seen.Tree}, []string{"the tree of the running ledger: it says that the root of the first 8 commits is "}},
		{"checkpoint", 0, signed, []string{
			"STELE-CHECKPOINTS: the newest checkpoint, of 8 commits, is missing",
			"the tree of the running ledger: it states 8 commits, ",
			"the newest checkpoint of the running ledger: it states 8 commits, ",
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := ledgertest.Server(t)
			nc, err := s.Connect()
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(nc.Close)
			if _, err := journal.Restore(t.Context(), nc, early, 1); err != nil {
				t.Fatal(err)
			}
			other := ledgertest.Start(t, s, ledgertest.Config{})
			commitMany(t, other, test.others, "instead")
			if _, err := verify.AskTree(t.Context(), other.Conn); !errors.Is(err, verify.ErrNoTree) {
				t.Errorf("a ledger without a tree answers: %v", err)
			}
			if found := backUp(t, other, filepath.Join(t.TempDir(), "unseen"), nil); len(found) > 0 {
				t.Errorf("by itself: %q", found)
			}
			found := backUp(t, other, filepath.Join(t.TempDir(), "backup"), test.seen)
			if len(found) != len(test.want) {
				t.Fatalf("found %q, want %q", found, test.want)
			}
			for i, want := range test.want {
				if !strings.HasPrefix(found[i], want) {
					t.Errorf("found %q, want %q", found[i], want)
				}
			}
		})
	}
}

// withheld is a stream of checkpoints that cannot be read until it is released.
type withheld struct {
	proof.Stream
	released atomic.Bool
}

func (s *withheld) Last(ctx context.Context, name string) (ledger.Sequence, []byte, error) {
	if !s.released.Load() {
		return 0, nil, ledger.ErrUnavailable
	}
	return s.Stream.Last(ctx, name)
}

// A process that has not read the checkpoints yet does not say that there are none.
func TestAskTree_CheckpointsAreNotReadYet(t *testing.T) {
	n := ledgertest.Start(t, ledgertest.Server(t), ledgertest.Config{})
	checkpoints, err := n.Journal.OpenAuxStream(t.Context(), journal.Checkpoints)
	if err != nil {
		t.Fatal(err)
	}
	stream := &withheld{Stream: checkpoints}
	startSignerOf(t, n, &endOf{n.Journal, n.Journal.Last}, stream)
	seen, err := verify.AskTree(t.Context(), n.Conn)
	if err != nil || seen.Verified {
		t.Fatalf("before it has read the checkpoints: %+v, %v", seen, err)
	}
	stream.released.Store(true)
	for deadline := time.Now().Add(time.Minute); !seen.Verified; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the process never has read the checkpoints")
		}
		if seen, err = verify.AskTree(t.Context(), n.Conn); err != nil {
			t.Fatal(err)
		}
	}
	if seen.Newest.Size != 0 {
		t.Errorf("an empty ledger has the checkpoint %+v", seen.Newest)
	}
}

// A process answers a few questions at a time and refuses more, and ignores messages that cannot be
// answered.
func TestServeTree_ManyQuestions(t *testing.T) {
	const atOnce = 4
	n := ledgertest.Start(t, ledgertest.Server(t), ledgertest.Config{})
	var begun, slow atomic.Int64 // slow is how many questions take until they are released
	release := make(chan struct{})
	startSignerOf(t, n, &endOf{n.Journal, func(ctx context.Context) (ledger.Sequence, error) {
		if _, asked := ctx.Deadline(); asked && begun.Add(1) <= slow.Load() { // the tree asks without one
			select {
			case <-release:
			case <-ctx.Done():
				return 0, ctx.Err()
			}
		}
		return n.Journal.Last(ctx)
	}}, new(withheld))

	for range 10 {
		if err := n.Conn.Publish(verify.TreeSubject, nil); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := verify.AskTree(t.Context(), n.Conn); err != nil || begun.Load() != 1 {
		t.Errorf("after messages that cannot be answered: %v, %d questions", err, begun.Load())
	}

	begun.Store(0)
	slow.Store(1)
	answers, err := n.Conn.SubscribeSync(n.Conn.NewInbox())
	if err != nil {
		t.Fatal(err)
	}
	ask := func() {
		t.Helper()
		if err := n.Conn.PublishRequest(verify.TreeSubject, answers.Subject, nil); err != nil {
			t.Fatal(err)
		}
	}
	next := func() string {
		t.Helper()
		m, err := answers.NextMsg(30 * time.Second)
		if err != nil {
			t.Fatal(err)
		}
		return string(m.Data)
	}
	ask()
	for begun.Load() == 0 {
		time.Sleep(time.Millisecond)
	}
	if _, err := verify.AskTree(t.Context(), n.Conn); err != nil {
		t.Errorf("next to a slow question: %v", err)
	}
	select {
	case release <- struct{}{}:
	case <-time.After(30 * time.Second):
		t.Fatal("the slow question has ended")
	}
	if a := next(); !strings.Contains(a, `"tree":`) {
		t.Errorf("the slow question: %s", a)
	}

	begun.Store(0)
	slow.Store(100)
	for range 10 * atOnce {
		ask()
	}
	for range 8 * atOnce {
		if a := next(); !strings.Contains(a, "too many other questions") {
			t.Errorf("more questions than are answered: %s", a)
		}
	}
	if n := begun.Load(); n > atOnce {
		t.Errorf("%d questions are being answered", n)
	}
	close(release)
	for range 2 * atOnce {
		next()
	}
}

// Users of NATS servers whose permissions do not have the subject.
func TestAskTree_Permissions(t *testing.T) {
	denied := &server.SubjectPermission{Deny: []string{verify.TreeSubject}}
	opts := &server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, NoSigs: true, Users: []*server.User{
		{Username: "all", Password: "x"},
		{Username: "mute", Password: "x", Permissions: &server.Permissions{Publish: denied}},
		{Username: "deaf", Password: "x", Permissions: &server.Permissions{Subscribe: denied}},
		{Username: "silent", Password: "x", Permissions: &server.Permissions{Publish: &server.SubjectPermission{Deny: []string{"_INBOX.>"}}}},
	}}
	s, err := server.NewServer(opts)
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	if !s.ReadyForConnections(time.Minute) {
		t.Fatal("the server does not start")
	}
	connect := func(user string) *nats.Conn {
		nc, err := nats.Connect(s.ClientURL(), nats.UserInfo(user, "x"), nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(nc.Close)
		return nc
	}
	for _, test := range []struct {
		name, backup, signer string
		timeout              time.Duration
		is                   error
		text                 string
	}{
		{"of the backup", "mute", "all", time.Minute, nats.ErrPermissionViolation, "give the user the permissions of the role backup that stele nats-permissions prints"},
		{"of the signer, to receive", "all", "deaf", time.Minute, verify.ErrNoTree, "the permission to subscribe to stele.tree.v1"},
		{"of the signer, to answer", "all", "silent", time.Second, context.DeadlineExceeded, "received the question, and did not answer"},
	} {
		t.Run(test.name, func(t *testing.T) {
			signer := connect(test.signer)
			sub, err := signer.Subscribe(verify.TreeSubject, func(m *nats.Msg) { _ = m.Respond([]byte("{}")) })
			if err != nil {
				t.Fatal(err)
			}
			defer sub.Unsubscribe()
			if err := signer.Flush(); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), test.timeout)
			defer cancel()
			if _, err := verify.AskTree(ctx, connect(test.backup)); !errors.Is(err, test.is) || !strings.Contains(err.Error(), test.text) {
				t.Errorf("it is reported as %v", err)
			}
		})
	}
}
