package client_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/stelehq/stele/client"
	"github.com/stelehq/stele/client/clienttest"
	"github.com/stelehq/stele/internal/gateway/identity"
	"github.com/stelehq/stele/internal/ledger/ledgertest"
)

func TestCommit_ErrorsHaveReasons(t *testing.T) {
	s := clienttest.Start(t)
	c := open(t, s.Config("acme"))
	first := set(t, c, "a/b", 1)

	_, err := c.Ledger().Commit(t.Context(), client.ChangeSet{Set: map[string]any{"a/b": 2}, Expect: map[string]uint64{"a/b": 0}})
	var conflict *client.ConflictError
	if !errors.As(err, &conflict) || len(conflict.Conflicts) != 1 || conflict.Conflicts[0].Key != "a/b" {
		t.Errorf("the error is %v", err)
	}
	head := first.Revision + 1
	_, err = c.Ledger().Commit(t.Context(), client.ChangeSet{Set: map[string]any{"a/b": 2}, ExpectHead: &head})
	if !errors.As(err, &conflict) || len(conflict.Conflicts) != 1 || conflict.Conflicts[0].Key != "" {
		t.Errorf("the error is %v", err)
	}
	_, err = c.Ledger().Commit(t.Context(), client.ChangeSet{Set: map[string]any{"/bad": 2, "b ad": 1}})
	var invalid *client.InvalidError
	if !errors.As(err, &invalid) || len(invalid.Violations) != 2 || invalid.Violations[0].Field == "" {
		t.Errorf("the error is %v", err)
	}
	if _, err = c.Ledger().Set(t.Context(), "a/b", func() {}, ""); err == nil {
		t.Error("a function was written")
	}
	if done, err := c.Ledger().Commit(t.Context(), client.ChangeSet{Set: map[string]any{"a/b": 2}, Expect: map[string]uint64{"a/b": first.Revision}}); err != nil || done.Revision != first.Revision+1 {
		t.Errorf("committed %+v, %v", done, err)
	}

	cfg := s.Config("acme")
	cfg.Token = func(context.Context) (string, error) { return s.Token("acme", time.Hour, identity.Reader) }
	reader := open(t, cfg)
	if _, err := reader.Ledger().Set(t.Context(), "a/b", 1, ""); !errors.Is(err, client.ErrDenied) {
		t.Errorf("the error is %v", err)
	}
	reader.Close()
	if _, err := reader.Ledger().Set(t.Context(), "a/b", 1, ""); err == nil {
		t.Error("a client that is closed has written")
	}
}

// TestCommit_Limits: the largest change set is written and seen by a watch, and a larger one is
// rejected at once, also if it is larger than a message can be.
func TestCommit_Limits(t *testing.T) {
	s := clienttest.Start(t)
	c := open(t, s.Config("acme"))
	changes := func(n, size int) client.ChangeSet {
		set := client.ChangeSet{Set: make(map[string]any)}
		for i := range n {
			key := fmt.Sprintf("a/%05d", i)
			set.Set[key] = strings.Repeat("x", size/n-len(key)-len(`""`))
		}
		return set
	}
	for _, test := range []struct {
		name string
		set  client.ChangeSet
		want string
	}{
		{"10,000 keys of 3.5 MiB", changes(10_000, 7<<19), ""},
		{"one key more", changes(10_001, 1<<20), "10001 changes are more than 10000"},
		{"more than 3.5 MiB", changes(100, 7<<19+100), "more than 3670016"},
		{"more than a message", changes(100, 9<<20), "more than 3670016"},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		done, err := c.Ledger().Commit(ctx, test.set)
		var invalid *client.InvalidError
		switch {
		case test.want == "" && (err != nil || !done.Visible && c.WaitRevision(ctx, done.Revision) != nil):
			t.Errorf("%s: %+v, %v", test.name, done, err)
		case test.want != "" && (!errors.As(err, &invalid) || !strings.Contains(err.Error(), test.want)):
			t.Errorf("%s: %v", test.name, err)
		}
		cancel()
	}
}

// Answers get lost, and gateways go away: a change set is written once.
func TestCommit_RetryIsWrittenOnce(t *testing.T) {
	t.Parallel()
	s := clienttest.Start(t)
	cfg := s.Config("acme")
	net := newLink(t, cfg.Addresses[0])
	cfg.Addresses = []string{net.address}
	c := open(t, cfg)
	repeated := 0
	const commits = 25
	for i := range commits {
		breaks := time.AfterFunc(rand.N(3*time.Millisecond), net.cut)
		done, err := c.Ledger().Set(t.Context(), "a/n", i, "")
		breaks.Stop()
		if err != nil {
			t.Fatal(err)
		}
		if done.Revision != uint64(i+1) {
			t.Fatalf("commit %d has revision %d", i+1, done.Revision)
		}
		if done.Repeated {
			repeated++
		}
	}
	t.Logf("%d of %d commits were answered by a later attempt", repeated, commits)
	eventually(t, "the client has all of it", func() bool { return c.Status().Revision == commits })
}

func TestCommit_UnknownOutcome(t *testing.T) {
	s := clienttest.Start(t)
	cfg := s.Config("acme")
	net := newLink(t, cfg.Addresses[0])
	cfg.Addresses = []string{net.address}
	c := open(t, cfg)
	set(t, c, "a/b", 0)
	net.kill(true)
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	change := client.ChangeSet{Set: map[string]any{"a/b": 1}}
	_, err := c.Ledger().Commit(ctx, change)
	var unknown *client.UnknownError
	if !errors.As(err, &unknown) {
		t.Fatalf("the error is %v", err)
	}
	net.kill(false)
	change.RequestID = unknown.RequestID
	done, err := c.Ledger().Commit(t.Context(), change)
	if err != nil || done.Revision != 2 {
		t.Errorf("committed %+v, %v", done, err)
	}
}

func TestCommit_ReadOnlyGatewayIsSkipped(t *testing.T) {
	signer, n := newSigner(t), ledgertest.Start(t, ledgertest.Server(t), ledgertest.Config{})
	writable, _ := serve(t, n, signer)
	edge := *n
	edge.Ledger = nil
	readOnly, _ := serve(t, &edge, signer)
	cfg := client.Config{Addresses: []string{readOnly}, Token: minted(signer, "acme", time.Hour, identity.Writer)}
	c := open(t, cfg)
	if _, err := c.Ledger().Set(t.Context(), "a/b", 1, ""); !errors.Is(err, client.ErrReadOnly) {
		t.Errorf("the error is %v", err)
	}
	cfg.Addresses = []string{readOnly, writable}
	c = open(t, cfg)
	for i := range 5 {
		set(t, c, "a/b", i)
	}
}
