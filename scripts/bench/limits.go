package main

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/stelehq/stele/scripts/bench/peer"
	"golang.org/x/sys/unix"
)

// limits is what a measurement used of the machine, warm-up included.
type limits struct {
	// Flushes is how many flushes a second the disk did, which is how fsyncs end; an
	// fsync of several callers may share one. Negative if the kernel does not count
	// them for the file system.
	Flushes float64 `json:"flushes"`
	// Flushing is the part of the time in which the disk flushed.
	Flushing float64 `json:"flushing"`
	// CPU is the part of all cores that each process used.
	CPU []cpuShare `json:"cpu"`
}

// cpuShare is the part of all cores that a process used.
type cpuShare struct {
	Process string  `json:"process"`
	Part    float64 `json:"part"`
}

// The names of other processes than a peer's.
const (
	loadProcess  = "load"  // this program
	otherProcess = "other" // everything else on the machine, with the kernel's own work
)

// meter is the counters at the start of a measurement.
type meter struct {
	begun   time.Time
	cpu     func() ([]peer.CPUTime, error)
	procs   []peer.CPUTime
	load    time.Duration
	machine time.Duration
	disk    diskCounters
	stat    string
}

// measureLimits starts a meter of processes, which cpu lists in the same order each
// time; dir is a directory on the disk.
func measureLimits(cpu func() ([]peer.CPUTime, error), dir string) (*meter, error) {
	m := &meter{cpu: cpu, stat: diskStat(dir)}
	var err error
	if m.procs, m.load, m.machine, m.disk, err = m.read(); err != nil {
		return nil, fmt.Errorf("read what the machine does: %w", err)
	}
	m.begun = time.Now()
	return m, nil
}

func (m *meter) read() (procs []peer.CPUTime, load, machine time.Duration, disk diskCounters, err error) {
	if procs, err = m.cpu(); err != nil {
		return
	}
	var usage syscall.Rusage
	if err = syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		return
	}
	load = time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
	if machine, err = machineCPU(); err != nil {
		return
	}
	disk, err = readDisk(m.stat)
	return
}

// stop returns what has been used since the start.
func (m *meter) stop() (*limits, error) {
	procs, load, machine, disk, err := m.read()
	if err != nil {
		return nil, fmt.Errorf("read what the machine does: %w", err)
	}
	took := time.Since(m.begun).Seconds()
	cores := took * float64(runtime.NumCPU())
	l := &limits{Flushes: -1}
	known := load - m.load
	for i, p := range procs {
		used := p.Time - m.procs[i].Time
		known += used
		l.CPU = append(l.CPU, cpuShare{p.Process, used.Seconds() / cores})
	}
	l.CPU = append(l.CPU, cpuShare{loadProcess, (load - m.load).Seconds() / cores})
	l.CPU = append(l.CPU, cpuShare{otherProcess, max(0, (machine-m.machine-known).Seconds()/cores)})
	if m.stat != "" {
		l.Flushes = float64(disk.flushes-m.disk.flushes) / took
		l.Flushing = (disk.flushing - m.disk.flushing).Seconds() / took
	}
	return l, nil
}

// A resource limits a measurement when it is used for so much of the time.
const (
	cpuFull  = 0.9
	diskFull = 0.7
	// disturbing is the part that other processes may use before the measurement says
	// so.
	disturbing = 0.1
)

// text names what limits the measurement, then what was used.
func (l *limits) text() string {
	if l == nil {
		return "-"
	}
	var (
		full      []string
		parts     []string
		sum       float64
		disturbed bool
	)
	for _, c := range l.CPU {
		sum += c.Part
		if c.Process == otherProcess && c.Part < disturbing {
			continue
		}
		if c.Process == otherProcess {
			disturbed = true
		}
		parts = append(parts, fmt.Sprintf("%s %.0f", c.Process, c.Part*100))
	}
	switch {
	case disturbed:
		full = append(full, "disturbed")
	case sum >= cpuFull:
		full = append(full, "cpu")
	}
	if l.Flushing >= diskFull {
		full = append(full, "disk")
	}
	if len(full) == 0 {
		full = append(full, "latency")
	}
	s := fmt.Sprintf("%s: %s %%", strings.Join(full, ", "), strings.Join(parts, " + "))
	if l.Flushes >= 1 {
		s += fmt.Sprintf(", %s flushes/s %.0f %%", countText(l.Flushes), min(l.Flushing, 1)*100)
	}
	return s
}

// machineCPU is the processor time that everything on the machine has used.
func machineCPU() (time.Duration, error) {
	b, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, err
	}
	var user, nice, system, idle, wait, irq, softirq, steal int64
	if _, err := fmt.Sscanf(string(b), "cpu %d %d %d %d %d %d %d %d", &user, &nice, &system, &idle, &wait, &irq, &softirq, &steal); err != nil {
		return 0, fmt.Errorf("read /proc/stat: %w", err)
	}
	const clockTick = 10 * time.Millisecond // the unit of /proc/stat
	return time.Duration(user+nice+system+irq+softirq+steal) * clockTick, nil
}

// diskCounters are what the kernel counts of a disk.
type diskCounters struct {
	flushes  int64
	flushing time.Duration
}

// diskStat is the file of the counters of the disk that dir is on; empty if the
// file system does not have one.
func diskStat(dir string) string {
	var st unix.Stat_t
	if err := unix.Stat(dir, &st); err != nil {
		return ""
	}
	device, err := filepath.EvalSymlinks(fmt.Sprintf("/sys/dev/block/%d:%d", unix.Major(st.Dev), unix.Minor(st.Dev)))
	if err != nil {
		return ""
	}
	// Flushes are counted for the whole disk only.
	if _, err := os.Stat(filepath.Join(device, "partition")); err == nil {
		device = filepath.Dir(device)
	}
	return filepath.Join(device, "stat")
}

// readDisk reads the counters; they are 0 for an empty file name and kernels that
// do not count flushes.
func readDisk(stat string) (diskCounters, error) {
	if stat == "" {
		return diskCounters{}, nil
	}
	b, err := os.ReadFile(stat)
	if err != nil {
		return diskCounters{}, err
	}
	// Documentation/block/stat.rst: flushes are fields 16 and 17.
	f := strings.Fields(string(b))
	if len(f) < 17 {
		return diskCounters{}, nil
	}
	var flushes, ms int64
	if _, err := fmt.Sscan(f[15], &flushes); err != nil {
		return diskCounters{}, err
	}
	if _, err := fmt.Sscan(f[16], &ms); err != nil {
		return diskCounters{}, err
	}
	return diskCounters{flushes, time.Duration(ms) * time.Millisecond}, nil
}
