package peer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
)

const (
	// startTimeout bounds the time from exec to the first answer. Replaying some
	// million writes may take a while.
	startTimeout = 10 * time.Minute
	// stopTimeout is how long a process may take to end by itself.
	stopTimeout = time.Minute
	// startTries is how often Run starts a peer that ends before it answers, for
	// example because another process has taken one of its ports.
	startTries = 3
)

// Instance is a peer that runs, in one process or several.
type Instance struct {
	peer  Peer
	dir   string
	addrs []string // of the processes that serve clients
	procs []*process
}

// process is one process of an instance.
type process struct {
	name   string
	cmd    *exec.Cmd
	log    *os.File
	exited chan struct{}
	err    error // of Wait; read after exited is closed
}

// Run starts the peer on the new directory dir and returns when it can be used. If a
// process ends before, Run tries again with other ports.
func Run(ctx context.Context, p Peer, dir string) (*Instance, error) {
	ready := func(context.Context, Client) error { return nil }
	if p, ok := p.(Probed); ok {
		ready = p.Probe
	}
	for try := 1; ; try++ {
		in, err := Start(ctx, p, dir)
		if err == nil {
			if err = in.Await(ctx, ready); err == nil {
				return in, nil
			}
			_ = in.Stop(syscall.SIGKILL)
		}
		if ctx.Err() != nil || try == startTries || !errors.Is(err, errEnded) {
			return nil, err
		}
		log.Printf("start %s again: %v", p.Name(), err)
		if err := os.RemoveAll(dir); err != nil {
			return nil, err
		}
	}
}

// Start starts the processes of the peer on the files in dir. It does not wait for
// the last one to answer; Await does.
func Start(ctx context.Context, p Peer, dir string) (*Instance, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("start %s: %w", p.Name(), err)
	}
	programs, err := p.Programs(dir, freeAddr)
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", p.Name(), err)
	}
	in := &Instance{peer: p, dir: dir}
	for _, program := range programs {
		if program.Addr != "" {
			in.addrs = append(in.addrs, program.Addr)
		}
	}
	for _, program := range programs {
		proc, err := startProcess(program, dir+"-"+program.Name+".log")
		if err != nil {
			return nil, errors.Join(fmt.Errorf("start %s: %w", program.Name, err), in.Stop(syscall.SIGKILL))
		}
		in.procs = append(in.procs, proc)
		if program.Ready == nil {
			continue
		}
		if err := in.await(ctx, program.Ready); err != nil {
			_ = in.Stop(syscall.SIGKILL)
			return nil, err
		}
	}
	return in, nil
}

func startProcess(program Program, logFile string) (*process, error) {
	log, err := os.OpenFile(logFile, os.O_CREATE|os.O_APPEND|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	program.Cmd.Stdout, program.Cmd.Stderr = log, log
	// Ctrl-C is for the benchmark, which stops its peers itself.
	program.Cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := program.Cmd.Start(); err != nil {
		log.Close()
		return nil, err
	}
	pr := &process{name: program.Name, cmd: program.Cmd, log: log, exited: make(chan struct{})}
	go func() {
		pr.err = program.Cmd.Wait()
		close(pr.exited)
	}()
	return pr, nil
}

// errEnded is the error of a peer of which a process ended while it was expected
// to answer.
var errEnded = errors.New("process ended")

// Await tries until the peer runs and ready returns no error with a client that is
// connected to every process that serves.
func (in *Instance) Await(ctx context.Context, ready func(context.Context, Client) error) error {
	return in.await(ctx, func(ctx context.Context) error {
		// Without this, a client library's own backoff would be measured.
		for _, addr := range in.addrs {
			conn, err := net.Dial("tcp", addr)
			if err != nil {
				return err
			}
			conn.Close()
		}
		c, err := in.Dial(ctx, 1)
		if err != nil {
			return err
		}
		defer c.Close()
		return ready(ctx, c)
	})
}

// await tries ready until it succeeds or a process ends.
func (in *Instance) await(ctx context.Context, ready func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for {
		tryCtx, stop := context.WithTimeout(ctx, 10*time.Second)
		// Another process may listen on the port of one that has ended, and not answer.
		for _, pr := range in.procs {
			go pr.onExit(tryCtx, stop)
		}
		err := ready(tryCtx)
		stop()
		if err == nil {
			return nil
		}
		for _, pr := range in.procs {
			select {
			case <-pr.exited:
				return fmt.Errorf("%w: %s: %w%s", errEnded, pr.name, errors.Join(pr.err, err), pr.logTail())
			default:
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s does not answer: %w%s", in.peer.Name(), err, in.procs[len(in.procs)-1].logTail())
		case <-tick.C:
		}
	}
}

// onExit calls f when the process ends, and returns then or when ctx is done.
func (pr *process) onExit(ctx context.Context, f func()) {
	select {
	case <-pr.exited:
		f()
	case <-ctx.Done():
	}
}

// Addrs are the addresses that clients dial.
func (in *Instance) Addrs() []string { return in.addrs }

// Dial opens conns connections to the peer, and at least one to each process that
// serves.
func (in *Instance) Dial(ctx context.Context, conns int) (Client, error) {
	return in.dial(ctx, in.addrs, max(conns, len(in.addrs)))
}

// DialOne opens conns connections to one process that serves, the i-th.
func (in *Instance) DialOne(ctx context.Context, i, conns int) (Client, error) {
	return in.dial(ctx, in.addrs[i:i+1], conns)
}

func (in *Instance) dial(ctx context.Context, addrs []string, conns int) (Client, error) {
	c, err := in.peer.Dial(ctx, in.dir, addrs, conns)
	if err != nil {
		return nil, fmt.Errorf("dial %s: %w", in.peer.Name(), err)
	}
	return c, nil
}

// Stop ends the processes with sig, the last first, and waits for each. One that
// takes longer than a minute is killed.
func (in *Instance) Stop(sig syscall.Signal) error {
	var errs []error
	for i := len(in.procs) - 1; i >= 0; i-- {
		errs = append(errs, in.procs[i].stop(sig))
	}
	return errors.Join(errs...)
}

func (pr *process) stop(sig syscall.Signal) error {
	defer pr.log.Close()
	// A process that has already ended is reported below.
	_ = pr.cmd.Process.Signal(sig)
	select {
	case <-pr.exited:
	case <-time.After(stopTimeout):
		_ = pr.cmd.Process.Kill()
		<-pr.exited
		return fmt.Errorf("stop %s: it did not end within %s of %s%s", pr.name, stopTimeout, sig, pr.logTail())
	}
	if pr.err != nil && sig != syscall.SIGKILL {
		return fmt.Errorf("stop %s: %w%s", pr.name, pr.err, pr.logTail())
	}
	return nil
}

// Memory is resident memory in bytes.
type Memory struct {
	Resident int64
	// Anonymous is the part that is not pages of files.
	Anonymous int64
}

// Memory sums the memory of the processes.
func (in *Instance) Memory() (m Memory, err error) {
	for _, pr := range in.procs {
		for name, sum := range map[string]*int64{"VmRSS:": &m.Resident, "RssAnon:": &m.Anonymous} {
			n, err := pr.status(name)
			if err != nil {
				return Memory{}, err
			}
			*sum += n
		}
	}
	return m, nil
}

// status reads a number of kB from the process's status, in bytes.
func (pr *process) status(name string) (int64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pr.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	for line := range bytes.Lines(b) {
		if f := bytes.Fields(line); len(f) == 3 && string(f[0]) == name {
			kib, err := strconv.ParseInt(string(f[1]), 10, 64)
			return kib << 10, err
		}
	}
	return 0, fmt.Errorf("%s: no %s in /proc", pr.name, name)
}

// clockTick is the unit of processor times in /proc.
const clockTick = 10 * time.Millisecond

// CPUTime is the processor time that a process has used.
type CPUTime struct {
	Process string
	Time    time.Duration
}

// CPU is the processor time of each process.
func (in *Instance) CPU() ([]CPUTime, error) {
	var times []CPUTime
	for _, pr := range in.procs {
		d, err := pr.cpu()
		if err != nil {
			return nil, err
		}
		times = append(times, CPUTime{pr.name, d})
	}
	return times, nil
}

func (pr *process) cpu() (time.Duration, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pr.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	// The name, in parentheses, may hold anything.
	f := bytes.Fields(b[bytes.LastIndexByte(b, ')')+1:])
	if len(f) < 13 {
		return 0, fmt.Errorf("%s: no times in /proc", pr.name)
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

// Disk is the size of the peer's files on disk, by file or directory; a directory that
// is alone in its directory is listed by its content.
func (in *Instance) Disk() ([]Part, error) {
	root, prefix := in.dir, ""
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
func (pr *process) logTail() string {
	const most = 2000
	b, err := os.ReadFile(pr.log.Name())
	if err != nil || len(b) == 0 {
		return ""
	}
	return "; it printed:\n" + string(b[max(0, len(b)-most):])
}
