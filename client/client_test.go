package client_test

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stelehq/stele/client"
	"github.com/stelehq/stele/client/clienttest"
	"go.uber.org/goleak"
)

// examples is the server that the examples talk to, once one of them runs.
var examples struct {
	sync.Mutex
	server *clienttest.Server
	dir    string
}

// server starts that server.
func server() *clienttest.Server {
	examples.Lock()
	defer examples.Unlock()
	if examples.server == nil {
		var err error
		if examples.dir, err = os.MkdirTemp("", "client"); err == nil {
			examples.server, err = clienttest.Open(examples.dir)
		}
		if err != nil {
			panic(err)
		}
	}
	return examples.server
}

func TestMain(m *testing.M) {
	code := m.Run()
	if examples.server != nil {
		examples.server.Close()
		os.RemoveAll(examples.dir)
	}
	if flag.Lookup("test.fuzz").Value.String() == "" && code == 0 { // fuzzing leaves goroutines of its own
		if err := goleak.Find(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

func open(t testing.TB, cfg client.Config) *client.Client {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	c, err := client.Open(ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// set sets a key, and returns when the client's own reads see that. On a busy machine this can
// take longer than Set waits.
func set(t testing.TB, c *client.Client, key string, value any) client.Commit {
	t.Helper()
	done, err := c.Ledger().Set(t.Context(), key, value, "")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	if err := c.WaitRevision(ctx, done.Revision); err != nil {
		t.Fatal(err)
	}
	return done
}

func TestCommit_IsVisibleToReads(t *testing.T) {
	s := clienttest.Start(t)
	c := open(t, s.Config("acme", "tenantconfig/", "flags/"))
	timeout := client.Bind(c, "tenantconfig/timeout", 250)
	if got := timeout.Get(); got != 250 {
		t.Errorf("the fallback is %d", got)
	}
	// visible commits until a commit is visible within the second for which Set waits.
	visible := func(key string) (value int, done client.Commit) {
		t.Helper()
		eventually(t, "a commit is visible", func() bool {
			var err error
			value++
			if done, err = c.Ledger().Set(t.Context(), key, value, ""); err != nil {
				t.Fatal(err)
			}
			return done.Visible
		})
		return value, done
	}
	value, done := visible("tenantconfig/timeout")
	if got := timeout.Get(); got != value {
		t.Errorf("the value is %d, not %d", got, value)
	}
	e, ok := c.Get("tenantconfig/timeout")
	if want := (client.Entry{Key: "tenantconfig/timeout", Value: fmt.Sprint(value), Revision: done.Revision}); !ok || e != want {
		t.Errorf("got %+v, %v", e, ok)
	}
	// A change of a key that the client does not keep also advances it.
	if _, done := visible("other/key"); c.Status().Revision != done.Revision {
		t.Errorf("the client is at %d, not at %d", c.Status().Revision, done.Revision)
	}
	if _, ok := c.Get("other/key"); ok {
		t.Error("the client keeps a key that it was not to")
	}
	if st := c.Status(); st.Source != client.Live || st.Gateway == "" || st.Err != nil || st.Stale || st.Age > 10*time.Second || st.Tenant != "acme" {
		t.Errorf("the status is %+v", st)
	}
}

func TestOpen_LoadsTheCurrentState(t *testing.T) {
	s := clienttest.Start(t)
	w := open(t, s.Config("acme"))
	big := map[string]any{}
	for i := range 3000 { // several pages
		big[fmt.Sprintf("tenantconfig/k%04d", i)] = fmt.Sprintf("%01000d", i)
	}
	if _, err := w.Ledger().Commit(t.Context(), client.ChangeSet{Set: big}); err != nil {
		t.Fatal(err)
	}
	c := open(t, s.Config("acme", "tenantconfig/"))
	if n := len(c.Snapshot().List("tenantconfig/")); n != 3000 {
		t.Errorf("%d keys are there", n)
	}
}

// A client that starts empty has the fallbacks until a gateway answers.
func TestOpen_StartEmpty(t *testing.T) {
	s := clienttest.Start(t)
	cfg := s.Config("acme")
	address := cfg.Addresses[0]
	done := set(t, open(t, cfg), "a/b", 500)
	s.StopGateway(address)
	cfg.StartEmpty = true
	c := open(t, cfg)
	v := client.Bind(c, "a/b", 250)
	if st := c.Status(); v.Get() != 250 || st.Source != client.Empty || st.Err == nil || st.Revision != 0 || c.Age() < time.Hour {
		t.Errorf("without a gateway: %d, %+v", v.Get(), st)
	}
	if _, err := s.StartGateway(address); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := c.WaitRevision(ctx, done.Revision); err != nil || v.Get() != 500 {
		t.Fatalf("with a gateway: %d, %v", v.Get(), err)
	}
	eventually(t, "the client knows that it follows a gateway", func() bool { // it has the state before
		st := c.Status()
		return st.Source == client.Live && st.Err == nil
	})
}

func TestOpen_FileWithoutGateway(t *testing.T) {
	t.Parallel()
	s := clienttest.Start(t)
	cfg := s.Config("acme", "tenantconfig/")
	cfg.File = filepath.Join(t.TempDir(), "settings")
	first := open(t, cfg)
	set(t, first, "tenantconfig/a", 1)
	first.Close()

	cfg.Addresses = []string{"127.0.0.1:1"}
	c := open(t, cfg)
	if e, ok := c.Get("tenantconfig/a"); !ok || e.Value != "1" {
		t.Errorf("got %+v, %v", e, ok)
	}
	if st := c.Status(); st.Source != client.LastKnownGood || st.Err == nil || st.Age <= 0 || st.Age > time.Minute || st.Revision == 0 {
		t.Errorf("the status is %+v", st)
	}
}

// A client that was disconnected for long gets the state, and not a thousand commits.
func TestClient_FarBehindCatchesUp(t *testing.T) {
	t.Parallel()
	s := clienttest.Start(t)
	cfg := s.Config("acme", "a/")
	cfg.File = filepath.Join(t.TempDir(), "settings")
	first := open(t, cfg)
	set(t, first, "a/gone", 1)
	first.Close()
	w := open(t, s.Config("acme"))
	for i := range 1200 {
		set(t, w, "a/n", i)
	}
	if _, err := w.Ledger().Commit(t.Context(), client.ChangeSet{Delete: []string{"a/gone"}}); err != nil {
		t.Fatal(err)
	}
	c := open(t, cfg)
	if got := c.Snapshot().List(""); len(got) != 1 || got[0].Value != "1199" || c.Status().Source != client.Live {
		t.Errorf("it has %v, %+v", got, c.Status())
	}
}
