package journal

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stelehq/stele/ledger"
)

func TestReopenKeepsIdentityAndMessages(t *testing.T) {
	dir := t.TempDir()
	s, err := StartServer(ServerConfig{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	nc, err := s.Connect()
	if err != nil {
		t.Fatal(err)
	}
	j, err := Open(t.Context(), nc, Config{Shards: 3, Embedded: s})
	if err != nil {
		t.Fatal(err)
	}
	seq := mustAppend(t, j, "acme", 0, "one")
	j.Close()
	j.Close()
	nc.Close()
	s.Close()

	again := openTest(t, startTest(t, dir), Config{})
	if again.Epoch() != j.Epoch() || again.Shards() != 3 {
		t.Errorf("reopened as %s with %d shards, created as %s with 3", again.Epoch(), again.Shards(), j.Epoch())
	}
	m, err := again.Read(t.Context(), again.Shard("acme"), seq)
	if err != nil {
		t.Fatal(err)
	}
	if m.Tenant != "acme" || string(m.Record) != "one" || m.Time.IsZero() {
		t.Errorf("read %+v", m)
	}
}

func TestOpenRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(t *testing.T, js jetstream.JetStream)
		cfg   Config
		want  string
	}{
		"another number of shards": {
			cfg:  Config{Shards: 4},
			want: "the ledger has 2 shards, not 4",
		},
		"fewer replicas than asked": {
			cfg:  Config{Replicas: 3},
			want: "Replicas is 1, must be 3",
		},
		"a used ledger that lost a stream": {
			spoil: func(t *testing.T, js jetstream.JetStream) {
				if err := js.DeleteStream(t.Context(), "STELE-0"); err != nil {
					t.Fatal(err)
				}
			},
			want: "STELE-0 is missing",
		},
		"a stream of another ledger": {
			spoil: func(t *testing.T, js jetstream.JetStream) {
				other := streamConfig(1, 2, 1, ledger.Epoch{1})
				if _, err := js.UpdateStream(t.Context(), other); err != nil {
					t.Fatal(err)
				}
			},
			want: "epoch is 0100000000000000",
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := startTest(t, t.TempDir())
			j := openTest(t, s, Config{Shards: 2})
			mustAppend(t, j, tenantIn(j, 1), 0, "one")
			if c.spoil != nil {
				c.spoil(t, j.js)
			}
			c.cfg.Embedded = s
			_, err := Open(t.Context(), connect(t, s), c.cfg)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

// A process that crashed while it created the ledger leaves some streams.
func TestOpenFinishesAnInterruptedCreation(t *testing.T) {
	s := startTest(t, t.TempDir())
	js, err := jetstream.New(connect(t, s))
	if err != nil {
		t.Fatal(err)
	}
	epoch := ledger.Epoch{7}
	for i := range 2 {
		if _, err := js.CreateStream(t.Context(), streamConfig(i, 4, 1, epoch)); err != nil {
			t.Fatal(err)
		}
	}
	j := openTest(t, s, Config{})
	if j.Epoch() != epoch || j.Shards() != 4 {
		t.Errorf("opened %s with %d shards, want %s with 4", j.Epoch(), j.Shards(), epoch)
	}
}

func TestProcessesThatCreateTogetherShareOneLedger(t *testing.T) {
	s := startTest(t, t.TempDir())
	const processes = 8
	var journals [processes]*Journal
	var errs [processes]error
	var all sync.WaitGroup
	for i := range processes {
		nc := connect(t, s)
		all.Go(func() {
			if journals[i], errs[i] = Open(t.Context(), nc, Config{Embedded: s}); errs[i] == nil {
				// Writing at once must not make the others believe that the
				// streams they have not created yet were lost.
				_, err := journals[i].Append(t.Context(), ledger.Tenant("tenant-"+string(rune('a'+i))), 0, []byte("x"))
				errs[i] = err
			}
		})
	}
	all.Wait()
	if err := errors.Join(errs[:]...); err != nil {
		t.Fatal(err)
	}
	for _, j := range journals {
		defer j.Close()
		if j.Epoch() != journals[0].Epoch() || j.Shards() != defaultShards {
			t.Errorf("epoch %s with %d shards beside %s", j.Epoch(), j.Shards(), journals[0].Epoch())
		}
	}
}

func TestOpenDemandsSyncAlways(t *testing.T) {
	start := func(t *testing.T, always bool) (*Server, string) {
		s, err := StartServer(ServerConfig{Dir: t.TempDir(), listen: func(o *server.Options) { o.SyncAlways = always }})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(s.Close)
		monitor := httptest.NewServer(http.HandlerFunc(s.server.HandleJsz))
		t.Cleanup(monitor.Close)
		return s, monitor.URL
	}
	for name, c := range map[string]struct {
		always, monitored bool
		cfg               Config
		want              []string
	}{
		"unknown":                     {want: []string{"jetstream { sync_interval: always }", "--nats-monitor URL", "--unsafe-sync"}},
		"unknown but accepted":        {cfg: Config{UnsafeSync: true}},
		"proven":                      {always: true, monitored: true},
		"disproven":                   {monitored: true, want: []string{"does not sync every write", "sync_interval: always"}},
		"proven for one of three":     {always: true, monitored: true, cfg: Config{Replicas: 3}, want: []string{"3 replicas, but only 1 servers"}},
		"the monitor does not answer": {cfg: Config{MonitorURLs: []string{"http://127.0.0.1:1"}}, want: []string{"ask http://127.0.0.1:1"}},
	} {
		t.Run(name, func(t *testing.T) {
			s, url := start(t, c.always)
			if c.monitored {
				c.cfg.MonitorURLs = []string{url}
			}
			j, err := Open(t.Context(), connect(t, s), c.cfg)
			if err == nil {
				j.Close()
			}
			if c.want == nil && err != nil {
				t.Fatal(err)
			}
			for _, want := range c.want {
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("got %v, want %q", err, want)
				}
			}
		})
	}
}

func TestOneServerPerFolder(t *testing.T) {
	dir := t.TempDir()
	startTest(t, dir)
	_, err := StartServer(ServerConfig{Dir: dir})
	want := fmt.Sprintf("in use by another stele (pid %d)", os.Getpid())
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("got %v, want %q", err, want)
	}
}
