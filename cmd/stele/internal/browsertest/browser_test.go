package browsertest

import (
	"bufio"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stelehq/stele/internal/ledger"
)

const (
	chromium = "/usr/bin/chromium"
	// modules is where scripts/test installs what npm has.
	modules = "../../../../scripts/tools/npm"
	// patience bounds one run of the browser.
	patience = 8 * time.Minute
)

// needBrowser skips a test without a browser.
func needBrowser(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("a browser takes its time")
	}
	if _, err := os.Stat(chromium); err != nil {
		t.Skip("the console is not tested in a browser: install Debian's chromium")
	}
	if _, err := exec.LookPath("node"); err != nil {
		t.Skip("the console is not tested in a browser: install node 20 or later")
	}
	if _, err := os.Stat(filepath.Join(modules, "node_modules", "playwright-core")); err != nil {
		t.Skip("the console is not tested in a browser: run npm ci --prefix scripts/tools/npm")
	}
}

// verdict is what the browser says of one scenario.
type verdict struct {
	Name    string
	Failure string
	Log     []string
	Seconds float64
}

// browse runs a script next to this file. It passes a document, and reads one verdict
// per line.
func browse(t *testing.T, script string, document any) {
	t.Helper()
	home := t.TempDir()
	in, err := json.Marshal(map[string]any{"world": document, "chromium": chromium, "home": home})
	if err != nil {
		t.Fatal(err)
	}
	abs, err := filepath.Abs(modules)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "node", script)
	cmd.Env = append(os.Environ(), "MODULES="+abs, "INPUT="+string(in), "HOME="+home)
	cmd.Stderr = os.Stderr
	// The browser is many processes; all of them end with the script.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	slow := time.AfterFunc(patience, func() { cmd.Cancel() })
	defer slow.Stop()
	said := 0
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var v verdict
		if err := json.Unmarshal(lines.Bytes(), &v); err != nil {
			t.Errorf("the browser says %q", lines.Text())
			continue
		}
		said++
		t.Run(v.Name, func(t *testing.T) {
			for _, line := range v.Log {
				t.Log(line)
			}
			t.Logf("%.1f s", v.Seconds)
			if v.Failure != "" {
				t.Error(v.Failure)
			}
		})
	}
	if err := errors.Join(lines.Err(), cmd.Wait()); err != nil {
		t.Errorf("the browser: %v", err)
	}
	if said == 0 {
		t.Error("the browser has tried nothing")
	}
}

func TestConsole(t *testing.T) {
	needBrowser(t)
	w := newWorld(t, false)
	w.fill(t)
	w.commit(t, "acme", hostile, "tenantconfig/hostile", mustJSON(t, hostile))
	for _, tenant := range []ledger.Tenant{"rolled", "raced"} {
		w.commit(t, tenant, "first", "a/one", `"first"`)
		w.commit(t, tenant, "second", "a/one", `"second"`, "a/two", "2")
	}
	w.commit(t, "raced", "third", "a/two", "")
	browse(t, "console.mjs", w)
}

func TestConsoleOverTLS(t *testing.T) {
	needBrowser(t)
	w := newWorld(t, true)
	w.commit(t, "acme", "first", "tenantconfig/a", "1")
	browse(t, "tls.mjs", w)
}

func mustJSON(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
