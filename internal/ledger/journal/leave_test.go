package journal

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stelehq/stele/internal/ledger"
)

// A server that answers pings and does not reach the journal, like one that is cut off from the
// others of its cluster, is left for another one.
func TestJournal_LeavesAServerThatDoesNotReachIt(t *testing.T) {
	was := strandedAfter
	strandedAfter = 100 * time.Millisecond
	t.Cleanup(func() { strandedAfter = was })
	listening := func(o *server.Options) { o.DontListen, o.Host, o.Port = false, "127.0.0.1", server.RANDOM_PORT }
	good, err := StartServer(ServerConfig{Dir: t.TempDir(), listen: listening})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(good.Close)
	cut, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, NoSigs: true})
	if err != nil {
		t.Fatal(err)
	}
	cut.Start()
	t.Cleanup(func() { cut.Shutdown(); cut.WaitForShutdown() })
	if !cut.ReadyForConnections(10 * time.Second) {
		t.Fatal("the server does not start")
	}

	urls := good.server.ClientURL() + "," + cut.ClientURL()
	nc, err := nats.Connect(urls, nats.MaxReconnects(-1), nats.ReconnectWait(retryFirst), nats.DontRandomize())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	j, err := Open(t.Context(), nc, Config{UnsafeSync: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(j.Close)
	last := mustAppend(t, j, 0, "one")

	for name, serves := range map[string]func(context.Context) bool{
		"writes": func(ctx context.Context) bool {
			seq, err := j.Append(ctx, last, []byte("x"))
			if err == nil {
				last = seq
			}
			return err == nil
		},
		"reads": func(ctx context.Context) bool {
			_, err := j.Last(ctx)
			return err == nil
		},
	} {
		if err := nc.ForceReconnect(); err != nil { // the next of the two
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		for nc.ConnectedUrl() != cut.ClientURL() && ctx.Err() == nil {
			time.Sleep(time.Millisecond)
		}
		for !serves(ctx) && ctx.Err() == nil {
			time.Sleep(time.Millisecond)
		}
		if ctx.Err() != nil {
			t.Errorf("%s: the connection stays at the server that does not reach the journal", name)
		}
		cancel()
	}
}

func TestIsolated(t *testing.T) {
	heard, silent := jetstream.PeerInfo{Active: time.Second}, jetstream.PeerInfo{Active: isolatedAfter}
	unheard, gone := jetstream.PeerInfo{}, jetstream.PeerInfo{Offline: true}
	for _, test := range []struct {
		name   string
		others []jetstream.PeerInfo // than the leader
		want   bool
	}{
		{"one server", nil, false},
		{"both others", []jetstream.PeerInfo{heard, heard}, false},
		{"one of two", []jetstream.PeerInfo{heard, silent}, false},
		{"none of two", []jetstream.PeerInfo{silent, silent}, true},
		{"a new leader", []jetstream.PeerInfo{unheard, silent}, false},
		{"a new leader, and a server that is down since before", []jetstream.PeerInfo{gone, silent}, true},
		{"one of four", []jetstream.PeerInfo{heard, silent, silent, silent}, true},
		{"two of four", []jetstream.PeerInfo{heard, heard, silent, silent}, false},
	} {
		info := &jetstream.StreamInfo{Cluster: &jetstream.ClusterInfo{}}
		for _, other := range test.others {
			info.Cluster.Replicas = append(info.Cluster.Replicas, &other)
		}
		if got := isolated(info); got != test.want {
			t.Errorf("%s: isolated() = %t", test.name, got)
		}
	}
	if isolated(&jetstream.StreamInfo{}) {
		t.Error("a server without a cluster is isolated")
	}
}

// The answers of a leader that does not hear from the others may be old, although it believes for at
// least 10 seconds that it leads.
func TestJournal_LastOfAnIsolatedLeader(t *testing.T) {
	servers := startCluster(t)
	var urls []string
	for _, s := range servers {
		urls = append(urls, s.server.ClientURL())
	}
	nc, err := nats.Connect(strings.Join(urls, ","), nats.MaxReconnects(-1), nats.ReconnectWait(retryFirst))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	waitForMetaLeader(t, nc)
	j, err := Open(t.Context(), nc, Config{Replicas: 3, UnsafeSync: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(j.Close)
	appendUntilWritten(t, j, 0, "one")
	info, err := j.stream.Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range servers {
		if s.server.Name() != info.Cluster.Leader {
			s.Close()
		}
	}
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		_, err := j.Last(t.Context())
		if err != nil && strings.Contains(err.Error(), "does not hear from a majority") {
			if !errors.Is(err, ledger.ErrUnavailable) {
				t.Errorf("it is another error: %v", err)
			}
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("the leader still counts: %v", err)
		}
	}
}
