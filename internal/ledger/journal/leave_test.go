package journal

import (
	"context"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
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
