package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"go.etcd.io/etcd/api/v3/version"
)

// machine is what the numbers depend on.
type machine struct {
	CPU        string `json:"cpu"`
	Cores      int    `json:"cores"`
	Memory     int64  `json:"memory"` // bytes
	Kernel     string `json:"kernel"`
	Go         string `json:"go"`
	FileSystem string `json:"file_system"`
	// FsyncP50 and FsyncP99 are seconds to append 4 KiB to a file and fsync it.
	FsyncP50 float64 `json:"fsync_p50"`
	FsyncP99 float64 `json:"fsync_p99"`
	// Stele, Etcd and NATS are versions.
	Stele string `json:"stele"`
	Etcd  string `json:"etcd"`
	NATS  string `json:"nats"`
}

// probeMachine looks at the machine, and at the file system of dir.
func probeMachine(dir string) (machine, error) {
	fsync, err := probeFsync(dir)
	if err != nil {
		return machine{}, fmt.Errorf("probe fsync: %w", err)
	}
	kernel, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		return machine{}, err
	}
	cpu, err := field("/proc/cpuinfo", "model name")
	if err != nil {
		return machine{}, err
	}
	total, err := field("/proc/meminfo", "MemTotal")
	if err != nil {
		return machine{}, err
	}
	var kib int64
	if _, err := fmt.Sscanf(total, "%d kB", &kib); err != nil {
		return machine{}, fmt.Errorf("read MemTotal %q: %w", total, err)
	}
	fs, err := fileSystem(dir)
	if err != nil {
		return machine{}, err
	}
	return machine{
		CPU:        cpu,
		Cores:      runtime.NumCPU(),
		Memory:     kib << 10,
		Kernel:     strings.TrimSpace(string(kernel)),
		Go:         runtime.Version(),
		FileSystem: fs,
		FsyncP50:   fsync.p50.Seconds(),
		FsyncP99:   fsync.p99.Seconds(),
		Etcd:       version.Version,
		NATS:       server.VERSION,
	}, nil
}

func (m machine) write(w io.Writer) {
	fmt.Fprintf(w, "%d cores of %s, %s memory, Linux %s, %s, %s; 4 KiB write and fsync p50 %s, p99 %s: %.0f fsyncs/s one after the other. %s, etcd %s, nats-server %s.\n",
		m.Cores, m.CPU, bytesText(float64(m.Memory)), m.Kernel, m.Go, m.FileSystem, secondsText(m.FsyncP50), secondsText(m.FsyncP99), 1/m.FsyncP50, m.Stele, m.Etcd, m.NATS)
	fmt.Fprint(w, `
Cells: rate (latency p50, p99), or p50, p99; medians of the rounds. Ratios: Stele's number divided by the
peer's in the same round, in the same order, then the median of the rounds; more is better for rates, less for
everything else. "What limits it" names what was used up (latency: neither the processors nor the disk; disturbed:
other processes used a tenth of the processors or more), then the share of all cores that each process used (load:
the benchmark's own callers), and the disk's flushes a second with the share of the time that they took.
`)
}

// field reads "name : value" from a file of /proc; "" when it has none.
func field(path, name string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		if k, v, ok := strings.Cut(lines.Text(), ":"); ok && strings.TrimSpace(k) == name {
			return strings.TrimSpace(v), nil
		}
	}
	return "", lines.Err()
}

// fileSystem is the type of the file system that dir is in, found by the longest
// mount point above it.
func fileSystem(dir string) (string, error) {
	dir, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return "", err
	}
	b, err := os.ReadFile("/proc/mounts")
	if err != nil {
		return "", err
	}
	kind, longest := "", -1
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line)
		at := strings.TrimSuffix(f[1], "/")
		if len(at) > longest && strings.HasPrefix(dir+"/", at+"/") {
			kind, longest = f[2], len(at)
		}
	}
	return kind, nil
}

// probeFsync times appends of 4 KiB, each followed by an fsync.
func probeFsync(dir string) (sample, error) {
	const probes = 300
	f, err := os.CreateTemp(dir, "fsync-")
	if err != nil {
		return sample{}, err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	block := slices.Repeat([]byte{'x'}, 4096)
	var took []time.Duration
	for range probes {
		start := time.Now()
		if _, err := f.Write(block); err != nil {
			return sample{}, err
		}
		if err := f.Sync(); err != nil {
			return sample{}, err
		}
		took = append(took, time.Since(start))
	}
	return quantiles(took), nil
}
