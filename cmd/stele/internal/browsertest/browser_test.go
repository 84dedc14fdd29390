package browsertest

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stelehq/stele/internal/ledger"
)

const (
	chromium = "/usr/bin/chromium"
	// modules is where scripts/test installs npm modules.
	modules = "../../../../scripts/tools/npm"
	// runTimeout bounds one run of the browser, also on a machine under load.
	runTimeout = 25 * time.Minute
)

// needBrowser skips a test without a browser.
func needBrowser(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("a browser test is slow")
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

// outcome is the outcome of one scenario.
type outcome struct {
	Name    string
	Failure string
	Log     []string
	Seconds float64
}

// browse runs a script next to this file. It passes a document, and reads one outcome
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
	slow := time.AfterFunc(runTimeout, func() { cmd.Cancel() })
	defer slow.Stop()
	scenarios := 0
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var v outcome
		if err := json.Unmarshal(lines.Bytes(), &v); err != nil {
			t.Errorf("the script printed %q", lines.Text())
			continue
		}
		scenarios++
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
	if scenarios == 0 {
		t.Error("the script ran no scenario")
	}
}

func TestConsole(t *testing.T) {
	needBrowser(t)
	w := newWorld(t, false)
	w.fill(t)
	w.commit(t, "acme", hostile, "tenantconfig/hostile", mustJSON(t, hostile))
	w.commit(t, "acme", "first", "tenantconfig/live", `"first"`)
	for _, tenant := range []ledger.Tenant{"rolled", "rolled-dark-1280", "rolled-light-400", "raced"} {
		w.commit(t, tenant, "first", "a/one", `"first"`)
		w.commit(t, tenant, "second", "a/one", `"second"`, "a/two", "2")
	}
	w.commit(t, "raced", "third", "a/two", "")
	for _, tenant := range []ledger.Tenant{"copied-light-1280", "copied-light-1280-plain", "copied-dark-400"} {
		w.commit(t, tenant, "first", "a/one", `"first"`, "a/two", `"first"`)
		w.commit(t, tenant, "second", "a/one", `"second"`, "a/two", `"second"`)
	}
	tall := strings.TrimSuffix(strings.Repeat(`"line",`, 60), ",")
	w.commit(t, "long", "first", "a/tall", "["+tall+"]")
	w.commit(t, "long", "second", "a/tall", "", "a/taller", `{"list":[`+tall+`]}`)
	w.commit(t, "edited", "first", "a/value", `{"big":12345678901234567890123,"exact":1.10,"on":true,"name":"text"}`)
	w.commit(t, "reviewed", "first", "a/one", `"first"`, "_schema/a", `{"type":["string","number"]}`)
	for _, tenant := range []ledger.Tenant{"collected-light-1280", "collected-dark-400"} {
		w.commit(t, tenant, "first", "a/one", "1", "a/two", "2")
	}
	for _, tenant := range []ledger.Tenant{"light-1280", "dark-1280", "light-400", "dark-400", "light-1280-plain"} {
		w.commit(t, "merged-"+tenant, "first", "a/value", `{"one":1,"two":2,"three":3}`)
		w.commit(t, "granted-"+tenant, "first", "a/one", "1", "a/two", "2", "b/one", "3")
		w.commit(t, "tokens-"+tenant, "first", "a/one", "1")
	}
	for _, tenant := range []ledger.Tenant{"keyboard-dark-1280", "keyboard-light-400"} {
		w.commit(t, tenant, "first", "a/one", "1", "a/two", "2", "a/three", "3")
	}
	// A value of 445 KiB, which takes about 900 KiB with a line for each member.
	const depth = 20
	member := `"` + strings.Repeat("x", 42) + `",`
	w.commit(t, "large", "445 KiB", "a/value", `{"list":`+strings.Repeat("[", depth)+strings.TrimSuffix(strings.Repeat(member, 10_100), ",")+strings.Repeat("]", depth)+`,"n":1}`)
	w.commit(t, "layout", "a layout of its own", "a/value", "{ \"a\":1,\n\"b\": [1, 2] }")
	w.commit(t, "drifted", "first", "a/one", "1", "a/two", "2", "unrouted/one", "3")
	w.commit(t, "staging", "first", "a/new", "1", "a/both", `{"limit":100,"on":true}`, "a/other", "1")
	for _, tenant := range []ledger.Tenant{"target-light-1280", "target-light-400", "target-dark-1280", "target-dark-400"} {
		w.commit(t, tenant, "first", "a/both", `{"limit":250,"on":true}`, "a/other", "2", "a/own", "3")
	}
	for _, name := range []ledger.Tenant{"light-1280", "dark-1280", "light-400", "dark-400"} {
		w.commit(t, "resolved-"+name, "first", "a/one", "1", "a/two", "2", "a/gone", "3")
		w.commit(t, "parked-"+name, "first", "a/nested", "1")
		w.commit(t, "parked-"+name, "second", "a/nested/below", "2") // not a file next to the first
	}
	many := make([]string, 0, 300)
	for i := range 150 {
		many = append(many, fmt.Sprintf("m/%03d", i), "1")
	}
	w.commit(t, "many", "first", many...)
	browse(t, "console.mjs", w)
}

func TestConsole_TLS(t *testing.T) {
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
