package peer

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"syscall"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
)

// TestMain is also the peers' processes: Command starts this binary.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "peer" {
		if err := Serve(os.Args[2:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// start runs the peer until the test ends and dials it.
func start(t *testing.T, p Peer, dir string) (*Instance, Client) {
	t.Helper()
	in, err := Start(t.Context(), p, dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = in.Stop(syscall.SIGKILL) })
	if err := in.Await(t.Context(), func(context.Context, Client) error { return nil }); err != nil {
		t.Fatal(err)
	}
	c, err := in.Dial(t.Context(), 2)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return in, c
}

func TestClient_Operations(t *testing.T) {
	for _, p := range []Peer{Etcd{}, NATS{}, NATS{NoSync: true}} {
		t.Run(p.Name(), func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "data")
			proc, c := start(t, p, dir)
			r := c.(Reader)
			read := func(tenant, key, want string) {
				t.Helper()
				if got, err := r.Read(t.Context(), tenant, key); err != nil || got != want {
					t.Errorf("read %s of %s: %q, %v; want %q", key, tenant, got, err, want)
				}
			}

			if _, err := r.Read(t.Context(), "acme", "a/1"); err == nil {
				t.Error("a key that is not there was read")
			}
			if err := c.(Writer).Write(t.Context(), "acme", Entry{"a/1", `"one"`}); err != nil {
				t.Fatal(err)
			}
			read("acme", "a/1", `"one"`)
			if _, err := r.Read(t.Context(), "other", "a/1"); err == nil {
				t.Error("another tenant's key was read")
			}

			if err := c.(SetWriter).WriteSet(t.Context(), "acme", []Entry{{"a/2", `"two"`}, {"a/3", `"three"`}}); err != nil {
				t.Fatal(err)
			}
			read("acme", "a/3", `"three"`)
			b := c.(BatchReader)
			if err := b.ReadBatch(t.Context(), "acme", []string{"a/1", "a/2", "a/3"}); err != nil {
				t.Error(err)
			}
			if err := b.ReadBatch(t.Context(), "acme", []string{"a/1", "a/4"}); err == nil {
				t.Error("a batch with a key that is not there was read")
			}

			if l, ok := c.(LinearizableReader); ok {
				if got, err := l.ReadLinearizable(t.Context(), "acme", "a/1"); err != nil || got != `"one"` {
					t.Errorf("read a/1: %q, %v", got, err)
				}
			}
			if w, ok := c.(StreamWriter); ok {
				st, err := w.OpenWrites(t.Context(), "acme")
				if err != nil {
					t.Fatal(err)
				}
				for i := range 3 {
					if err := st.Send(Entry{"s/1", fmt.Sprint(i)}); err != nil {
						t.Fatal(err)
					}
				}
				for range 3 {
					if err := st.Recv(); err != nil {
						t.Fatal(err)
					}
				}
				read("acme", "s/1", "2")
			}

			parts, err := proc.Disk()
			if err != nil || len(parts) == 0 || slices.MaxFunc(parts, func(a, b Part) int { return int(a.Bytes - b.Bytes) }).Bytes == 0 {
				t.Errorf("disk: %v, %v", parts, err)
			}
			if n, err := proc.Memory(); err != nil || n.Anonymous < 1<<20 || n.Resident < n.Anonymous {
				t.Errorf("memory: %v, %v", n, err)
			}

			if err := proc.Stop(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
			_, c = start(t, p, dir)
			r = c.(Reader)
			read("acme", "a/1", `"one"`)
		})
	}
}

func TestWatches_SeeAWriteOnce(t *testing.T) {
	for _, p := range []Peer{Etcd{}, NATS{}} {
		t.Run(p.Name(), func(t *testing.T) {
			_, c := start(t, p, filepath.Join(t.TempDir(), "data"))
			const watches, writes = 5, 3
			var seen [writes]atomic.Int64
			all := make(chan struct{})
			var left atomic.Int64
			left.Store(watches * writes)
			stop, err := c.(Watcher).Watch(t.Context(), "acme", "a/1", watches, 2, func(v string) {
				seen[v[0]-'0'].Add(1)
				if left.Add(-1) == 0 {
					close(all)
				}
			})
			if err != nil {
				t.Fatal(err)
			}
			for i := range writes {
				for _, key := range []string{"a/2", "a/1"} {
					if err := c.(Writer).Write(t.Context(), "acme", Entry{key, fmt.Sprint(i)}); err != nil {
						t.Fatal(err)
					}
				}
			}
			<-all
			if err := stop(); err != nil {
				t.Error(err)
			}
			for i := range seen {
				if n := seen[i].Load(); n != watches {
					t.Errorf("write %d was seen %d times by %d watches", i, n, watches)
				}
			}
		})
	}
}

func TestEcho_HasTheLengthOfAGet(t *testing.T) {
	_, c := start(t, Echo{}, filepath.Join(t.TempDir(), "data"))
	got, err := c.(Reader).Read(t.Context(), "acme", "tenantconfig/svc-0421/setting-000123")
	if err != nil {
		t.Fatal(err)
	}
	want := proto.Size(&stelev1.GetResponse{
		Entry:    &stelev1.Entry{Key: "tenantconfig/svc-0421/setting-000123", Value: string(make([]byte, 256)), Revision: 50_000},
		Snapshot: &stelev1.Snapshot{Revision: 100_000, Head: 100_000, Age: &durationpb.Duration{Nanos: 1_500_000}},
	})
	if n := proto.Size(wrapperspb.Bytes([]byte(got))); n < want-4 || n > want+4 {
		t.Errorf("an echo is %d bytes, a get %d", n, want)
	}
}

// takenFirst is a peer whose first start is given a port that another process has.
type takenFirst struct {
	Echo
	taken  string
	starts *int
}

func (p takenFirst) Programs(dir string, free func() (string, error)) ([]Program, error) {
	*p.starts++
	if *p.starts == 1 {
		free = func() (string, error) { return p.taken, nil }
	}
	return p.Echo.Programs(dir, free)
}

func TestRun_StartsAgainWhenAPortIsTaken(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var starts int
	in, err := Run(t.Context(), takenFirst{taken: l.Addr().String(), starts: &starts}, filepath.Join(t.TempDir(), "data"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = in.Stop(syscall.SIGKILL) }()
	if starts != 2 {
		t.Errorf("the peer was started %d times, want 2", starts)
	}
}

func TestRun_ReportsAPeerThatNeverStarts(t *testing.T) {
	_, err := Run(t.Context(), Stele{Binary: "/bin/false"}, filepath.Join(t.TempDir(), "data"))
	if !errors.Is(err, errEnded) {
		t.Errorf("error is %v, want %v", err, errEnded)
	}
}

func TestCluster_KeepsWhatItAcknowledges(t *testing.T) {
	for _, p := range []Peer{Etcd{Servers: 3}, NATS{Servers: 3}} {
		t.Run(p.Name(), func(t *testing.T) {
			in, c := start(t, p, filepath.Join(t.TempDir(), "data"))
			if err := c.(Writer).Write(t.Context(), "acme", Entry{"a/1", `"one"`}); err != nil {
				t.Fatal(err)
			}
			times, err := in.CPU()
			if err != nil || len(times) != 3 || len(in.Addrs()) != 3 {
				t.Errorf("the cluster has %d addresses and the processes %v, %v; want 3", len(in.Addrs()), times, err)
			}
			if l, ok := c.(LinearizableReader); ok {
				for range 3 {
					if got, err := l.ReadLinearizable(t.Context(), "acme", "a/1"); err != nil || got != `"one"` {
						t.Errorf("read a/1: %q, %v", got, err)
					}
				}
			}
		})
	}
}
