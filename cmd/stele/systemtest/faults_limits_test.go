//go:build faults

package systemtest

import (
	"context"
	"fmt"
	"path/filepath"
	"regexp"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stelehq/stele/cmd/stele/internal/certs"
	"github.com/stelehq/stele/cmd/stele/internal/conn"
	"github.com/stelehq/stele/internal/gateway/identity"
	"github.com/stelehq/stele/internal/ledger"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
)

// TestFewFileDescriptors connects more clients than the process may have files: connected
// clients and the ledger continue, and when the clients leave, others are served.
func TestFewFileDescriptors(t *testing.T) {
	const files, clients = 256, 600
	data := t.TempDir()
	p := launchUp(t, data, filepath.Join(t.TempDir(), "config.yaml"))
	if err := unix.Prlimit(p.cmd.Process.Pid, unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: files, Max: files}, nil); err != nil {
		t.Skipf("limit the files of the process: %v", err)
	}
	address := p.serves(t)
	token := writerToken(t, data, acme)
	connect := func() *gateway {
		cc, err := conn.Dial(address, certs.Files{}, func() (string, error) { return token, nil })
		if err != nil {
			t.Fatal(err)
		}
		return clientOf(t, p, cc)
	}
	first := connect()
	untilUp(t, t.Context(), first.ledger.Commit, settingOf(`"before"`))

	var others []*gateway
	var served atomic.Int64
	var calling sync.WaitGroup
	for range clients {
		g := connect()
		others = append(others, g)
		calling.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), callTimeout)
			defer cancel()
			if _, err := g.config.Get(ctx, &stelev1.GetRequest{Key: "a/b"}); err == nil {
				served.Add(1)
			}
		})
	}
	for i := range 20 {
		ctx, cancel := context.WithTimeout(t.Context(), callTimeout)
		if _, err := first.ledger.Commit(ctx, settingOf(fmt.Sprint(i))); err != nil {
			t.Errorf("a write on a connection that was there before: %v", err)
		}
		cancel()
	}
	calling.Wait()
	if n := served.Load(); n == clients || n == 0 {
		t.Errorf("%d of %d clients were served by a process with %d files", n, clients, files)
	}
	for _, g := range others {
		g.conn.Close()
	}
	untilUp(t, t.Context(), connect().ledger.Commit, settingOf(`"after"`))
	p.stop(t)
	fmt.Printf("a process with %d files and %d clients: %d served, 20 of 20 writes of an earlier connection acknowledged; when they had left, a new one was served\n",
		files, clients, served.Load())
}

// writerToken is a token of a tenant's writer, from the keys that "stele up" has made.
func writerToken(t *testing.T, data string, tenant ledger.Tenant) string {
	t.Helper()
	signer, err := identity.OpenSigner(filepath.Join(data, "identity"))
	if err != nil {
		t.Fatal(err)
	}
	token, err := signer.Mint(identity.Claims{Subject: "ann", Tenant: tenant, Roles: []identity.Role{identity.Writer}, TTL: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// gauge is the value of a metric of the process.
func (g *gateway) gauge(t *testing.T, name string) int {
	t.Helper()
	_, text := g.httpText(t, "/metrics")
	m := regexp.MustCompile(`(?m)^` + name + ` (\S+)$`).FindStringSubmatch(text)
	if m == nil {
		t.Fatalf("no metric %s", name)
	}
	v, err := strconv.ParseFloat(m[1], 64)
	if err != nil {
		t.Fatal(err)
	}
	return int(v)
}

// TestNoLeaks opens and drops connections, watches and calls of every kind again and again:
// goroutines and files are then as many as before.
func TestNoLeaks(t *testing.T) {
	const rounds, clients = 5, 100
	data := t.TempDir()
	g := startUp(t, data, filepath.Join(t.TempDir(), "config.yaml"))
	token := writerToken(t, data, acme)
	address := g.address(t)
	storm := func() {
		var running sync.WaitGroup
		for range clients {
			running.Go(func() {
				cc, err := conn.Dial(address, certs.Files{}, func() (string, error) { return token, nil })
				if err != nil {
					t.Error(err)
					return
				}
				defer cc.Close()
				use(t, cc)
			})
		}
		running.Wait()
	}
	storm() // what is made once
	counts := func() (goroutines, files int) { return g.gauge(t, "go_goroutines"), g.gauge(t, "process_open_fds") }
	goroutines, files := counts()
	for range rounds {
		storm()
	}
	const more = 20 // that come and go by themselves
	var nowGoroutines, nowFiles int
	await(t, "goroutines and files as before", func() bool {
		nowGoroutines, nowFiles = counts()
		return nowGoroutines <= goroutines+more && nowFiles <= files+more
	})
	fmt.Printf("%d connections with a watch, a stream of writes and calls that are given up: %d goroutines and %d files before, %d and %d after\n",
		rounds*clients, goroutines, files, nowGoroutines, nowFiles)
}

// use makes calls on a connection, and leaves streams open.
func use(t *testing.T, cc *grpc.ClientConn) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	config, commits := stelev1.NewConfigClient(cc), stelev1.NewLedgerClient(cc)
	if w, err := config.Watch(ctx); err == nil {
		w.Send(&stelev1.WatchRequest{Request: &stelev1.WatchRequest_Create{Create: &stelev1.CreateWatch{Id: 1, Prefixes: []string{""}, InitialState: true}}})
		w.Recv()
	}
	if s, err := commits.CommitStream(ctx); err == nil {
		s.Send(&stelev1.CommitStreamRequest{Commit: settingOf(`"leak"`)})
		s.Recv()
	}
	if r, err := config.Read(ctx); err == nil {
		r.Send(&stelev1.ReadRequest{})
	}
	given, giveUp := context.WithTimeout(ctx, time.Millisecond)
	defer giveUp()
	commits.Commit(given, settingOf(`"given up"`))
	commits.ListCommits(ctx, &stelev1.ListCommitsRequest{})
}
