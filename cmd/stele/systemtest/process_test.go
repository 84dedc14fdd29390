package systemtest

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stelehq/stele/cmd/stele/internal/certs"
	"github.com/stelehq/stele/cmd/stele/internal/conn"
	"github.com/stelehq/stele/internal/ledger"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// soon bounds events without intervention: a start, a catch-up, an election.
const soon = time.Minute

// process is a program that runs.
type process struct {
	cmd    *exec.Cmd
	output string // file with all that it printed
	exited chan struct{}
}

// launch starts a program in a process group of its own. The test's end kills
// it, and a test that fails shows the end of what it printed.
func launch(t *testing.T, env []string, program string, args ...string) *process {
	t.Helper()
	output, err := os.CreateTemp(t.TempDir(), filepath.Base(program)+"-*.log")
	if err != nil {
		t.Fatal(err)
	}
	defer output.Close()
	p := &process{cmd: exec.Command(program, args...), output: output.Name(), exited: make(chan struct{})}
	p.cmd.Env, p.cmd.Stdout, p.cmd.Stderr = env, output, output
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		p.cmd.Wait()
		close(p.exited)
	}()
	t.Cleanup(func() {
		p.kill()
		if t.Failed() {
			t.Logf("the end of what %s %s printed:\n%s", filepath.Base(program), strings.Join(args, " "), p.tail(t))
		}
	})
	return p
}

// kill is kill -9: the process gets no chance to do anything.
func (p *process) kill() {
	p.cmd.Process.Kill()
	<-p.exited
}

// stop asks the process to end, as a supervisor does.
func (p *process) stop(t *testing.T) {
	t.Helper()
	p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.exited:
	case <-time.After(soon):
		t.Fatalf("%s did not end when asked to", p.cmd.Path)
	}
}

func (p *process) printed(t *testing.T) []byte {
	t.Helper()
	text, err := os.ReadFile(p.output)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func (p *process) tail(t *testing.T) []byte {
	const most = 20
	lines := bytes.SplitAfter(p.printed(t), []byte("\n"))
	return bytes.Join(lines[max(0, len(lines)-most):], nil)
}

// await asks again and again until done says yes.
func await(t *testing.T, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(soon); !done(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not after %s", what, soon)
		}
	}
}

// environment is the environment of a stele that ada runs, with all settings in its
// arguments and in the configuration file.
func environment(config string) []string {
	env := slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "STELE_") })
	return append(env, "STELE_CONFIG="+config, "USER=ada")
}

// gateway is a stele that serves, and a client's connection to it.
type gateway struct {
	*process
	conn   *grpc.ClientConn
	ledger stelev1.LedgerClient
	config stelev1.ConfigClient
}

var announced = regexp.MustCompile(`(?m)^  gRPC +(\S+)`)

// serving waits until the process says where it serves, and connects to it.
func serving(t *testing.T, p *process, token func() (string, error)) *gateway {
	t.Helper()
	cc, err := conn.Dial(p.serves(t), certs.Files{}, token)
	if err != nil {
		t.Fatal(err)
	}
	return clientOf(t, p, cc)
}

// serves waits until the process says where it serves.
func (p *process) serves(t *testing.T) (address string) {
	t.Helper()
	var found [][]byte
	await(t, "start of stele", func() bool {
		select {
		case <-p.exited:
			t.Fatalf("stele ended at once:\n%s", p.tail(t))
		default:
		}
		found = announced.FindSubmatch(p.printed(t))
		return found != nil
	})
	return string(found[1])
}

func clientOf(t *testing.T, p *process, cc *grpc.ClientConn) *gateway {
	t.Cleanup(func() { cc.Close() })
	return &gateway{p, cc, stelev1.NewLedgerClient(cc), stelev1.NewConfigClient(cc)}
}

// launchUp is "stele up" on a data folder, before it serves.
func launchUp(t *testing.T, data, config string, more ...string) *process {
	t.Helper()
	args := append([]string{"up", "--data", data, "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0", "--web", "127.0.0.1:0"}, more...)
	return launch(t, environment(config), "stele", args...)
}

// startUp is "stele up" on a data folder, with its operator's token.
func startUp(t *testing.T, data, config string, more ...string) *gateway {
	t.Helper()
	return serving(t, launchUp(t, data, config, more...), func() (string, error) {
		token, err := os.ReadFile(filepath.Join(data, "token"))
		return strings.TrimSpace(string(token)), err
	})
}

// acting is a context of calls for a tenant.
func acting(t *testing.T, tenant ledger.Tenant) context.Context {
	return conn.AsTenant(t.Context(), tenant)
}

// untilUp makes a call again for as long as the answer may only be late.
func untilUp[Req, Resp any](t *testing.T, ctx context.Context, call func(context.Context, Req, ...grpc.CallOption) (Resp, error), req Req) Resp {
	t.Helper()
	var resp Resp
	await(t, "an answer", func() bool {
		var err error
		resp, err = call(ctx, req)
		if err != nil && status.Code(err) != codes.Unavailable {
			t.Fatal(err)
		}
		return err == nil
	})
	return resp
}
