package journal

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stelehq/stele/internal/ledger"
)

// stranded is a journal whose connection knows two servers, of which one does not reach it.
type stranded struct {
	*Journal
	cut  string // the URL of that server
	last ledger.Sequence
}

func newStranded(t *testing.T) *stranded {
	t.Helper()
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
	if !cut.ReadyForConnections(time.Minute) {
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
	return &stranded{j, cut.ClientURL(), mustAppend(t, j, 0, "one")}
}

// strand connects to the server that does not reach the journal.
func (s *stranded) strand(t *testing.T) {
	t.Helper()
	if err := s.nc.ForceReconnect(); err != nil { // the next of the two
		t.Fatal(err)
	}
	for deadline := time.Now().Add(time.Minute); s.nc.ConnectedUrl() != s.cut; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the connection stays at the server that reaches the journal")
		}
	}
}

func (s *stranded) write(ctx context.Context) error {
	seq, err := s.Append(ctx, s.last, []byte("x"))
	if err == nil {
		s.last = seq
	}
	return err
}

// A server that answers pings and does not reach the journal, like one that is cut off from the
// others of its cluster, is left for another one.
func TestJournal_LeavesAServerThatDoesNotReachIt(t *testing.T) {
	was := strandedAfter
	strandedAfter = 100 * time.Millisecond
	t.Cleanup(func() { strandedAfter = was })
	s := newStranded(t)
	for name, serves := range map[string]func(context.Context) error{
		"writes": s.write,
		"reads": func(ctx context.Context) error {
			_, err := s.Last(ctx)
			return err
		},
	} {
		s.strand(t)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		for serves(ctx) != nil && ctx.Err() == nil {
			time.Sleep(time.Millisecond)
		}
		if ctx.Err() != nil {
			t.Errorf("%s: the connection stays at the server that does not reach the journal", name)
		}
		cancel()
	}
}

// While NATS elects a leader no server serves a request, so that one is not left right after
// another.
func TestJournal_LeavesOneServerAtATime(t *testing.T) {
	was := strandedAfter
	strandedAfter = 10 * time.Millisecond
	t.Cleanup(func() { strandedAfter = was })
	s := newStranded(t)
	s.strand(t)
	s.connection.left.Store(time.Now().Add(time.Hour).UnixNano())
	reconnects := s.nc.Stats().Reconnects
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for range 100 {
		if s.write(ctx) == nil {
			t.Fatal("it was written by way of a server that does not reach the journal")
		}
		time.Sleep(time.Millisecond)
	}
	if s.nc.Stats().Reconnects != reconnects {
		t.Error("the server was left right after another")
	}
	s.connection.left.Store(0)
	for s.write(ctx) != nil {
		if ctx.Err() != nil {
			t.Fatal("the connection stays at the server that does not reach the journal")
		}
		time.Sleep(time.Millisecond)
	}
}

// A request that fails after a later one was served does not count from its beginning.
func TestService_CountsFromTheLastServedRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s service
		slow := time.Now()
		time.Sleep(time.Second)
		if gap := s.served(); gap != 0 {
			t.Errorf("the first request was served after %s", gap)
		}
		time.Sleep(time.Second)
		if d := s.failed(slow); d != time.Second {
			t.Errorf("1 s after the last served request, none was served for %s", d)
		}
		time.Sleep(time.Second)
		if d := s.failed(time.Now()); d != 2*time.Second {
			t.Errorf("2 s after the last served request, none was served for %s", d)
		}
		if gap := s.served(); gap != 2*time.Second {
			t.Errorf("requests are served again after %s", gap)
		}
		time.Sleep(time.Hour) // no request is made
		began := time.Now()
		time.Sleep(time.Second)
		if d := s.failed(began); d != time.Second {
			t.Errorf("a request failed after 1 s, and none was served for %s", d)
		}
	})
}

func TestIsolated(t *testing.T) {
	heard, silent := jetstream.PeerInfo{Active: time.Second}, jetstream.PeerInfo{Active: isolatedAfter}
	unheard, gone := jetstream.PeerInfo{}, jetstream.PeerInfo{Offline: true}
	for _, test := range []struct {
		name   string
		leads  time.Duration        // for how long
		others []jetstream.PeerInfo // than the leader
		want   bool
	}{
		{"one server", time.Hour, nil, false},
		{"both others", time.Hour, []jetstream.PeerInfo{heard, heard}, false},
		{"one of two", time.Hour, []jetstream.PeerInfo{heard, silent}, false},
		{"none of two", time.Hour, []jetstream.PeerInfo{silent, silent}, true},
		{"a new leader", time.Second, []jetstream.PeerInfo{unheard, silent}, false},
		{"a new leader, and a server that is down since before", time.Second, []jetstream.PeerInfo{gone, silent}, true},
		{"a leader that has not heard from any since it leads", isolatedAfter, []jetstream.PeerInfo{unheard, unheard}, true},
		{"one of four", time.Hour, []jetstream.PeerInfo{heard, silent, silent, silent}, true},
		{"two of four", time.Hour, []jetstream.PeerInfo{heard, heard, silent, silent}, false},
	} {
		now := time.Now()
		since := now.Add(-test.leads)
		info := &jetstream.StreamInfo{TimeStamp: now, Cluster: &jetstream.ClusterInfo{LeaderSince: &since}}
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
