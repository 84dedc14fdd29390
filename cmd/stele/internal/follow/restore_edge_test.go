package follow_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/stelehq/stele/cmd/stele/internal/certs"
	"github.com/stelehq/stele/cmd/stele/internal/conn"
	"github.com/stelehq/stele/cmd/stele/internal/follow"
	"github.com/stelehq/stele/internal/gateway/identity"
	"github.com/stelehq/stele/internal/gateway/replication"
	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/replica"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"pgregory.net/rapid"
)

// edge is the replica of an edge gateway.
type edge struct {
	replica *replica.Replica
	client  *replication.Client
}

func (w *restored) edge(dir string) *edge {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		w.t.Fatal(err)
	}
	e := &edge{client: replication.NewClient(replication.Config{
		Addresses: []string{w.address}, Self: &stelev1.GatewayID{Id: make([]byte, 16), Address: "edge"}, Pin: replication.Pin(dir), Log: slog.New(slog.DiscardHandler),
		Dial: func(a string) (*grpc.ClientConn, error) {
			return conn.Dial(a, certs.Files{}, func() (string, error) {
				return w.mint(identity.Claims{Subject: "edge", Replicates: []string{identity.AllTenants}}), nil
			})
		},
		Forward: func(a string) (*grpc.ClientConn, error) {
			return conn.Dial(a, certs.Files{}, func() (string, error) { return "", nil })
		},
	})}
	var err error
	if e.replica, err = replica.Open(replica.Config{Path: filepath.Join(dir, "replica.db")}); err != nil {
		w.t.Fatal(err)
	}
	e.replica.FollowUpstream(e.client)
	return e
}

func (e *edge) close() error { return errors.Join(e.replica.Close(), e.client.Close()) }

// ids are the commits that a replica has of the tenant.
func (e *edge) ids() (ids []ledger.CommitID) {
	for rec, err := range e.replica.TenantRecords("acme", 0) {
		if err != nil {
			break // it has none yet
		}
		ids = append(ids, ledger.IDOf(rec.Encoded))
	}
	return ids
}

// wait waits until the edge has the head.
func (e *edge) wait(ctx context.Context, t *rapid.T, head *stelev1.GetHeadResponse) {
	eventually(ctx, t, func() bool {
		ids := e.ids()
		return len(ids) > 0 && string(ids[len(ids)-1][:]) == string(head.Id)
	}, func() string {
		return fmt.Sprintf("the edge has %x, and the ledger %x: %v", e.ids(), head.Id, e.client.Status())
	})
}

// check checks that the edge has the ledger's commits, or keeps the lost commits and says so.
func (e *edge) check(ctx context.Context, t *rapid.T, changed bool, before []ledger.CommitID, now *stelev1.GetHeadResponse) {
	if !changed {
		e.wait(ctx, t, now)
		return
	}
	// "not the upstream's", or "behind" while the ledger has not got as far as the edge.
	eventually(ctx, t, func() bool {
		trouble := e.client.Status()[0].Error
		return strings.Contains(trouble, "history is not the upstream's") || strings.Contains(trouble, "behind") || strings.Contains(trouble, "not got that far")
	}, func() string { return fmt.Sprintf("the edge does not report another history: %v", e.client.Status()) })
	if !slices.Equal(e.ids(), before) {
		t.Errorf("the edge had %x, and has %x", before, e.ids())
	}
}

// watchAll is "stele watch --all-tenants". It ends when its context does, or the history changes.
func (w *restored) watchAll(ctx context.Context) *watcher {
	c, err := conn.Dial(w.address, certs.Files{}, func() (string, error) {
		return w.mint(identity.Claims{Subject: "olga", Roles: []identity.Role{identity.Operator}}), nil
	})
	if err != nil {
		w.t.Fatal(err)
	}
	watch := &watcher{commits: make(map[uint64]string), ended: make(chan error, 1)}
	start := uint64(0)
	go func() {
		defer c.Close()
		watch.ended <- follow.All(ctx, follow.AllConfig{
			Client: stelev1.NewLedgerClient(c), After: &start,
			Commit: func(c *stelev1.PlacedCommit) error {
				watch.mu.Lock()
				defer watch.mu.Unlock()
				watch.seen = c.Info.Commit.Revision
				watch.commits[watch.seen] = fmt.Sprintf("%x", c.Info.Id)
				return nil
			},
			Lost: func(error, string) {},
		})
	}()
	return watch
}

// pages are page tokens of lists that begin at the head.
type pages struct{ keys, commits, all string }

func (w *restored) pages(ctx context.Context) (p pages) {
	keys, err := w.config.List(w.as(ctx), &stelev1.ListRequest{PageSize: 1})
	if err != nil {
		w.t.Fatal(err)
	}
	commits, err := w.ledger.ListCommits(w.as(ctx), &stelev1.ListCommitsRequest{PageSize: 1})
	if err != nil {
		w.t.Fatal(err)
	}
	all, err := w.ledger.ListAllCommits(w.asOperator(ctx), &stelev1.ListAllCommitsRequest{PageSize: 1})
	if err != nil {
		w.t.Fatal(err)
	}
	return pages{keys.NextPageToken, commits.NextPageToken, all.NextPageToken}
}

// check continues the lists. A list whose next commit, or whose state, is lost ends with
// HISTORY_CHANGED; every other continues.
func (p pages) check(ctx context.Context, w *restored, lost int) {
	for _, c := range []struct {
		name, token string
		changed     bool
		list        func() error
	}{
		{"keys", p.keys, lost > 0, func() error {
			_, err := w.config.List(w.as(ctx), &stelev1.ListRequest{PageSize: 1, PageToken: p.keys})
			return err
		}},
		{"commits", p.commits, lost > 1, func() error {
			_, err := w.ledger.ListCommits(w.as(ctx), &stelev1.ListCommitsRequest{PageSize: 1, PageToken: p.commits})
			return err
		}},
		{"all commits", p.all, lost > 1, func() error {
			_, err := w.ledger.ListAllCommits(w.asOperator(ctx), &stelev1.ListAllCommitsRequest{PageSize: 1, PageToken: p.all})
			return err
		}},
	} {
		if c.token == "" {
			continue
		}
		if err := c.list(); historyChanged(err) != c.changed || !c.changed && err != nil {
			w.t.Errorf("the next page of %s after %d lost commits: %v", c.name, lost, err)
		}
	}
}

func (w *restored) asOperator(ctx context.Context) context.Context {
	token := w.mint(identity.Claims{Subject: "olga", Roles: []identity.Role{identity.Operator}})
	return metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+token)
}

// mint makes a token with the identity of the ledger, which a restore keeps.
func (w *restored) mint(c identity.Claims) string {
	c.TTL = time.Hour
	token, err := w.signer.Mint(c)
	if err != nil {
		panic(err) // the key was opened
	}
	return token
}

// checkAll checks that the watch of all tenants has the ledger's commits, or has ended
// because the history has changed.
func (c *watcher) checkAll(t *rapid.T, changed bool, now *stelev1.GetHeadResponse) {
	c.check(t, changed, now)
	if changed {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.commits) != int(now.Snapshot.Revision) {
		t.Errorf("the watch of all tenants has %d commits of %d", len(c.commits), now.Snapshot.Revision)
	}
}

func eventually(ctx context.Context, t *rapid.T, done func() bool, text func() string) {
	for !done() {
		select {
		case <-ctx.Done():
			t.Fatal(text())
		case <-time.After(10 * time.Millisecond):
		}
	}
}
