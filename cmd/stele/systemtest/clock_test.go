package systemtest

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stelehq/stele/cmd/stele/internal/cli"
	"github.com/stelehq/stele/cmd/stele/internal/cli/session"
	"github.com/stelehq/stele/internal/ledger/journal"
	"github.com/stelehq/stele/internal/ledger/ledgertest"
)

// printed runs a command in this process, and returns what it prints on standard output.
func printed(t *testing.T, args ...string) (string, error) {
	t.Helper()
	file, err := os.Create(filepath.Join(t.TempDir(), "stdout"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	out := os.Stdout
	os.Stdout = file
	defer func() { os.Stdout = out }()
	cmd := cli.RootCommand(new(session.Flags))
	cmd.SetArgs(args)
	err = cmd.ExecuteContext(t.Context())
	return string(readFile(t, file.Name())), err
}

// TestResetClock plays the runbook: a ledger has commits of a process whose clock was a year ahead,
// commands report them, an operator ends them, and everything by time works again.
func TestResetClock(t *testing.T) {
	dir := t.TempDir()
	stop := upHere(t, dir)
	mustRun(t, "-t", "acme", "set", "app/a", "1", "-m", "before")
	mustRun(t, "-t", "fine", "set", "app/a", "1")
	stop()
	server, err := journal.StartServer(journal.ServerConfig{Dir: filepath.Join(dir, "data", "journal")})
	if err != nil {
		t.Fatal(err)
	}
	n := ledgertest.Start(t, server, ledgertest.Config{})
	began := time.Now().UTC()
	ledgertest.CommitAt(t, n, "acme", began.Add(365*24*time.Hour)) // @2
	ledgertest.CommitAt(t, n, "other", began.Add(365*24*time.Hour))
	n.Close()
	server.Close()
	if err := os.Remove(filepath.Join(dir, "config.yaml")); err != nil { // upHere waits for it
		t.Fatal(err)
	}
	stop = upHere(t, dir)

	if _, err := printed(t, "-t", "acme", "set", "app/a", "2"); err == nil || !strings.Contains(err.Error(), "reset-clock acme") {
		t.Errorf("a write to a tenant that is ahead: %v", err)
	}
	mustRun(t, "-t", "fine", "set", "app/a", "2")
	contains := func(want string, args ...string) {
		t.Helper()
		if out, _ := printed(t, args...); !strings.Contains(out, want) {
			t.Errorf("stele %s prints\n%s, want %q", strings.Join(args, " "), out, want)
		}
	}
	contains("the newest commits of acme, other have times that are ahead", "status")
	contains("try: the clocks of all processes, and then stele tenant reset-clock --all", "-t", "acme", "doctor")
	for _, wrong := range [][]string{{"--reason", "x"}, {"acme"}, {"acme", "--all", "--reason", "x"}} {
		if code, _ := stele(t, append([]string{"tenant", "reset-clock"}, wrong...)...); code != 2 {
			t.Errorf("reset-clock %v: exit code %d, want 2", wrong, code)
		}
	}
	contains("acme@3  the clock is reset: commits with times up to", "tenant", "reset-clock", "acme", "--reason", "host-3 was ahead")
	contains("acme is not ahead: no change", "tenant", "reset-clock", "acme", "--reason", "again")
	contains("other@2  the clock is reset", "tenant", "reset-clock", "--all", "--reason", "host-3 was ahead")
	mustRun(t, "-t", "acme", "set", "app/a", "2", "-m", "after") // @4

	contains("(ahead)", "-t", "acme", "log")
	contains("host-3 was ahead", "-t", "acme", "log")
	contains("clock     reset: ends times up to", "-t", "acme", "show", "@3")
	contains("ahead     counts as made at", "-t", "acme", "show", "@2")
	at, now := began.Format(time.RFC3339Nano), time.Now().UTC().Format(time.RFC3339Nano)
	contains("2", "-t", "acme", "get", "app/a", "--at", now)
	contains("1", "-t", "acme", "get", "app/a", "--at", at)
	for until, want := range map[string]int{at: 1, now: 4} {
		out, err := printed(t, "-t", "acme", "log", "--until", until, "-n", "0", "-o", "json")
		if got := strings.Count(out, "\n"); err != nil || got != want {
			t.Errorf("log --until %s lists %d commits, %v; want %d\n%s", until, got, err, want, out)
		}
	}
	out, err := printed(t, "-t", "acme", "log", "--since", at, "--reverse", "-n", "0", "-o", "json")
	if got := strings.Count(out, "\n"); err != nil || got != 3 {
		t.Errorf("log --since lists %d commits, %v; want 3\n%s", got, err, out)
	}

	// The log can be imported elsewhere: in the effective order.
	whole, err := printed(t, "-t", "acme", "log", "--reverse", "-n", "0", "-o", "json")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "acme.jsonl")
	writeFile(t, file, []byte(strings.ReplaceAll(whole, `"tenant":"acme"`, `"tenant":"copy"`)))
	mustRun(t, "import", file)
	mustRun(t, "-t", "acme", "audit", "export", "-f", filepath.Join(dir, "audit"))
	contains(`"revision":3`, "-t", "copy", "get", "app/a", "-o", "json")
	mustRun(t, "verify", filepath.Join(dir, "audit"), "--key", filepath.Join(dir, "data", "identity", "checkpoint.pub"))
	stop()

	contains("2 commits written while a clock was ahead; the first: STELE, message 3: acme@2", "verify", "--data", filepath.Join(dir, "data"))
	out, err = printed(t, "verify", "--data", filepath.Join(dir, "data"), "-o", "json")
	var report struct {
		Ahead    int
		Findings []any
	}
	if err != nil || json.Unmarshal([]byte(out), &report) != nil || report.Ahead != 2 || len(report.Findings) > 0 {
		t.Errorf("verify: %v, %s", err, out)
	}
}
