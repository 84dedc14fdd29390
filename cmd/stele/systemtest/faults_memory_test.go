//go:build faults

package systemtest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stelehq/stele/cmd/stele/internal/certs"
	"github.com/stelehq/stele/cmd/stele/internal/conn"
	"github.com/stelehq/stele/internal/ledger"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"golang.org/x/net/http2"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

const (
	// memoryLimit is the memory that the processes of these tests may use, in bytes.
	memoryLimit = 512 << 20
	// mostAnonymous is what they may have without the pages of files, in MiB: their own limit of
	// three quarters, which the collector can exceed for a moment.
	mostAnonymous = memoryLimit >> 20 * 7 / 8
)

// TestMemory_StreamsThatNeverRead opens streams whose clients take nothing of what they ask for,
// commits large values, and watches the same keys with a client that reads.
func TestMemory_StreamsThatNeverRead(t *testing.T) {
	const keys, commits = 20, 200
	streams := number(t, "STELE_FAULTS_STREAMS", 2000)
	data := t.TempDir()
	g := startLimited(t, data)
	value := func(n int) string { return fmt.Sprintf(`"%d %s"`, n, strings.Repeat("x", 400_000)) }
	for i := range keys {
		write(t, g.gateway, acme, largeKey(i), value(i))
	}
	opened := g.openUnread(t, streams)
	read, stop := g.watchAll(t)
	defer stop()
	begun := time.Now()
	retried := 0
	for n := 0; n < commits && !t.Failed(); n++ {
		retried += commitWithRetries(t, g.gateway, settings(largeKey(n%keys), value(keys+n))) // a value that is set already makes no commit
	}
	took := time.Since(begun)
	await(t, "the reading watch", func() bool { return read() == keys+commits })
	fmt.Printf("%d streams that never read (%d refused), %d commits of 400 kB in %s (%d retries), all received by a watch that reads; %s\n",
		opened, streams-opened, commits, took.Round(time.Millisecond), retried, g.memory(t))
}

// openUnread opens streams: of four, one asks for values, and three watch, two of them with the
// initial state and one with a selector of its own. It returns how many the process accepted.
func (g *limitedGateway) openUnread(t *testing.T, n int) (accepted int) {
	t.Helper()
	var conns []*grpc.ClientConn
	token := g.token
	for range (n + 499) / 500 {
		cc, err := conn.Dial(g.address(t), certs.Files{}, token)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { cc.Close() })
		conns = append(conns, cc)
	}
	for i := range n {
		client := stelev1.NewConfigClient(conns[i%len(conns)])
		if i%4 == 3 {
			if askUnread(t, client) {
				accepted++
			}
			continue
		}
		stream, err := client.Watch(acting(t, acme))
		if err != nil {
			continue
		}
		create := &stelev1.CreateWatch{Id: 1, Prefixes: []string{"tenantconfig/large/"}, InitialState: i%2 == 0, NewestOnlyWhenSlow: i%3 == 0}
		if i%4 == 1 {
			create.Keys = []string{fmt.Sprintf("none/%d", i)}
		}
		if err := stream.Send(&stelev1.WatchRequest{Request: &stelev1.WatchRequest_Create{Create: create}}); err == nil {
			accepted++
		}
	}
	return accepted
}

// askUnread asks for 2 MB a few times on one stream, and reports whether it could.
func askUnread(t *testing.T, client stelev1.ConfigClient) bool {
	stream, err := client.Read(acting(t, acme))
	for id := uint64(1); err == nil && id <= 3; id++ {
		req := &stelev1.ReadRequest{Id: id}
		for k := range 5 {
			req.Keys = append(req.Keys, largeKey(k))
		}
		err = stream.Send(req)
	}
	return err == nil
}

// watchAll receives every commit, resuming where the gateway cancels the watch. It returns the
// last revision that it has received, and how to end it.
func (g *limitedGateway) watchAll(t *testing.T) (read func() uint64, stop func()) {
	t.Helper()
	cc, err := conn.Dial(g.address(t), certs.Files{}, g.token)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(acting(t, acme))
	client := stelev1.NewConfigClient(cc)
	var last atomic.Uint64
	var running sync.WaitGroup
	running.Go(func() {
		for ctx.Err() == nil {
			stream, err := client.Watch(ctx)
			if err == nil {
				err = stream.Send(&stelev1.WatchRequest{Request: &stelev1.WatchRequest_Create{Create: &stelev1.CreateWatch{
					Id: 1, Prefixes: []string{""}, FromRevision: last.Load() + 1}}})
			}
			for err == nil {
				var resp *stelev1.WatchResponse
				if resp, err = stream.Recv(); err != nil {
					break
				}
				if c := resp.GetCommit(); c != nil {
					if c.Revision != last.Load()+1 {
						t.Errorf("commit %d came after %d", c.Revision, last.Load())
					}
					last.Store(c.Revision)
				}
				if resp.GetCanceled() != nil {
					break
				}
			}
			time.Sleep(100 * time.Millisecond)
		}
	})
	return last.Load, func() { cancel(); running.Wait(); cc.Close() }
}

// TestMemory_LargeChangeSets commits the largest change sets with several callers.
func TestMemory_LargeChangeSets(t *testing.T) {
	const callers, sets = 8, 100
	g := startLimited(t, t.TempDir())
	value := `"` + strings.Repeat("x", 100_000) + `"`
	var next, retried atomic.Int64
	var all sync.WaitGroup
	begun := time.Now()
	for range callers {
		all.Go(func() {
			for n := next.Add(1); n <= sets && !t.Failed(); n = next.Add(1) {
				req := &stelev1.CommitRequest{}
				for i := range 36 { // ledger.MaxChangeSet is 3.67 MB
					req.Changes = append(req.Changes, &stelev1.Change{Key: fmt.Sprintf("large/%d/%02d", n%10, i), Value: fmt.Sprintf("[%d,%s]", n, value)})
				}
				retried.Add(int64(commitWithRetries(t, g.gateway, req)))
			}
		})
	}
	all.Wait()
	fmt.Printf("%d callers committed %d change sets of 3.6 MB in %s (%d retries); %s\n", callers, sets, time.Since(begun).Round(time.Millisecond), retried.Load(), g.memory(t))
}

// TestMemory_IdleConnections opens as many connections as the process accepts, each with one call
// before it is idle.
func TestMemory_IdleConnections(t *testing.T) {
	const most, atOnce = 30_000, 50 // most is above any limit
	data := t.TempDir()
	g := startLimited(t, data)
	write(t, g.gateway, acme, largeKey(0), `"x"`)
	before := g.peak()
	var tokens []string // a tenant gets no more than a part of the connections
	for _, tenant := range []ledger.Tenant{flooder, neighbor} {
		tokens = append(tokens, writerToken(t, data, tenant))
	}
	var open, next atomic.Int64
	var refused atomic.Bool
	var all sync.WaitGroup
	for range atOnce {
		all.Go(func() {
			for n := next.Add(1); n <= most && !refused.Load(); n = next.Add(1) {
				a := attacker{address: g.address(t), token: tokens[n%2]}
				if err := a.idle(t.Context()); err != nil {
					refused.Store(true)
					return
				}
				open.Add(1)
			}
		})
	}
	all.Wait()
	n := open.Load()
	if n == 0 || !refused.Load() {
		t.Fatalf("%d connections were accepted", n)
	}
	if _, err := g.config.Get(acting(t, acme), &stelev1.GetRequest{Key: largeKey(0)}); err != nil {
		t.Errorf("another caller's read: %v", err)
	}
	idle := g.status(t, "RssAnon") - before
	fmt.Printf("%d idle connections took %d MiB, %d kB each; %s\n", n, idle, int64(idle)<<10/n, g.memory(t))
}

// idle opens a connection that makes one call, and stays open until ctx ends.
func (a *attacker) idle(ctx context.Context) error {
	w, err := a.dial(ctx, false)
	if err != nil {
		return err
	}
	if err := errors.Join(w.call(stelev1.Ledger_GetHead_FullMethodName, a.token), w.send(&stelev1.GetHeadRequest{}, true)); err != nil {
		return err
	}
	for {
		frame, err := w.ReadFrame()
		if err != nil {
			return err
		}
		if answer, ok := frame.(*http2.HeadersFrame); ok && answer.StreamEnded() {
			return nil
		}
	}
}

// TestMemory_RestartAfterKill kills a process with much history and measures how long the
// next one takes until it has answered a read.
func TestMemory_RestartAfterKill(t *testing.T) {
	const keys, perSet, size, rounds = 100_000, 1000, 350, 10
	data := t.TempDir()
	g := startLimited(t, data)
	var all sync.WaitGroup
	var next atomic.Int64
	last := make(chan string, rounds*keys/perSet)
	for range 8 {
		all.Go(func() {
			for n := next.Add(1) - 1; n < rounds*keys/perSet; n = next.Add(1) - 1 {
				req := &stelev1.CommitRequest{}
				for i := range perSet {
					key := (int(n)*perSet + i) % keys
					req.Changes = append(req.Changes, &stelev1.Change{Key: fmt.Sprintf("svc-%05d/setting", key), Value: fmt.Sprintf(`"%d %s"`, n, strings.Repeat("x", size))})
				}
				commitWithRetries(t, g.gateway, req)
				last <- req.Changes[0].Key
			}
		})
	}
	all.Wait()
	close(last)
	var key string
	for key = range last {
	}
	g.kill()
	begun := time.Now()
	g = startLimited(t, data)
	untilUp(t, acting(t, acme), g.config.Get, &stelev1.GetRequest{Key: key})
	took := time.Since(begun)
	if took > 6*time.Second { // 2 s on a quiet machine
		t.Errorf("the first read took %s after kill -9", took)
	}
	fmt.Printf("first read %s after the start that followed kill -9, with %d keys and %d MB of history; %s\n",
		took.Round(time.Millisecond), keys, rounds*keys*size/1_000_000, g.memory(t))
}

func settings(key, value string) *stelev1.CommitRequest {
	return &stelev1.CommitRequest{Changes: []*stelev1.Change{{Key: key, Value: value}}}
}

// commitWithRetries commits again when the process has no memory for the request now. It returns how often.
func commitWithRetries(t *testing.T, g *gateway, req *stelev1.CommitRequest) (retries int) {
	for ; ; retries++ {
		_, err := g.ledger.Commit(acting(t, acme), req)
		switch {
		case err == nil:
			return retries
		case status.Code(err) != codes.ResourceExhausted:
			t.Errorf("commit: %v", err)
			return retries
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// startLimited starts "stele up" in a memory cgroup of memoryLimit.
func startLimited(t *testing.T, data string) *limitedGateway {
	t.Helper()
	dir := memoryGroup(t)
	args := []string{"stele", "up", "--data", data, "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0", "--web", "127.0.0.1:0", "--memory-limit", strconv.Itoa(memoryLimit)}
	p := launch(t, environment(filepath.Join(t.TempDir(), "config.yaml")), "sh", append([]string{"-c", `echo $$ >"$0"/cgroup.procs && exec "$@"`, dir}, args...)...)
	token := func() (string, error) {
		token, err := os.ReadFile(filepath.Join(data, "token"))
		return strings.TrimSpace(string(token)), err
	}
	g := serving(t, p, token)
	return &limitedGateway{g, token, dir, g.sampleMemory(t)}
}

// limitedGateway is a gateway in a memory cgroup.
type limitedGateway struct {
	*gateway
	token func() (string, error)
	group string     // the cgroup's folder
	peak  func() int // of the process's memory, of sampleMemory
}

// memory describes what the process has used since it was last called, and fails the test if the process is gone.
func (g *limitedGateway) memory(t *testing.T) string {
	t.Helper()
	select {
	case <-g.exited:
		t.Fatalf("the process is gone: %v", g.cmd.ProcessState)
	default:
	}
	text, _ := os.ReadFile(filepath.Join(g.group, "memory.max_usage_in_bytes"))
	n, _ := strconv.Atoi(strings.TrimSpace(string(text)))
	peak := g.peak()
	if peak > mostAnonymous {
		t.Errorf("the process took %d MiB, more than %d", peak, mostAnonymous)
	}
	return fmt.Sprintf("peak of the cgroup with page cache %d MiB, of the process without it %d MiB", n>>20, peak)
}

// memoryGroup makes a cgroup below that of this process.
func memoryGroup(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		t.Skip(err)
	}
	mount, own, file := "/sys/fs/cgroup", "", "memory.max"
	for line := range strings.Lines(string(text)) {
		f := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if slices.Contains(strings.Split(f[1], ","), "memory") {
			mount, own, file = "/sys/fs/cgroup/memory", f[2], "memory.limit_in_bytes"
			break
		}
		if f[1] == "" {
			own = f[2]
		}
	}
	dir, err := os.MkdirTemp(filepath.Join(mount, own), "stele-faults-")
	if err != nil {
		t.Skipf("make a memory cgroup: %v", err)
	}
	t.Cleanup(func() { os.Remove(dir) })
	if err := os.WriteFile(filepath.Join(dir, file), fmt.Append(nil, memoryLimit), 0o600); err != nil {
		t.Skipf("limit a memory cgroup: %v", err)
	}
	return dir
}
