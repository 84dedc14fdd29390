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
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stelehq/stele/internal/ledger"
)

func TestOpen_AgainKeepsIdentityAndMessages(t *testing.T) {
	dir := t.TempDir()
	s, err := StartServer(ServerConfig{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	nc, err := s.Connect()
	if err != nil {
		t.Fatal(err)
	}
	j, err := Open(t.Context(), nc, Config{Embedded: s})
	if err != nil {
		t.Fatal(err)
	}
	seq := mustAppend(t, j, 0, "one")
	j.Close()
	j.Close()
	nc.Close()
	s.Close()

	again := openTest(t, startTest(t, dir), Config{})
	if again.Epoch() != j.Epoch() {
		t.Errorf("reopened as %s, created as %s", again.Epoch(), j.Epoch())
	}
	m, err := again.Read(t.Context(), seq)
	if err != nil {
		t.Fatal(err)
	}
	if m.Sequence != seq || string(m.Record) != "one" || m.Time.IsZero() {
		t.Errorf("read %+v", m)
	}
}

func TestOpen_Refuses(t *testing.T) {
	remove := func(t *testing.T, js jetstream.JetStream) {
		t.Helper()
		if err := js.DeleteStream(t.Context(), "STELE"); err != nil {
			t.Fatal(err)
		}
	}
	create := func(t *testing.T, js jetstream.JetStream, name string) {
		t.Helper()
		if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: name}); err != nil {
			t.Fatal(err)
		}
	}
	lost := func(stream string) func(*testing.T, jetstream.JetStream) {
		// Created first: the server removes the directory of its streams with the last one,
		// and can remove it from under a new one.
		return func(t *testing.T, js jetstream.JetStream) { create(t, js, stream); remove(t, js) }
	}
	for name, c := range map[string]struct {
		spoil func(t *testing.T, js jetstream.JetStream)
		cfg   Config
		want  string
	}{
		"fewer replicas than asked": {
			cfg:  Config{Replicas: 3},
			want: "Replicas is 1, must be 3",
		},
		"a used ledger that lost its journal":                  {spoil: lost("STELE-CHECKPOINTS"), want: "stream STELE is missing, but the ledger's STELE-CHECKPOINTS exists: restore it from a backup"},
		"one that has records of reads only":                   {spoil: lost("STELE-READS"), want: "stream STELE is missing, but the ledger's STELE-READS exists"},
		"one that has keys of secrets only":                    {spoil: lost("STELE-KEYS"), want: "stream STELE is missing, but the ledger's STELE-KEYS exists"},
		"the layout with a stream per shard":                   {spoil: lost("STELE-0"), want: "the journal has the layout of an earlier version (stream STELE-0), which this version cannot read: export the tenants"},
		"the layout with a stream per shard, with checkpoints": {spoil: func(t *testing.T, js jetstream.JetStream) { lost("STELE-0")(t, js); create(t, js, "STELE-CHECKPOINTS") }, want: "(stream STELE-0)"},
		"a stream that is no ledger's": {
			spoil: func(t *testing.T, js jetstream.JetStream) {
				other := streamConfig(1, ledger.Epoch{1})
				other.Metadata = nil
				if _, err := js.UpdateStream(t.Context(), other); err != nil {
					t.Fatal(err)
				}
			},
			want: "stream STELE does not belong to a ledger",
		},
		"a stream that loses history": {
			spoil: func(t *testing.T, js jetstream.JetStream) {
				s, err := js.Stream(t.Context(), "STELE")
				if err != nil {
					t.Fatal(err)
				}
				cut := s.CachedInfo().Config
				cut.MaxAge = time.Hour
				if _, err := js.UpdateStream(t.Context(), cut); err != nil {
					t.Fatal(err)
				}
			},
			want: "MaxAge is 1h0m0s, must be 0s",
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := startTest(t, t.TempDir())
			j := openTest(t, s, Config{})
			mustAppend(t, j, 0, "one")
			if c.spoil != nil {
				c.spoil(t, j.js)
			}
			c.cfg.Embedded = s
			opened, err := Open(t.Context(), connect(t, s), c.cfg)
			if err == nil {
				opened.Close()
			}
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
			if _, err := j.js.Stream(t.Context(), "STELE"); strings.Contains(c.want, "(stream") && !errors.Is(err, jetstream.ErrStreamNotFound) {
				t.Errorf("a stream was created: %v", err)
			}
		})
	}
}

// A process that ends while it creates a ledger leaves a stream without messages.
func TestOpen_ContinuesAnInterruptedCreation(t *testing.T) {
	s := startTest(t, t.TempDir())
	js, err := jetstream.New(connect(t, s))
	if err != nil {
		t.Fatal(err)
	}
	epoch := ledger.Epoch{7}
	if _, err := js.CreateStream(t.Context(), streamConfig(1, epoch)); err != nil {
		t.Fatal(err)
	}
	if j := openTest(t, s, Config{}); j.Epoch() != epoch {
		t.Errorf("opened %s, want %s", j.Epoch(), epoch)
	}
}

func TestOpen_ProcessesThatCreateTogetherShareOneLedger(t *testing.T) {
	s := startTest(t, t.TempDir())
	const processes = 8
	var journals [processes]*Journal
	var errs [processes]error
	var all sync.WaitGroup
	for i := range processes {
		nc := connect(t, s)
		all.Go(func() {
			if journals[i], errs[i] = Open(t.Context(), nc, Config{Embedded: s}); errs[i] == nil {
				// The first process's immediate writes must not make the others
				// conclude that the stream which they did not find was lost.
				errs[i] = useAtOnce(t, journals[i])
			}
		})
	}
	all.Wait()
	if err := errors.Join(errs[:]...); err != nil {
		t.Fatal(err)
	}
	for _, j := range journals {
		defer j.Close()
		if j.Epoch() != journals[0].Epoch() {
			t.Errorf("epochs %s and %s", j.Epoch(), journals[0].Epoch())
		}
		if last, err := j.Last(t.Context()); last != processes || err != nil {
			t.Errorf("it ends at %d, %v, want %d", last, err, processes)
		}
	}
}

// useAtOnce opens an auxiliary stream and appends one record, after the records of
// other processes.
func useAtOnce(t *testing.T, j *Journal) error {
	if _, err := j.OpenAuxStream(t.Context(), Checkpoints); err != nil {
		return err
	}
	for {
		last, err := j.Last(t.Context())
		if err == nil {
			_, err = j.Append(t.Context(), last, []byte("x"))
		}
		if !errors.Is(err, ErrConflict) {
			return err
		}
	}
}

func TestOpen_RequiresSyncAlways(t *testing.T) {
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

func TestServer_OnePerFolder(t *testing.T) {
	dir := t.TempDir()
	startTest(t, dir)
	_, err := StartServer(ServerConfig{Dir: dir})
	want := fmt.Sprintf("in use by another stele (pid %d)", os.Getpid())
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("got %v, want %q", err, want)
	}
}
