package journal

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/porttest"
	"golang.org/x/sync/errgroup"
)

// startCluster runs three servers that replicate to each other.
func startCluster(t *testing.T) []*Server {
	t.Helper()
	// A cluster's member must know the others before they run.
	addresses := porttest.Free(t, 3)
	var routes []*url.URL
	for _, address := range addresses {
		routes = append(routes, &url.URL{Scheme: "nats", Host: address})
	}
	var servers []*Server
	for i, address := range addresses {
		s, err := StartServer(ServerConfig{Dir: t.TempDir(), listen: func(o *server.Options) {
			o.ServerName = fmt.Sprintf("node-%d", i)
			o.DontListen, o.Host, o.Port = false, "127.0.0.1", -1
			o.Cluster = server.ClusterOpts{Name: "stele", Host: "127.0.0.1", Port: int(netip.MustParseAddrPort(address).Port())}
			o.Routes = routes
		}})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(s.Close)
		servers = append(servers, s)
	}
	return servers
}

// TestOpen_TogetherInCluster opens a new ledger in several processes at once: the losers of
// the race to create the stream must not fail because it cannot be found yet.
func TestOpen_TogetherInCluster(t *testing.T) {
	t.Parallel()
	servers := startCluster(t)
	var conns []*nats.Conn
	for _, s := range servers {
		nc, err := nats.Connect(s.server.ClientURL())
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		conns = append(conns, nc)
	}
	waitForMetaLeader(t, conns[0])
	var group errgroup.Group
	epochs := make(chan ledger.Epoch, len(conns))
	for i, nc := range conns {
		group.Go(func() error {
			// A server that does not know the leader yet does not answer: a process tries again.
			for deadline := time.Now().Add(time.Minute); ; {
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
				j, err := Open(ctx, nc, Config{Replicas: 3, Embedded: servers[i]})
				cancel()
				if errors.Is(err, context.DeadlineExceeded) && time.Now().Before(deadline) {
					continue
				}
				if err != nil {
					return err
				}
				defer j.Close()
				epochs <- j.Epoch()
				return nil
			}
		})
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	first := <-epochs
	for range len(conns) - 1 {
		if e := <-epochs; e != first {
			t.Errorf("the ledger is %s for one process and %s for another", first, e)
		}
	}
}

// waitForMetaLeader waits until the cluster creates streams.
func waitForMetaLeader(t *testing.T, nc *nats.Conn) {
	t.Helper()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		_, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "READY", Subjects: []string{"ready"}, Replicas: 3})
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}

func TestCluster_LeaderIsKilled(t *testing.T) {
	t.Parallel()
	servers := startCluster(t)
	urls := ""
	for _, s := range servers {
		urls += s.server.ClientURL() + ","
	}
	nc, err := nats.Connect(urls, nats.MaxReconnects(-1), nats.ReconnectWait(retryFirst))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()

	var j *Journal
	for deadline := time.Now().Add(time.Minute); j == nil; {
		// The servers elect a leader first.
		j, err = Open(t.Context(), nc, Config{Replicas: 3, Embedded: servers[0]})
		if time.Now().After(deadline) && err != nil {
			t.Fatal(err)
		}
	}
	defer j.Close()

	const before, total = 50, 100
	kill := make(chan struct{})
	written := make(chan struct{})
	var last ledger.Sequence
	go func() {
		defer close(written)
		for n := 1; n <= total; n++ {
			last = appendUntilWritten(t, j, last, fmt.Sprint(n))
			if n == before {
				close(kill)
			}
		}
	}()
	n := 0
	enough := errors.New("enough")
	followed := make(chan error, 1)
	go func() {
		followed <- j.Follow(t.Context(), Message{}, func(m Message) error {
			if n++; string(m.Record) != fmt.Sprint(n) {
				return fmt.Errorf("message %d holds %q, want %d", m.Sequence, m.Record, n)
			}
			if n == total {
				return enough
			}
			return nil
		})
	}()

	<-kill
	info, err := j.stream.Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range servers {
		if s.server.Name() == info.Cluster.Leader {
			s.Close()
		}
	}
	<-written
	if err := <-followed; err != enough {
		t.Fatal(err)
	}
	if err := j.inspect(&j.stream); err != nil {
		t.Error(err)
	}
}

// appendUntilWritten appends as a ledger does: what surely was not written is
// sent again, and what may have been is looked for.
func appendUntilWritten(t *testing.T, j *Journal, last ledger.Sequence, record string) ledger.Sequence {
	for deadline := time.Now().Add(time.Minute); ; {
		seq, err := j.Append(t.Context(), last, []byte(record))
		switch {
		case err == nil:
			return seq
		case time.Now().After(deadline):
			t.Error(err)
			return last
		case errors.Is(err, ErrConflict), errors.Is(err, ledger.ErrUnknownOutcome):
			if now, err := j.Last(t.Context()); err == nil && now > last {
				return now
			}
		case !errors.Is(err, ledger.ErrUnavailable):
			t.Error(err)
			return last
		}
		time.Sleep(retryFirst)
	}
}
