package systemtest

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/stelehq/stele/internal/projector/fakeaws"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/types/known/timestamppb"
)

const (
	canary = "canary-5b1c9e-secret"
	public = "canary-d07f42-shown" // takes the same paths, and is not secret
)

const canaryRoutes = `
sinks:
  files: {kind: directory, path: %[2]q}
  bus: {kind: eventbridge, endpoint: %[1]q}
  parameterstore: {endpoint: %[1]q}
routes:
  - {prefix: secret/, secret: true, values: true, sinks: [files, bus]}
  - {prefix: vault/, secret: true, secure: true, values: true, sinks: [parameterstore, bus]}
  - {prefix: open/, values: true, sinks: [files, bus]}
`

// A secret is in nothing that a ledger writes: not in its files, its log, its answers
// without a reveal, its metrics, traces and events, nor in the output of a crashed
// process. The control value, which is not secret, is found in all of these, or in
// those that it should be in.
func TestSecrets_CanaryIsFoundNowhere(t *testing.T) {
	amazon, err := fakeaws.Start()
	if err != nil {
		t.Fatal(err)
	}
	defer amazon.Close()
	for _, v := range amazon.Environ() {
		name, value, _ := strings.Cut(v, "=")
		t.Setenv(name, value)
	}
	traces := collectTraces(t)
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://"+traces.address)
	t.Setenv("OTEL_BSP_SCHEDULE_DELAY", "100")
	data, config := filepath.Join(t.TempDir(), "data"), filepath.Join(t.TempDir(), "config.yaml")
	settings := filepath.Join(t.TempDir(), "stele.yaml")
	if err := os.WriteFile(settings, fmt.Appendf(nil, canaryRoutes, amazon.URL, filepath.Join(data, "files")), 0o600); err != nil {
		t.Fatal(err)
	}
	seen := sightings{t, map[string][2]int{}}
	start := func() *gateway { return startUp(t, data, config, "--config", settings, "--log-level", "debug") }
	g := start()
	useCanary(t, g, &seen)
	await(t, "the sinks", func() bool {
		names := amazon.Parameters.Names()
		if len(names) != 1 || len(amazon.Buses.Events()) < 9 {
			return false
		}
		v, _ := amazon.Parameters.Get(names[0]) // the one place where it belongs
		return v.Type == fakeaws.SecureString && strings.Contains(v.Value, canary)
	})
	seen.text("events", fmt.Sprint(amazon.Buses.Events()))
	seen.text("metrics", fetch(t, g))
	runCanary(t, config, &seen)
	await(t, "traces", func() bool { return bytes.Contains(traces.got(), []byte("stele.v1.Config/Get")) })
	g.stop(t)
	seen.text("output", string(g.printed(t)))

	g = start() // with the secret in its memory, it dies with a dump of all goroutines
	if _, err := g.config.Get(acting(t, "acme"), &stelev1.GetRequest{Key: "secret/a", Reveal: true}); err != nil {
		t.Fatal(err)
	}
	g.cmd.Process.Signal(syscall.SIGQUIT)
	<-g.exited
	if !bytes.Contains(g.printed(t), []byte("goroutine")) {
		t.Error("a process that was made to die says nothing about its goroutines")
	}
	seen.text("output of a crash", string(g.printed(t)))
	seen.text("traces", string(traces.got()))
	seen.folder(data)
	seen.folder(filepath.Dir(config))

	for where, n := range seen.counts {
		if n[0] > 0 {
			t.Errorf("%s: the secret is found %d times", where, n[0])
		}
	}
	for _, where := range []string{"answers", "events", "command line", "journal", "replica.db", "files"} {
		if seen.counts[where][1] == 0 {
			t.Errorf("%s: the values that are not secret are not found either, so nothing is proven", where)
		}
	}
	for _, where := range slices.Sorted(maps.Keys(seen.counts)) {
		t.Logf("%-20s the secret %d times, other values %d times", where, seen.counts[where][0], seen.counts[where][1])
	}
}

// useCanary does everything that a client can do, with the secret and with the control
// value.
func useCanary(t *testing.T, g *gateway, seen *sightings) {
	ctx := acting(t, "acme")
	set := func(kv ...string) *stelev1.CommitRequest {
		req := &stelev1.CommitRequest{Message: "a change"}
		for i := 0; i < len(kv); i += 2 {
			req.Changes = append(req.Changes, &stelev1.Change{Key: kv[i], Value: kv[i+1]})
		}
		return req
	}
	search := func(what string, answer any, err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		seen.text("answers", fmt.Sprint(answer))
	}
	secret, open := `"`+canary+`"`, `"`+public+`"`
	untilUp(t, ctx, g.ledger.Commit, set("secret/a", secret, "vault/a", secret, "open/a", open))
	stream, err := g.ledger.CommitStream(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, value := range []string{`{"` + canary + `":["` + canary + `"]}`, `"another"`, secret} {
		if err := stream.Send(&stelev1.CommitStreamRequest{Commit: set("secret/b", value, "open/b", strings.ReplaceAll(value, canary, public))}); err != nil {
			t.Fatal(err)
		}
		_, err := stream.Recv()
		search("CommitStream", "", err)
	}
	imported := set("secret/c", secret)
	imported.Import = &stelev1.Import{Time: timestamppb.Now(), Author: "elsewhere"}
	_, err = g.ledger.Commit(ctx, imported)
	search("an import", "", err)

	for _, bad := range []*stelev1.CommitRequest{
		set("secret/d", canary), set("secret/d", `{"`+canary+`":1,"`+canary+`":1}`), set("secret/ d", secret), set("secret/d", `"`+canary+strings.Repeat("x", 512<<10)+`"`),
		set("secret/d", `"`+canary+`\ud800"`), set("secret/d", `{"$secret":"`+canary+`"}`), set("secret/d", secret, "secret/d", secret),
		{Changes: set("secret/d", secret).Changes, Preconditions: []*stelev1.Precondition{{Key: "secret/a"}}},
		{Changes: []*stelev1.Change{{Key: "secret/d", Value: secret, Delete: true}}},
		{Changes: set("secret/d", secret).Changes, Message: strings.Repeat("x", 5000)},
	} {
		_, err := g.ledger.Commit(ctx, bad)
		if err == nil {
			t.Fatalf("%.80v is taken", bad)
		}
		seen.text("answers", err.Error())
	}

	get, err := g.config.Get(ctx, &stelev1.GetRequest{Key: "secret/a"})
	search("Get", get, err)
	batch, err := g.config.BatchGet(ctx, &stelev1.BatchGetRequest{Keys: []string{"secret/a", "secret/b", "open/a"}})
	search("BatchGet", batch, err)
	list, err := g.config.List(ctx, &stelev1.ListRequest{})
	search("List", list, err)
	commits, err := g.ledger.ListCommits(ctx, &stelev1.ListCommitsRequest{PreviousValues: true, Encoded: true})
	search("ListCommits", commits, err)
	diff, err := g.ledger.Diff(ctx, &stelev1.DiffRequest{From: atRevisionOf(1)})
	search("Diff", diff, err)
	back, err := g.ledger.Rollback(ctx, &stelev1.RollbackRequest{To: atRevisionOf(3), DryRun: true})
	search("Rollback", back, err)
	_, err = g.ledger.Rollback(ctx, &stelev1.RollbackRequest{To: atRevisionOf(3)})
	search("Rollback", "", err)
	proof, err := stelev1.NewProofClient(g.conn).ProveInclusion(ctx, &stelev1.ProveInclusionRequest{FromRevision: 1, ToRevision: 1, TreeSize: 1})
	seen.text("answers", fmt.Sprint(proof, err)) // the tree may be of another size already
	watchCanary(t, ctx, g, seen)

	revealed, err := g.config.Get(ctx, &stelev1.GetRequest{Key: "secret/a", Reveal: true})
	if err != nil || revealed.Entry.Value != secret {
		t.Fatalf("revealed is %v, %v", revealed, err)
	}
}

func watchCanary(t *testing.T, ctx context.Context, g *gateway, seen *sightings) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	w, err := g.config.Watch(ctx)
	if err == nil {
		err = w.Send(&stelev1.WatchRequest{Request: &stelev1.WatchRequest_Create{Create: &stelev1.CreateWatch{Id: 1, Prefixes: []string{""}, InitialState: true}}})
	}
	if err == nil {
		err = w.Send(&stelev1.WatchRequest{Request: &stelev1.WatchRequest_Create{Create: &stelev1.CreateWatch{Id: 2, Prefixes: []string{""}, FromRevision: 1}}})
	}
	if err != nil {
		t.Fatal(err)
	}
	for revision := uint64(0); revision < 6; { // the rollback's
		resp, err := w.Recv()
		if err != nil {
			t.Fatal(err)
		}
		seen.text("answers", fmt.Sprint(resp))
		revision = max(revision, resp.GetCommit().GetRevision())
	}
}

// runCanary looks with the command line.
func runCanary(t *testing.T, config string, seen *sightings) {
	for _, args := range [][]string{
		{"get", "secret/a"}, {"get", "open/a"}, {"list"}, {"export"}, {"log", "-p"}, {"show", "@1"}, {"diff", "@1"}, {"blame"}, {"verify"},
		{"set", "--json", "secret/a", canary}, {"rollback", "--to", "@1", "--dry-run"}, {"audit", "reads"}, {"sinks"},
	} {
		cmd := exec.Command("stele", append([]string{"-t", "acme"}, args...)...)
		cmd.Env = environment(config)
		out, err := cmd.CombinedOutput()
		var exit *exec.ExitError
		if err != nil && !errors.As(err, &exit) {
			t.Fatal(err)
		}
		seen.text("command line", string(out))
	}
}

func atRevisionOf(r uint64) *stelev1.At {
	return &stelev1.At{Point: &stelev1.At_Revision{Revision: r}}
}

func fetch(t *testing.T, g *gateway) string {
	t.Helper()
	url := regexp.MustCompile(`http://\S+/metrics`).Find(g.printed(t))
	resp, err := http.Get(string(url))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil || !bytes.Contains(text, []byte("stele_commits_total")) {
		t.Fatalf("%s answers %.200s, %v", url, text, err)
	}
	return string(text)
}

// sightings counts where the secret and the control value were found.
type sightings struct {
	t      *testing.T
	counts map[string][2]int
}

func (s *sightings) text(where, text string) {
	n := s.counts[where]
	s.counts[where] = [2]int{n[0] + count(text, canary), n[1] + count(text, public)}
}

// count counts a word in a text, as it is and as programs like to write it.
func count(text, word string) (n int) {
	forms := []string{word, hex.EncodeToString([]byte(word))}
	for shift := range 3 { // what base64 makes of it, wherever it begins
		b := base64.RawStdEncoding.EncodeToString(append(make([]byte, shift), word...))
		forms = append(forms, b[4:len(b)-4])
	}
	for _, f := range forms {
		n += strings.Count(text, f)
	}
	return n
}

// folder looks into every file below a folder.
func (s *sightings) folder(dir string) {
	files := 0
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		text, err := os.ReadFile(path)
		where, _ := filepath.Rel(dir, path)
		where, _, _ = strings.Cut(where, string(filepath.Separator))
		s.text(where, string(text))
		files++
		return err
	})
	if err != nil || files == 0 {
		s.t.Errorf("look into %d files of %s: %v", files, dir, err)
	}
}

// traceCollector takes traces and keeps their bytes.
type traceCollector struct {
	address string
	mu      sync.Mutex
	bytes   []byte
}

func (c *traceCollector) got() []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	return bytes.Clone(c.bytes)
}

func collectTraces(t *testing.T) *traceCollector {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &traceCollector{address: l.Addr().String()}
	server := grpc.NewServer(grpc.ForceServerCodecV2(rawCodec{}), grpc.UnknownServiceHandler(func(_ any, stream grpc.ServerStream) error {
		var body []byte
		if err := stream.RecvMsg(&body); err != nil {
			return err
		}
		c.mu.Lock()
		c.bytes = append(c.bytes, body...)
		c.mu.Unlock()
		return stream.SendMsg(&[]byte{})
	}))
	go server.Serve(l)
	t.Cleanup(server.Stop)
	return c
}

// rawCodec leaves messages as they came.
type rawCodec struct{ encoding.CodecV2 }

func (rawCodec) Name() string { return "proto" }

func (rawCodec) Marshal(v any) (mem.BufferSlice, error) {
	return mem.BufferSlice{mem.SliceBuffer(*v.(*[]byte))}, nil
}

func (rawCodec) Unmarshal(data mem.BufferSlice, v any) error {
	*v.(*[]byte) = data.Materialize()
	return nil
}
