package peer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
)

// startTimeout bounds the time from exec to the first answer. Replaying a
// million writes may take a while.
const startTimeout = 5 * time.Minute

// stopTimeout is how long a peer may take to end by itself.
const stopTimeout = time.Minute

// Process is a peer that runs.
type Process struct {
	peer Peer
	dir  string
	addr string

	cmd    *exec.Cmd
	log    *os.File
	exited chan struct{}
	err    error // of Wait; read after exited is closed
}

// Start runs the peer on the files in dir and returns at once; Await and Dial
// wait for it.
func Start(p Peer, dir string) (*Process, error) {
	addr, err := freeAddr()
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", p.Name(), err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("start %s: %w", p.Name(), err)
	}
	log, err := os.OpenFile(dir+".log", os.O_CREATE|os.O_APPEND|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", p.Name(), err)
	}
	cmd := p.Command(dir, addr)
	cmd.Stdout, cmd.Stderr = log, log
	// Ctrl-C is for the benchmark, which stops its peers itself.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		log.Close()
		return nil, fmt.Errorf("start %s: %w", p.Name(), err)
	}
	pr := &Process{peer: p, dir: dir, addr: addr, cmd: cmd, log: log, exited: make(chan struct{})}
	go func() {
		pr.err = cmd.Wait()
		close(pr.exited)
	}()
	return pr, nil
}

// freeAddr finds a loopback port that nobody listens on.
func freeAddr() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}

// Await tries until the peer runs and ready returns no error with a client of
// one connection.
func (p *Process) Await(ctx context.Context, ready func(context.Context, Client) error) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for {
		err := p.try(ctx, ready)
		if err == nil {
			return nil
		}
		select {
		case <-p.exited:
			return fmt.Errorf("%s ended: %w%s", p.peer.Name(), errors.Join(p.err, err), p.logTail())
		case <-ctx.Done():
			return fmt.Errorf("%s does not answer: %w%s", p.peer.Name(), err, p.logTail())
		case <-tick.C:
		}
	}
}

func (p *Process) try(ctx context.Context, ready func(context.Context, Client) error) error {
	// Without this, a client library's own back-off would be measured.
	conn, err := net.Dial("tcp", p.addr)
	if err != nil {
		return err
	}
	conn.Close()
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	c, err := p.Dial(ctx, 1)
	if err != nil {
		return err
	}
	defer c.Close()
	return ready(ctx, c)
}

// Dial opens conns connections to the peer.
func (p *Process) Dial(ctx context.Context, conns int) (Client, error) {
	c, err := p.peer.Dial(ctx, p.dir, p.addr, conns)
	if err != nil {
		return nil, fmt.Errorf("dial %s: %w", p.peer.Name(), err)
	}
	return c, nil
}

// Stop ends the process with sig and waits for it. It is killed when it takes
// longer than a minute.
func (p *Process) Stop(sig syscall.Signal) error {
	defer p.log.Close()
	// A process that has already ended is reported below.
	_ = p.cmd.Process.Signal(sig)
	select {
	case <-p.exited:
	case <-time.After(stopTimeout):
		_ = p.cmd.Process.Kill()
		<-p.exited
		return fmt.Errorf("stop %s: it did not end within %s of %s%s", p.peer.Name(), stopTimeout, sig, p.logTail())
	}
	if p.err != nil && sig != syscall.SIGKILL {
		return fmt.Errorf("stop %s: %w%s", p.peer.Name(), p.err, p.logTail())
	}
	return nil
}

// RSS is the process's resident memory in bytes.
func (p *Process) RSS() (int64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	for line := range bytes.Lines(b) {
		if f := bytes.Fields(line); len(f) == 3 && string(f[0]) == "VmRSS:" {
			kib, err := strconv.ParseInt(string(f[1]), 10, 64)
			return kib << 10, err
		}
	}
	return 0, fmt.Errorf("%s: no VmRSS in /proc", p.peer.Name())
}

// clockTick is the unit of processor times in /proc.
const clockTick = 10 * time.Millisecond

// CPU is the processor time that the process has used.
func (p *Process) CPU() (time.Duration, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	// The name, in parentheses, may hold anything.
	f := bytes.Fields(b[bytes.LastIndexByte(b, ')')+1:])
	if len(f) < 13 {
		return 0, fmt.Errorf("%s: no times in /proc", p.peer.Name())
	}
	user, err := strconv.ParseInt(string(f[11]), 10, 64)
	if err != nil {
		return 0, err
	}
	system, err := strconv.ParseInt(string(f[12]), 10, 64)
	return time.Duration(user+system) * clockTick, err
}

// Part is some of a peer's files.
type Part struct {
	Name  string `json:"name"`
	Bytes int64  `json:"bytes"`
}

// Disk is what the peer's files take on disk, by file or folder; a folder that
// is alone in its folder is looked into.
func (p *Process) Disk() ([]Part, error) {
	root, prefix := p.dir, ""
	entries, err := os.ReadDir(root)
	for err == nil && len(entries) == 1 && entries[0].IsDir() {
		root, prefix = filepath.Join(root, entries[0].Name()), prefix+entries[0].Name()+"/"
		entries, err = os.ReadDir(root)
	}
	if err != nil {
		return nil, err
	}
	var parts []Part
	for _, e := range entries {
		n, err := allocated(filepath.Join(root, e.Name()))
		if err != nil {
			return nil, err
		}
		parts = append(parts, Part{prefix + e.Name(), n})
	}
	return parts, nil
}

// allocated sums the blocks of all files under path. Files that vanish
// meanwhile count nothing.
func allocated(path string) (int64, error) {
	var sum int64
	err := filepath.WalkDir(path, func(_ string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		info, err := d.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		sum += info.Sys().(*syscall.Stat_t).Blocks * 512
		return nil
	})
	return sum, err
}

// logTail is the end of what the process printed, for an error message.
func (p *Process) logTail() string {
	const most = 2000
	b, err := os.ReadFile(p.log.Name())
	if err != nil || len(b) == 0 {
		return ""
	}
	return "; it printed:\n" + string(b[max(0, len(b)-most):])
}
