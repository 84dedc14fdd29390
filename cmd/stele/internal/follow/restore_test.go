package follow_test

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stelehq/stele/client"
	"github.com/stelehq/stele/cmd/stele/internal/certs"
	"github.com/stelehq/stele/cmd/stele/internal/conn"
	"github.com/stelehq/stele/cmd/stele/internal/failure"
	"github.com/stelehq/stele/cmd/stele/internal/follow"
	"github.com/stelehq/stele/cmd/stele/internal/node"
	"github.com/stelehq/stele/internal/gateway/identity"
	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/porttest"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"pgregory.net/rapid"
)

// TestRestore_IsRecognized writes, backs the ledger up, writes on while parties of every kind
// read, restores the backup at the same address and writes other things. Parties that had
// seen a lost commit must recognize that the history is another one, and no party may
// combine the two.
func TestRestore_IsRecognized(t *testing.T) {
	if testing.Short() {
		if err := flag.Set("rapid.checks", "20"); err != nil { // of which a short run makes a fifth
			t.Fatal(err)
		}
	}
	setenv, address := t.Setenv, porttest.Free(t, 1)[0]
	rapid.Check(t, func(t *rapid.T) {
		dir, err := os.MkdirTemp("", "restore-")
		if err != nil {
			t.Fatal(err)
		}
		defer os.RemoveAll(dir)
		before, lost, early, late := rapid.IntRange(1, 3).Draw(t, "before"), rapid.IntRange(0, 3).Draw(t, "lost"), rapid.IntRange(0, 3).Draw(t, "early"), rapid.IntRange(0, 2).Draw(t, "late")
		keys := rapid.SliceOfN(rapid.IntRange(0, 2), before+lost+early+late, before+lost+early+late)
		w := &restored{t: t, keys: keys.Draw(t, "keys"), sinks: openSinks(t, dir, setenv)}
		defer w.sinks.aws.Close()
		defer w.close()
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
		defer cancel()

		original, backup := filepath.Join(dir, "original"), filepath.Join(dir, "backup")
		w.open(original, address)
		w.write(ctx, before)
		w.equalSinks(ctx)
		w.close()
		copyDir(t, original, backup)

		w.open(original, address)
		live := w.client(ctx, filepath.Join(dir, "live"))
		defer live.Close()
		stopped := w.client(ctx, filepath.Join(dir, "stopped"))
		cli, all := watchCLI(ctx, w), w.watchAll(ctx)
		edge := w.edge(filepath.Join(dir, "edge"))
		defer func() {
			if err := edge.close(); err != nil {
				t.Error(err)
			}
		}()
		w.write(ctx, lost)
		head := w.head(ctx)
		for _, c := range []*client.Client{live, stopped} {
			if err := c.WaitRevision(ctx, head.Snapshot.Revision); err != nil {
				t.Fatal(err)
			}
		}
		stopped.Close() // and its file is saved
		cli.wait(t, head.Snapshot.Revision)
		all.wait(t, head.Snapshot.Revision)
		edge.wait(ctx, t, head)
		w.equalSinks(ctx)
		had, pages := edge.ids(), w.pages(ctx)
		event := w.firstEvent(ctx)
		key, tag := w.tag(ctx)
		w.close()

		w.open(backup, "127.0.0.1:0") // where the parties do not look yet
		w.write(ctx, early)
		w.close()
		w.open(backup, address)
		w.write(ctx, late)
		changed := lost > 0
		now := w.head(ctx)

		if _, err := w.config.Get(w.as(ctx), &stelev1.GetRequest{Key: w.key(0), MinRevision: head.Snapshot.Revision, MinId: head.Id[:8]}); historyChanged(err) != changed || !changed && err != nil {
			t.Errorf("min_revision of %d lost commits: %v", lost, err)
		}
		if code, body := w.rest(ctx, "GET", "/v1/watch", "", "Last-Event-ID: "+event); (code == 409 && strings.Contains(body, "HISTORY_CHANGED")) != changed || !changed && code != 200 {
			t.Errorf("an event stream resumed after %d lost commits: %d %s", lost, code, body)
		}
		cli.check(t, changed, now)
		all.checkAll(t, changed, now)
		edge.check(ctx, t, changed, had, now)
		pages.check(ctx, w, lost)
		w.checkSinks(ctx, now)
		reopened := w.client(ctx, filepath.Join(dir, "stopped"))
		defer reopened.Close()
		for name, c := range map[string]*client.Client{"connected": live, "reopened": reopened} {
			w.equal(ctx, name, c)
			if at := c.Status().HistoryChanged; at.IsZero() == changed {
				t.Errorf("the %s client after %d lost commits: history changed at %s", name, lost, at)
			}
		}
		// Entity tags, last because one of them writes.
		_, isTag := w.tagOf(ctx, key)
		if code, body := w.rest(ctx, "GET", "/v1/config/"+key, "", "If-None-Match: "+tag); (code == 304) != (tag == isTag) {
			t.Errorf("%s was %s and is %s: If-None-Match answers %d %s", key, tag, isTag, code, body)
		}
		if code, body := w.rest(ctx, "PUT", "/v1/config/"+key, `"mine"`, "If-Match: "+tag); (code == 200) != (tag == isTag) || code != 200 && code != 412 {
			t.Errorf("%s was %s and is %s: If-Match answers %d %s", key, tag, isTag, code, body)
		}
	})
}

// copyDir copies a folder whose files hold keys, which only their owner may read.
func copyDir(t *rapid.T, from, to string) {
	err := os.CopyFS(to, os.DirFS(from))
	if err == nil {
		err = filepath.WalkDir(to, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			return os.Chmod(path, 0o600)
		})
	}
	if err != nil {
		t.Fatal(err)
	}
}

// restored is a ledger that is backed up and restored, at one address.
type restored struct {
	t       *rapid.T
	keys    []int // what each commit writes
	written int
	address string
	sinks   *sinks

	stop   func() // and waits
	signer *identity.Signer
	token  string
	conn   *grpc.ClientConn
	config stelev1.ConfigClient
	ledger stelev1.LedgerClient
	web    string
}

// open starts the process of a folder at the address.
func (w *restored) open(dir, address string) {
	var err error
	if w.signer, err = identity.OpenSigner(filepath.Join(dir, "identity")); err != nil {
		w.t.Fatal(err)
	}
	w.token = w.mint(identity.Claims{Subject: "ada", Tenant: "acme", Roles: []identity.Role{identity.Admin}})
	verifier, err := identity.NewVerifier(identity.Config{Keys: w.signer.Keys(), Issuer: identity.LocalIssuer, Audience: identity.LocalAudience})
	if err != nil {
		w.t.Fatal(err)
	}
	n, err := node.Start(context.Background(), node.Config{
		Data: dir, Listen: address, HTTP: "127.0.0.1:0", Web: "127.0.0.1:0", Roles: []string{node.RoleLedger, node.RoleGateway, node.RoleProjector},
		Routes: w.sinks.table, Verifier: verifier, Version: "test", Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ran := make(chan error, 1)
	go func() { ran <- n.Run(ctx) }()
	w.stop = func() {
		cancel()
		if err := <-ran; err != nil {
			w.t.Error(err)
		}
	}
	w.address, w.web = n.GRPC(), "http://"+n.Web()
	w.dial(w.address)
}

func (w *restored) dial(address string) {
	var err error
	if w.conn, err = grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials())); err != nil {
		w.t.Fatal(err)
	}
	w.config, w.ledger = stelev1.NewConfigClient(w.conn), stelev1.NewLedgerClient(w.conn)
}

// close stops the process, if one runs.
func (w *restored) close() {
	if w.stop != nil {
		w.conn.Close()
		w.stop()
		w.stop = nil
	}
}

func (w *restored) as(ctx context.Context) context.Context {
	return metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+w.token)
}

func (w *restored) key(commit int) string { return fmt.Sprintf("a/k%d", w.keys[commit]) }

// write makes n commits, each with a value that no other has.
func (w *restored) write(ctx context.Context, n int) {
	for range n {
		key := w.key(w.written)
		w.written++
		_, err := w.ledger.Commit(w.as(ctx), &stelev1.CommitRequest{Changes: []*stelev1.Change{{Key: key, Value: fmt.Sprint(w.written)}}})
		if err != nil {
			w.t.Fatal(err)
		}
	}
}

func (w *restored) head(ctx context.Context) *stelev1.GetHeadResponse {
	head, err := w.ledger.GetHead(w.as(ctx), &stelev1.GetHeadRequest{})
	if err != nil {
		w.t.Fatal(err)
	}
	return head
}

func (w *restored) client(ctx context.Context, file string) *client.Client {
	c, err := client.Open(ctx, client.Config{
		Addresses: []string{w.address}, Tenant: "acme", Prefixes: []string{""}, File: file,
		Token: client.StaticToken(w.token), Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return c
}

// equal waits until a client has exactly what the ledger has.
func (w *restored) equal(ctx context.Context, name string, c *client.Client) {
	want, err := w.config.List(w.as(ctx), &stelev1.ListRequest{})
	if err != nil {
		w.t.Fatal(err)
	}
	is := func() (text string) {
		s := c.Snapshot()
		for _, e := range s.List("") {
			text += fmt.Sprintf("%s=%s@%d ", e.Key, e.Value, e.Revision)
		}
		return fmt.Sprintf("@%d %s", s.Revision(), text)
	}
	should := fmt.Sprintf("@%d ", want.Snapshot.Revision)
	for _, e := range want.Entries {
		should += fmt.Sprintf("%s=%s@%d ", e.Key, e.Value, e.Revision)
	}
	for is() != should {
		select {
		case <-ctx.Done():
			w.t.Fatalf("the %s client has %s, and the ledger %s: %+v", name, is(), should, c.Status())
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// rest makes a request, and returns the status and the body, or of a stream only the status.
func (w *restored) rest(ctx context.Context, method, path, body, header string) (int, string) {
	resp := w.request(ctx, method, path, body, header)
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusOK && path == "/v1/watch" {
		return http.StatusOK, ""
	}
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

func (w *restored) request(ctx context.Context, method, path, body, header string) *http.Response {
	req, err := http.NewRequestWithContext(ctx, method, w.web+path, strings.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+w.token)
	if name, value, ok := strings.Cut(header, ": "); ok {
		req.Header.Set(name, value)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		w.t.Fatal(err)
	}
	return resp
}

// firstEvent is the id of the first event of a stream that begins at the head.
func (w *restored) firstEvent(ctx context.Context) string {
	resp := w.request(ctx, "GET", "/v1/watch", "", "")
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	for lines.Scan() {
		if id, ok := strings.CutPrefix(lines.Text(), "id: "); ok {
			return id
		}
	}
	w.t.Fatalf("an event stream without an id: %d %v", resp.StatusCode, lines.Err())
	return ""
}

// tag is the entity tag of the key that was written last.
func (w *restored) tag(ctx context.Context) (key, tag string) {
	return w.tagOf(ctx, w.key(w.written-1))
}

func (w *restored) tagOf(ctx context.Context, key string) (string, string) {
	resp := w.request(ctx, "GET", "/v1/config/"+key, "", "")
	resp.Body.Close()
	return key, resp.Header.Get("ETag")
}

// watcher is "stele watch".
type watcher struct {
	mu      sync.Mutex
	commits map[uint64]string
	seen    uint64
	ended   chan error
}

func watchCLI(ctx context.Context, w *restored) *watcher {
	c, err := conn.Dial(w.address, certs.Files{}, func() (string, error) { return w.token, nil })
	if err != nil {
		w.t.Fatal(err)
	}
	watch := &watcher{commits: make(map[uint64]string), ended: make(chan error, 1)}
	note := func(rev uint64, id []byte) error {
		watch.mu.Lock()
		defer watch.mu.Unlock()
		watch.seen = rev
		if id != nil {
			watch.commits[rev] = fmt.Sprintf("%x", id)
		}
		return nil
	}
	go func() {
		defer c.Close()
		watch.ended <- follow.Watch(ctx, follow.Config{
			Client: stelev1.NewConfigClient(c), Prefixes: []string{""}, Initial: true,
			State:  func(rev ledger.Revision, _ []*stelev1.Entry) error { return note(uint64(rev), nil) },
			Commit: func(c *stelev1.WatchCommit) error { return note(c.Revision, c.Id) },
			Lost:   func(error, string) {},
		})
	}()
	return watch
}

func (c *watcher) wait(t *rapid.T, revision uint64) {
	for end := time.Now().Add(time.Minute); ; time.Sleep(5 * time.Millisecond) {
		c.mu.Lock()
		seen := c.seen
		c.mu.Unlock()
		if seen >= revision {
			return
		}
		select {
		case err := <-c.ended:
			t.Fatalf("the watch ended: %v", err)
		default:
		}
		if time.Now().After(end) {
			t.Fatalf("the watch has seen @%d, and should have seen @%d", seen, revision)
		}
	}
}

// check compares what the watch has printed with the ledger, or that it has ended because
// the history has changed.
func (c *watcher) check(t *rapid.T, changed bool, now *stelev1.GetHeadResponse) {
	if changed {
		select {
		case err := <-c.ended:
			if !historyChanged(err) || failure.Code(err) != failure.Unverified {
				t.Errorf("the watch ended with %v, exit code %d", err, failure.Code(err))
			}
		case <-time.After(time.Minute):
			t.Error("the watch continued over a history that has changed")
		}
		return
	}
	c.wait(t, now.Snapshot.Revision)
	c.mu.Lock()
	defer c.mu.Unlock()
	if id, ok := c.commits[now.Snapshot.Revision]; ok && id != fmt.Sprintf("%x", now.Id) {
		t.Errorf("the watch has %s as @%d, and the ledger %x", id, now.Snapshot.Revision, now.Id)
	}
}

func historyChanged(err error) bool {
	for _, d := range status.Convert(err).Details() {
		if info, ok := d.(*errdetails.ErrorInfo); ok && info.Reason == "HISTORY_CHANGED" {
			return true
		}
	}
	return false
}
