package environ

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// await reads the file once it holds want; a command needs time to get there.
func await(t *testing.T, path, want string) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for {
		data, _ := os.ReadFile(path)
		if strings.Contains(string(data), want) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s holds %q, want %q", path, data, want)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// start runs a script with V=1. The channel gets its exit code.
func start(t *testing.T, script string, changed <-chan []string, signals <-chan os.Signal) <-chan int {
	done := make(chan int, 1)
	go func() {
		code, err := Run(t.Context(), []string{"sh", "-c", script}, []string{"V=1"}, changed, signals)
		if err != nil {
			t.Error(err)
		}
		done <- code
	}()
	return done
}

func TestRun_ReturnsTheExitCode(t *testing.T) {
	for script, want := range map[string]int{"exit 0": 0, "exit $CODE": 7, "kill -9 $$": 137} {
		code, err := Run(t.Context(), []string{"sh", "-c", script}, []string{"CODE=7"}, nil, nil)
		if err != nil || code != want {
			t.Errorf("%s: %d, %v; want %d", script, code, err, want)
		}
	}
	if _, err := Run(t.Context(), []string{"/no/such/command"}, nil, nil, nil); err == nil {
		t.Error("a command that is not there was run")
	}
}

func TestRun_RestartsForChangedVariables(t *testing.T) {
	log := filepath.Join(t.TempDir(), "log")
	t.Setenv("LOG", log)
	changed := make(chan []string)
	done := start(t, `trap 'echo stop $V >>$LOG; exit 0' TERM; echo start $V >>$LOG; [ $V = 3 ] && exit 5; while :; do sleep 0.01; done`, changed, nil)
	await(t, log, "start 1")
	changed <- []string{"V=1"}
	changed <- []string{"V=2"}
	await(t, log, "start 2")
	changed <- []string{"V=3"}
	if code := <-done; code != 5 {
		t.Errorf("exit code is %d", code)
	}
	data, err := os.ReadFile(log)
	if want := "start 1\nstop 1\nstart 2\nstop 2\nstart 3\n"; err != nil || string(data) != want {
		t.Errorf("log is %q, %v; want %q", data, err, want)
	}
}

func TestRun_ChangesInARowRestartOnce(t *testing.T) {
	log := filepath.Join(t.TempDir(), "log")
	t.Setenv("LOG", log)
	changed := make(chan []string, 3) // so that no change waits for the one before
	done := start(t, `trap 'exit 0' TERM; echo start $V >>$LOG; [ $V = 9 ] && exit 5; while :; do sleep 0.01; done`, changed, nil)
	await(t, log, "start 1")
	for _, v := range []string{"2", "3", "4"} {
		changed <- []string{"V=" + v}
	}
	await(t, log, "start 4")
	changed <- []string{"V=5"} // and back before anything has restarted
	changed <- []string{"V=4"}
	time.Sleep(2 * settle)
	changed <- []string{"V=9"}
	if code := <-done; code != 5 {
		t.Errorf("exit code is %d", code)
	}
	data, err := os.ReadFile(log)
	if want := "start 1\nstart 4\nstart 9\n"; err != nil || string(data) != want {
		t.Errorf("log is %q, %v; want %q", data, err, want)
	}
}

func TestRun_PassesSignals(t *testing.T) {
	log := filepath.Join(t.TempDir(), "log")
	t.Setenv("LOG", log)
	signals := make(chan os.Signal, 1)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan error, 1)
	go func() {
		script := `trap 'echo hup >>$LOG' HUP; echo ready >>$LOG; while :; do sleep 0.01; done`
		_, err := Run(ctx, []string{"sh", "-c", script}, nil, nil, signals)
		done <- err
	}()
	await(t, log, "ready")
	signals <- syscall.SIGHUP
	await(t, log, "hup")
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("error is %v", err)
	}
}

// A signal that comes while the command is stopped to start again is not lost with it.
func TestRun_SignalDuringRestart(t *testing.T) {
	log := filepath.Join(t.TempDir(), "log")
	t.Setenv("LOG", log)
	changed, signals := make(chan []string), make(chan os.Signal, 1)
	done := start(t, `trap 'echo interrupted >>$LOG; exit 6' INT; trap 'echo stop >>$LOG' TERM; echo start $V >>$LOG; [ $V = 2 ] && exit 5; while :; do sleep 0.01; done`, changed, signals)
	await(t, log, "start 1")
	changed <- []string{"V=2"}
	await(t, log, "stop")
	signals <- os.Interrupt
	if code := <-done; code != 6 {
		t.Errorf("exit code is %d, want the interrupted command's", code)
	}
}
