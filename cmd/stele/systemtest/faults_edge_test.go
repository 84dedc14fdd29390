//go:build faults

package systemtest

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stelehq/stele/internal/gateway/identity"
	"github.com/stelehq/stele/internal/ledger"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// TestEdge_ServesWithoutTheJournal kills every server of the journal under an edge
// gateway's upstream.
func TestEdge_ServesWithoutTheJournal(t *testing.T) {
	begun := time.Now()
	nodes := startCluster(t, 3)
	writer := nodes.join(t, "ledger,gateway")
	e := &edge{writer: writer, gateway: joinEdge(t, writer)}
	const commits = 50
	for _, outage := range []struct {
		name    string
		restart func() // of the gateway, in the outage
	}{
		{"it continues", func() {}},
		{"it is stopped and started", func() { e.gateway.stop(t); e.gateway.start(t) }},
		{"it is killed and started", func() { e.gateway.kill(); e.gateway.start(t) }},
	} {
		// Commits that a gateway has not written to its file yet are lost after a kill.
		written := changed(filepath.Join(e.gateway.data, "replica.db"))
		e.write(t, commits)
		e.current(t)
		await(t, "a write of the replica", written)

		for _, s := range nodes.servers {
			s.kill()
		}
		away := time.Now()
		outage.restart()
		reads, age := e.readWithout(t, away, 3*time.Second)
		e.refused(t)
		head := len(e.links)

		nodes.start(t)
		back := time.Now()
		e.write(t, commits)
		e.current(t)
		fmt.Printf("edge gateway, all 3 nats-servers killed, %s: %d of %d reads answered with the state of @%d, their age never less than the outage's, at the end %s; "+
			"with the servers back it caught up to @%d by itself, in %s with the writes\n",
			outage.name, reads, reads, head, age.Round(time.Millisecond), len(e.links), time.Since(back).Round(time.Millisecond))
	}
	want := walk(t, e.writer.gateway, acme, uint64(len(e.links)))
	got := walk(t, e.gateway.gateway, acme, uint64(len(e.links)))
	for i, l := range e.links {
		if want[i] != l || got[i] != l {
			t.Fatalf("@%d was acknowledged as %v; the ledger has %v, the edge %v", i+1, l, want[i], got[i])
		}
	}
	fmt.Printf("edge gateway: its %d commits are the acknowledged ones; %s\n", len(got), time.Since(begun).Round(time.Second))
}

// joinEdge starts an edge gateway that replicates acme from the member. It checks tokens
// with the member's keys.
func joinEdge(t *testing.T, upstream *member) *member {
	t.Helper()
	dir, keys := t.TempDir(), filepath.Join(filepath.Dir(upstream.data), "identity")
	signer, err := identity.OpenSigner(keys)
	if err != nil {
		t.Fatal(err)
	}
	token, err := signer.Mint(identity.Claims{Subject: "edge", Replicates: []string{string(acme)}, TTL: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "token")
	if err := os.WriteFile(file, []byte(token), 0o600); err != nil {
		t.Fatal(err)
	}
	m := &member{data: filepath.Join(dir, "data"), contexts: filepath.Join(dir, "config.yaml"), token: upstream.token}
	m.args = []string{
		"serve", "--data", m.data, "--roles", "gateway", "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0", "--web", "127.0.0.1:0",
		"--upstream", strings.TrimPrefix(upstream.conn.Target(), "gateways:///"), "--token-file", file, "--tenants", string(acme),
		"--jwks", filepath.Join(keys, "jwks.json"), "--issuer", identity.LocalIssuer, "--audience", identity.LocalAudience,
	}
	m.start(t)
	return m
}

// edge is an edge gateway, and a ledger that writes what it serves.
type edge struct {
	writer, gateway *member
	links           []link // acknowledged
}

// keys that the writes go round.
const edgeKeys = 7

func edgeKey(revision int) string { return fmt.Sprintf("paramconfig/edge/%d", revision%edgeKeys) }

// write adds commits; @n sets its key to n.
func (e *edge) write(t *testing.T, n int) {
	t.Helper()
	for range n {
		revision := len(e.links) + 1
		id := fmt.Sprint("edge/", revision)
		resp := untilUp(t, acting(t, acme), e.writer.ledger.Commit, &stelev1.CommitRequest{
			RequestId: id, Changes: []*stelev1.Change{{Key: edgeKey(revision), Value: fmt.Sprint(revision)}},
		})
		if resp.Revision != uint64(revision) {
			t.Fatalf("commit %d became @%d", revision, resp.Revision)
		}
		e.links = append(e.links, link{ledger.CommitID(resp.Id), id})
	}
}

// current waits until the gateway holds everything and knows it.
func (e *edge) current(t *testing.T) {
	t.Helper()
	const fresh = 2 * time.Second
	revision := uint64(len(e.links))
	await(t, "an edge that is current", func() bool {
		resp := untilUp(t, acting(t, acme), e.gateway.ledger.GetHead, &stelev1.GetHeadRequest{MinRevision: revision})
		return resp.Snapshot.Revision == revision && resp.Snapshot.Age.AsDuration() < fresh && !resp.Snapshot.Stale
	})
}

// readWithout reads for some time while the journal is unreachable. Every read must be
// answered at once, with the newest state and an honest age.
func (e *edge) readWithout(t *testing.T, away time.Time, lasting time.Duration) (reads int, age time.Duration) {
	t.Helper()
	head := uint64(len(e.links))
	want := make(map[string]setting)
	for revision := range e.links {
		want[edgeKey(revision+1)] = setting{fmt.Sprint(revision + 1), uint64(revision + 1)}
	}
	for begun := time.Now(); time.Since(begun) < lasting; time.Sleep(20 * time.Millisecond) {
		asked := time.Now()
		resp, err := e.gateway.config.List(acting(t, acme), &stelev1.ListRequest{})
		if err != nil {
			t.Fatalf("read %d without the journal: %v", reads+1, err)
		}
		reads++
		if resp.Snapshot.Revision != head || resp.Snapshot.Stale {
			t.Fatalf("read %d without the journal is of %v, the head was @%d", reads, resp.Snapshot, head)
		}
		if age = resp.Snapshot.Age.AsDuration(); age < asked.Sub(away) {
			t.Fatalf("read %d says that it is %s old, and the journal has been away for %s", reads, age, asked.Sub(away))
		}
		if len(resp.Entries) != len(want) {
			t.Fatalf("read %d without the journal has %d keys, not %d", reads, len(resp.Entries), len(want))
		}
		for _, entry := range resp.Entries {
			if got := (setting{entry.Value, entry.Revision}); got != want[entry.Key] {
				t.Fatalf("read %d without the journal: %s is %v, not %v", reads, entry.Key, got, want[entry.Key])
			}
		}
	}
	return reads, age
}

// refused says that the edge takes no writes.
func (e *edge) refused(t *testing.T) {
	t.Helper()
	_, err := e.gateway.ledger.Commit(acting(t, acme), &stelev1.CommitRequest{Changes: []*stelev1.Change{{Key: "a/b", Value: "1"}}})
	if status.Code(err) != codes.FailedPrecondition {
		t.Fatalf("a write to a read-only gateway: %v", err)
	}
}
