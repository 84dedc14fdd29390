package node_test

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stelehq/stele/cmd/stele/internal/conn"
	"github.com/stelehq/stele/cmd/stele/internal/node"
	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/journal"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// rewind is a way to replace a journal by an older one.
type rewind struct {
	// written is set if a process that has not seen the lost commits has written others to the
	// older journal, and longer by how many messages it is than the one that was seen.
	written bool
	longer  int
	// tenant of the added commits.
	tenant ledger.Tenant
	// running processes see it happen; others are started on the older journal.
	running bool
	// restored replaces the streams of a server that runs; otherwise it is restarted on an
	// older folder.
	restored bool
	// forgets are the files of a stopped process that are deleted. Without both, only the
	// checkpoints know what is lost, which are kept then.
	forgets []string
	// two processes write.
	two bool
}

func (r rewind) String() string {
	s := "cut"
	if r.written {
		s = fmt.Sprintf("written to by %s, longer by %d", r.tenant, r.longer)
	}
	if r.running {
		s += ", running"
	}
	if r.restored {
		s += ", restored"
	}
	if r.forgets != nil {
		s += ", without " + strings.Join(r.forgets, " and ")
	}
	if r.two {
		s += ", two processes"
	}
	return s
}

func generateRewind(r *rand.Rand) rewind {
	w := rewind{written: r.IntN(4) > 0, longer: []int{-1, 0, 0, 1, 3}[r.IntN(5)], tenant: []ledger.Tenant{"acme", "other"}[r.IntN(2)], running: r.IntN(3) > 0, restored: r.IntN(2) == 0, two: r.IntN(3) == 0}
	if !w.running {
		w.restored = false
		w.forgets = [][]string{nil, {"replica.db"}, {"tree.db"}, {"replica.db", "tree.db"}}[r.IntN(4)]
	}
	return w
}

// TestRewind_NothingIsAcknowledged generates journals that were rewound, and perhaps written to
// since. Processes that have seen what is lost must acknowledge nothing in them, from the first
// moment.
func TestRewind_NothingIsAcknowledged(t *testing.T) {
	seed, n := uint64(time.Now().UnixNano()), 24
	if testing.Short() {
		n = 6
	}
	r := rand.New(rand.NewPCG(seed, 0))
	for range n {
		w := generateRewind(r)
		t.Run(w.String(), func(t *testing.T) {
			t.Parallel()
			defer func() {
				if t.Failed() {
					t.Logf("seed %d", seed)
				}
			}()
			testRewind(t, w)
		})
	}
}

func testRewind(t *testing.T, w rewind) {
	old, server, ps := begin(t, w.two)
	seen := ps[0].position(t)
	for range 3 {
		ps[0].mustCommit(t, "acme")
	}
	var writers []*writer
	if w.running {
		for _, p := range ps {
			writers = append(writers, startWriter(p))
		}
		for _, w := range writers {
			until(t, "writes", func() bool { return w.count() > 3 })
		}
	} else {
		for _, p := range ps {
			p.sees(t, ps[0])
		}
		ps[0].signed(t)
	}
	if w.restored {
		takeAway(t, server)
	} else {
		server.stop()
	}
	settled(writers)
	added := 0
	if w.written {
		added = int(ps[0].position(t)-seen) + 1 + w.longer // begin has written one after the copy
	}
	if !w.running {
		for _, p := range ps {
			p.stop()
		}
		for _, file := range w.forgets {
			if err := os.Remove(filepath.Join(ps[0].cfg.Data, file)); err != nil {
				t.Fatal(err)
			}
		}
		if len(w.forgets) > 1 {
			ps = ps[:1] // the other one does not know the checkpoints
		}
	}
	older := fork(t, old, w.tenant, added)
	if len(w.forgets) > 1 {
		const checkpoints = "jetstream/$G/streams/STELE-CHECKPOINTS"
		if err := os.RemoveAll(filepath.Join(older, checkpoints)); err != nil {
			t.Fatal(err)
		}
		if err := os.CopyFS(filepath.Join(older, checkpoints), os.DirFS(filepath.Join(server.opts.StoreDir, checkpoints))); err != nil {
			t.Fatal(err)
		}
	}
	if w.restored {
		restore(t, server, older)
	} else {
		server.opts.StoreDir = older
		server.start(t)
	}
	if !w.running {
		for _, p := range ps {
			p.start(t)
			writers = append(writers, startWriter(p))
		}
	}
	before := 0
	for _, w := range writers {
		before += w.count()
	}
	time.Sleep(1500 * time.Millisecond) // of writes, of which none may succeed
	after := 0
	for i, w := range writers {
		w.stop()
		after += w.count()
		ps[i].stop()
	}
	if after > before {
		t.Errorf("%d writes were acknowledged in a journal that lacks what their process has seen", after-before)
	}
}

// A journal that is restarted as it was takes writes again, with the files of a process and
// without.
func TestRewind_SameJournalTakesWrites(t *testing.T) {
	_, server, ps := begin(t, false)
	p := ps[0]
	w := startWriter(p)
	until(t, "writes", func() bool { return w.count() > 0 })
	server.stop()
	settled([]*writer{w})
	server.start(t)
	n := w.count()
	until(t, "writes after a restart", func() bool { return w.count() > n })
	w.stop()
	for _, file := range []string{"none.db", "replica.db", "tree.db"} {
		p.stop()
		os.Remove(filepath.Join(p.cfg.Data, file))
		p.start(t)
		p.mustCommit(t, "acme")
	}
	p.stop()
}

// A process that has seen less than another may write to the older journal. The other one
// reports it, and both show that.
func TestRewind_ProcessThatHasSeenMoreReportsIt(t *testing.T) {
	_, server, ps := begin(t, true)
	ahead, behind := ps[0], ps[1]
	behind.stop()
	server.stop()
	old := copyFolder(t, server.opts.StoreDir)
	server.start(t)
	ahead.mustCommit(t, "acme")
	server.stop()
	server.opts.StoreDir = old
	server.start(t)
	behind.start(t)
	behind.mustCommit(t, "acme")
	behind.mustCommit(t, "acme")
	ctx := conn.AsTenant(t.Context(), "acme")
	until(t, "the process that has seen more stops", func() bool {
		st, err := ahead.ledger.GetStatus(ctx, &stelev1.GetStatusRequest{})
		return err == nil && strings.Contains(st.ReadOnly, "read-only") && st.Stopped != ""
	})
	resp, err := http.Get("http://" + ahead.http + "/readyz?writes")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if body, _ := io.ReadAll(resp.Body); resp.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("readyz answers %d %s", resp.StatusCode, body)
	}
	if _, err := ahead.commit(t.Context(), "acme"); status.Code(err) != codes.FailedPrecondition {
		t.Errorf("a write to a process that has stopped: %v", err)
	}
	until(t, "the other process shows it", func() bool {
		all, err := behind.ledger.ListGateways(t.Context(), &stelev1.ListGatewaysRequest{})
		if err != nil {
			return false
		}
		for _, g := range all.Gateways {
			if g.Address == ahead.grpc {
				return g.Stopped != ""
			}
		}
		return false
	})
	ahead.stop()
	behind.stop()
}

// begin starts a ledger with some commits, and returns the folder of a copy of the journal.
func begin(t *testing.T, two bool) (old string, server *natsServer, ps []*process) {
	server = startNATS(t)
	run := processes(t, server)
	key := filepath.Join(t.TempDir(), "checkpoint.key")
	ps = []*process{run(node.Config{Roles: []string{node.RoleLedger, node.RoleGateway, node.RoleSigner}, CheckpointKey: key})}
	if two {
		ps = append(ps, run(node.Config{Roles: []string{node.RoleLedger, node.RoleGateway}}))
	}
	for _, p := range ps {
		t.Cleanup(func() { p.stop() })
	}
	for i := range 5 {
		ps[0].mustCommit(t, []ledger.Tenant{"acme", "globex"}[i%2])
	}
	for _, p := range ps {
		p.sees(t, ps[0])
	}
	server.stop()
	old = copyFolder(t, server.opts.StoreDir)
	server.start(t)
	ps[0].mustCommit(t, "acme")
	for _, p := range ps {
		p.sees(t, ps[0])
	}
	return old, server, ps
}

// fork returns the folder of a journal that a process without memory has written to.
func fork(t *testing.T, old string, tenant ledger.Tenant, commits int) string {
	t.Helper()
	dir := copyFolder(t, old)
	if commits == 0 {
		return dir
	}
	s := startNATS(t)
	s.stop()
	s.opts.StoreDir = dir
	s.start(t)
	p := processes(t, s)(node.Config{Roles: []string{node.RoleLedger, node.RoleGateway}})
	for range commits {
		p.mustCommit(t, tenant)
	}
	p.stop()
	s.stop()
	return dir
}

func copyFolder(t *testing.T, dir string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "copy")
	if err := os.CopyFS(to, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	return to
}

// takeAway deletes all streams.
func takeAway(t *testing.T, s *natsServer) {
	t.Helper()
	nc, err := nats.Connect(s.ClientURL())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	for name := range js.StreamNames(t.Context()).Name() {
		if err := js.DeleteStream(t.Context(), name); err != nil {
			t.Fatal(err)
		}
	}
}

// restore restores the streams of another folder from a backup.
func restore(t *testing.T, s *natsServer, folder string) {
	t.Helper()
	from := startNATS(t)
	from.stop()
	from.opts.StoreDir = folder
	from.start(t)
	backup := filepath.Join(t.TempDir(), "backup")
	for _, step := range []struct {
		server *natsServer
		do     func(context.Context, *nats.Conn) (*journal.Backup, error)
	}{
		{from, func(ctx context.Context, nc *nats.Conn) (*journal.Backup, error) {
			return journal.TakeBackup(ctx, nc, backup, func(context.Context, *journal.BackupReader) error { return nil })
		}},
		{s, func(ctx context.Context, nc *nats.Conn) (*journal.Backup, error) {
			return journal.Restore(ctx, nc, backup, 1)
		}},
	} {
		nc, err := nats.Connect(step.server.ClientURL())
		if err != nil {
			t.Fatal(err)
		}
		_, err = step.do(t.Context(), nc)
		nc.Close()
		if err != nil {
			t.Fatal(err)
		}
	}
	from.stop()
}

func (p *process) commit(ctx context.Context, tenant ledger.Tenant) (*stelev1.CommitResponse, error) {
	ctx, cancel := context.WithTimeout(conn.AsTenant(ctx, tenant), 2*time.Second)
	defer cancel()
	return p.ledger.Commit(ctx, &stelev1.CommitRequest{Changes: []*stelev1.Change{{Key: "a/b", Value: fmt.Sprintf("%d", rand.Uint32())}}})
}

func (p *process) mustCommit(t *testing.T, tenant ledger.Tenant) {
	t.Helper()
	var last error
	until(t, "a commit", func() bool {
		_, last = p.commit(t.Context(), tenant)
		return last == nil
	})
}

// sees waits until the process has followed the journal as far as another.
func (p *process) sees(t *testing.T, other *process) {
	t.Helper()
	want := other.position(t)
	until(t, "all commits", func() bool { return p.position(t) >= want })
}

// signed waits until a checkpoint of the process covers the newest commit.
func (p *process) signed(t *testing.T) {
	t.Helper()
	ctx := conn.AsTenant(t.Context(), "acme")
	var head *stelev1.GetHeadResponse
	until(t, "the head", func() (answered bool) {
		var err error
		head, err = p.ledger.GetHead(ctx, &stelev1.GetHeadRequest{})
		return err == nil
	})
	until(t, "a checkpoint", func() bool {
		_, err := p.proof.GetCheckpoint(ctx, &stelev1.GetCheckpointRequest{CoversRevision: head.Snapshot.Revision})
		return err == nil
	})
}

func (p *process) position(t *testing.T) uint64 {
	t.Helper()
	var st *stelev1.GetStatusResponse
	until(t, "the status", func() (answered bool) {
		var err error
		st, err = p.ledger.GetStatus(conn.AsTenant(t.Context(), "acme"), &stelev1.GetStatusRequest{})
		return err == nil
	})
	return st.Journal.GetPosition()
}

// writer writes to a process all the time.
type writer struct {
	stop func()
	mu   sync.Mutex
	n    int // of acknowledged commits
}

func startWriter(p *process) *writer {
	w := new(writer)
	ctx, cancel := context.WithCancel(context.Background())
	var done sync.WaitGroup
	for _, tenant := range []ledger.Tenant{"acme", "globex"} {
		done.Go(func() {
			for ctx.Err() == nil {
				if _, err := p.commit(ctx, tenant); err == nil {
					w.mu.Lock()
					w.n++
					w.mu.Unlock()
				}
				time.Sleep(time.Millisecond)
			}
		})
	}
	w.stop = func() {
		cancel()
		done.Wait()
	}
	return w
}

func (w *writer) count() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.n
}

// settled waits until the writers have the acknowledgments of a server that was stopped.
func settled(writers []*writer) {
	for _, w := range writers {
		for n := -1; n != w.count(); time.Sleep(100 * time.Millisecond) {
			n = w.count()
		}
	}
}
