package systemtest

import (
	"context"
	"flag"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stelehq/stele/cmd/stele/internal/cli"
	"github.com/stelehq/stele/cmd/stele/internal/cli/session"
	"github.com/stelehq/stele/cmd/stele/internal/failure"
)

var (
	tampers    = flag.Int("tampers", 0, "how many tampers to make; 0: one of each kind")
	tamperSeed = flag.Uint64("tamper-seed", 1, "where chance begins")
)

// tamper is one way to change what an auditor is shown.
type tamper struct {
	// target is what is changed, and kind how.
	target, kind string
	// do changes it in a copy of the evidence, and says what it did.
	do func(t *testing.T, e *evidence, rng *rand.Rand) string
}

// evidence is a ledger that is stopped, an audit file and a receipt of it, and its
// key.
type evidence struct {
	dir              string
	data, audit, key string
}

// TestVerify_Tampering changes the evidence again and again, in every way that there
// is, and has "stele verify" find each. A bit that is flipped on a page of bbolt
// that nothing uses holds nothing; so in those files what is changed are entries,
// in place, or through bbolt with the right checksums. In JetStream's folders every
// file is changed but index.db, a cache which the server makes again from the
// blocks.
func TestVerify_Tampering(t *testing.T) {
	whole := makeEvidence(t)
	if code := verifyEvidence(t, whole, "ledger"); code != failure.OK {
		t.Fatalf("the ledger as it is: exit code %d", code)
	}
	if code := verifyEvidence(t, whole, "audit file"); code != failure.OK {
		t.Fatalf("the audit file as it is: exit code %d", code)
	}
	t.Logf("-tamper-seed=%d", *tamperSeed)
	kinds := slices.Concat(auditTampers(), fileTampers(), boltTampers(), streamTampers())
	found := make(map[string]int)
	runs := *tampers
	if runs == 0 {
		runs = len(kinds)
	}
	for i := range runs {
		kind := kinds[i%len(kinds)]
		rng := rand.New(rand.NewPCG(*tamperSeed, uint64(i)))
		bad := whole.copy(t, kind.target)
		what := kind.do(t, bad, rng)
		if code := verifyEvidence(t, bad, kind.target); code != failure.Unverified {
			t.Errorf("number %d, %s of %s (%s): exit code %d, not %d", i, kind.kind, kind.target, what, code, failure.Unverified)
		} else {
			found[fmt.Sprintf("%-28s %s", kind.target, kind.kind)]++
		}
		os.RemoveAll(bad.dir)
	}
	total := 0
	var table strings.Builder
	for _, kind := range slices.Sorted(maps.Keys(found)) {
		fmt.Fprintf(&table, "\n%5d  %s", found[kind], kind)
		total += found[kind]
	}
	t.Logf("%d of %d tampers found:%s", total, runs, table.String())
}

// makeEvidence runs a ledger, writes a history into it and stops it.
func makeEvidence(t *testing.T) *evidence {
	t.Helper()
	dir := t.TempDir()
	e := &evidence{dir: dir, data: filepath.Join(dir, "data"), audit: filepath.Join(dir, "audit"), key: filepath.Join(dir, "key")}
	stop := upHere(t, dir)
	tenants := []string{"acme", "other", "tenant-0", "tenant-1"}
	log := filepath.Join(dir, "log")
	var b strings.Builder
	for i := range 160 {
		fmt.Fprintf(&b, `{"time":"2025-01-01T00:%02d:%02dZ","tenant":%q,"author":"ann","message":"change %d","changes":[{"key":"tag/key-%d","value":{"n":%d}},{"key":"tag/other/%d","value":"%s"}]}`+"\n",
			i/60, i%60, tenants[i%4], i, i%5, i, i%17, strings.Repeat("x", i))
	}
	writeFile(t, log, []byte(b.String()))
	mustRun(t, "import", log)
	for i := range 8 {
		tenant := tenants[i%4]
		mustRun(t, "-t", tenant, "set", "tag/after", fmt.Sprint(i), "--request-id", fmt.Sprint("id-", i))
		mustRun(t, "-t", tenant, "delete", fmt.Sprint("tag/key-", i/4))
		if i%3 == 1 {
			mustRun(t, "-t", tenant, "prove", "@HEAD") // waits for a checkpoint
		}
	}
	mustRun(t, "-t", "acme", "audit", "export", "-f", e.audit)
	stop()
	writeFile(t, e.key, readFile(t, filepath.Join(e.data, "identity", "checkpoint.pub")))
	return e
}

// upHere runs "stele up" in this process, with its data and its context in the
// folder, until stop or the test's end.
func upHere(t *testing.T, dir string) (stop func()) {
	t.Helper()
	t.Setenv("STELE_CONFIG", filepath.Join(dir, "config.yaml"))
	for _, name := range []string{"STELE_CONTEXT", "STELE_ADDRESS", "STELE_TOKEN", "STELE_TOKEN_FILE", "STELE_TENANT", "STELE_CHECKPOINT_KEY"} {
		t.Setenv(name, "")
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		cmd := cli.RootCommand(new(session.Flags))
		cmd.SetArgs([]string{"up", "--data", filepath.Join(dir, "data"), "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0", "--web", "", "--log-level", "error"})
		cmd.SetOut(io.Discard)
		cmd.SetErr(io.Discard)
		ended <- cmd.ExecuteContext(ctx)
	}()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		if _, err := os.Stat(os.Getenv("STELE_CONFIG")); err == nil {
			return stop
		}
	}
	t.Fatal("stele did not come up")
	return stop
}

// stele runs a command in this process, and returns its exit code.
func stele(t *testing.T, args ...string) (int, error) {
	t.Helper()
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	out, errOut := os.Stdout, os.Stderr
	os.Stdout, os.Stderr = null, null
	defer func() { os.Stdout, os.Stderr = out, errOut }()
	cmd := cli.RootCommand(new(session.Flags))
	cmd.SetArgs(args)
	err = cmd.ExecuteContext(t.Context())
	return failure.Code(err), err
}

func mustRun(t *testing.T, args ...string) {
	t.Helper()
	if _, err := stele(t, args...); err != nil {
		t.Fatalf("stele %s: %v", strings.Join(args, " "), err)
	}
}

// verifyEvidence has the program verify what was changed.
func verifyEvidence(t *testing.T, e *evidence, target string) int {
	args := []string{"verify", "--data", e.data, "--key", e.key}
	if target == "audit file" {
		args = []string{"verify", e.audit, "--key", e.key}
	}
	code, err := stele(t, args...)
	if code != failure.OK && code != failure.Unverified {
		t.Logf("%v", err)
	}
	return code
}

// copy makes a copy of what is going to be changed.
func (e *evidence) copy(t *testing.T, target string) *evidence {
	dir, err := os.MkdirTemp(e.dir, "copy-")
	if err != nil {
		t.Fatal(err)
	}
	c := *e
	c.dir = dir
	if target == "audit file" {
		c.audit = filepath.Join(dir, "audit")
		writeFile(t, c.audit, readFile(t, e.audit))
		return &c
	}
	c.data = filepath.Join(dir, "data")
	if err := os.CopyFS(c.data, os.DirFS(e.data)); err != nil {
		t.Fatal(err)
	}
	return &c
}

func readFile(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func writeFile(t *testing.T, name string, b []byte) {
	t.Helper()
	if err := os.WriteFile(name, b, 0o600); err != nil {
		t.Fatal(err)
	}
}
