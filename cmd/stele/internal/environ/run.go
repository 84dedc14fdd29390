package environ

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"syscall"
	"time"
)

// settle is how long changes must pause before the program is started again, so that
// several commits in a row restart it once; settleMost bounds the wait.
const (
	settle     = 500 * time.Millisecond
	settleMost = 5 * time.Second
)

// grace is how long a program may take to end when it is asked to.
const grace = 10 * time.Second

// Run runs the command with the variables, which override the caller's own of the same
// name, until it ends, and returns its exit code: 128 plus the signal's number if a
// signal ended it. Signals on the channel signals are forwarded to it; one that asks it to end
// while it is stopped to start again ends Run as well. When changed brings other variables, and
// no more of them for half a second, the command is stopped (SIGTERM, and SIGKILL ten seconds
// later) and started with them; a nil changed never does. When ctx is done the command is
// stopped and ctx's error returned.
func Run(ctx context.Context, argv, vars []string, changed <-chan []string, signals <-chan os.Signal) (int, error) {
	for {
		code, next, err := runOnce(ctx, argv, vars, changed, signals)
		if err != nil || next == nil {
			return code, err
		}
		vars = next
	}
}

// runOnce returns the variables to start again with, or nil when the command
// has ended by itself.
func runOnce(ctx context.Context, argv, vars []string, changed <-chan []string, signals <-chan os.Signal) (code int, next []string, err error) {
	running, stop := context.WithCancel(ctx)
	defer stop()
	cmd := exec.CommandContext(running, argv[0], argv[1:]...)
	cmd.Env = append(os.Environ(), vars...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = grace
	if err := cmd.Start(); err != nil {
		return 0, nil, fmt.Errorf("start %s: %w", argv[0], err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	var quiet <-chan time.Time // set while changes settle
	var first time.Time        // when the first of them came
	var asked bool             // to end, by a signal that came while it was stopped to start again
	for {
		select {
		case err := <-ended:
			switch {
			case ctx.Err() != nil:
				return 0, nil, ctx.Err()
			case next != nil && quiet == nil && !asked:
				return 0, next, nil
			}
			code, err := exitCode(cmd, err)
			return code, nil, err
		case v := <-changed:
			if next == nil && slices.Equal(v, vars) {
				continue
			}
			if next == nil {
				first = time.Now()
			}
			if next = v; running.Err() == nil {
				quiet = time.After(min(settle, settleMost-time.Since(first)))
			}
		case <-quiet:
			if quiet = nil; slices.Equal(next, vars) { // changed, and changed back
				next = nil
				continue
			}
			stop()
		case s := <-signals:
			if running.Err() != nil && (s == os.Interrupt || s == syscall.SIGTERM || s == syscall.SIGQUIT) {
				asked = true
			}
			// It fails only where the command has just ended.
			_ = cmd.Process.Signal(s)
		}
	}
}

func exitCode(cmd *exec.Cmd, err error) (int, error) {
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return 0, fmt.Errorf("run %s: %w", cmd.Path, err)
	}
	if ws, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		return 128 + int(ws.Signal()), nil
	}
	return cmd.ProcessState.ExitCode(), nil
}
