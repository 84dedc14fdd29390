// Package memory bounds the memory of a server process: it finds the limit, from a
// flag, GOMEMLIMIT, the cgroup or the machine, and sets the garbage collector for it.
//
// The limit is Go's soft memory limit: it counts the heap, the stacks and what else the
// Go runtime holds, but not the pages of mapped files, which the kernel takes back
// when it needs memory. The collector runs more often as the process comes near the
// limit, but it never takes more than half of the processor time, so what the process
// really needs is not bounded by the limit alone.
package memory

import (
	"fmt"
	"io/fs"
	"math"
	"os"
	"runtime/debug"
	"strconv"
	"strings"

	"github.com/stelehq/stele/internal/budget"
)

// Shares of the memory that a process may use of its surroundings, when neither a flag
// nor GOMEMLIMIT sets a limit.
const (
	// cgroupShare leaves room for the pages of the replica's mapped file and for socket
	// buffers, which count towards the cgroup's limit and not towards Go's.
	cgroupShare = 0.75
	// leastContainer is the smallest limit of a cgroup, in bytes, whose share is budget.Least, rounded up.
	leastContainer = 171 << 20
	// machineShare also leaves room for the other processes of the machine.
	machineShare = 0.5
)

// Limit is the memory limit of a process and where it comes from.
type Limit struct {
	// Bytes is the limit; math.MaxInt64 if there is none.
	Bytes int64
	// Source names where it comes from, for example "--memory-limit".
	Source string
}

func (l Limit) String() string {
	if l.Bytes == math.MaxInt64 {
		return "none, from " + l.Source
	}
	return fmt.Sprintf("%s, from %s", Format(l.Bytes), l.Source)
}

// Set finds the limit, sets it, and returns it. flag is the value of --memory-limit, 0 if
// it was not given. GOMEMLIMIT and GOGC, if they are set, stay in force. A limit below
// budget.Least is an error.
func Set(flag Size) (Limit, error) {
	l := find(flag, os.LookupEnv, os.DirFS("/"), debug.SetMemoryLimit(-1))
	if l.Bytes < budget.Least {
		return l, fmt.Errorf("the memory limit of %s, is too small: set at least %s with --memory-limit, and %s for a container", l, Format(budget.Least), Format(leastContainer))
	}
	debug.SetMemoryLimit(l.Bytes)
	if _, set := os.LookupEnv("GOGC"); !set && l.Bytes != math.MaxInt64 {
		adjust()
	}
	return l, nil
}

// find returns the first limit of: the flag, GOMEMLIMIT (which the runtime has parsed
// already, as current), the cgroup, the machine. root is the root of the file system. The
// first two are lowered to what the third allows: a process with the same limit as its
// container is killed when it comes near it.
func find(flag Size, env func(string) (string, bool), root fs.FS, current int64) Limit {
	machine, bytes := machineMemory(root), cgroupLimit(root)
	cgroup := Limit{math.MaxInt64, ""}
	if bytes > 0 && (machine == 0 || bytes < machine) {
		cgroup = Limit{share(bytes, cgroupShare), fmt.Sprintf("%.0f%% of the cgroup's limit of %s", 100*cgroupShare, Format(bytes))}
	}
	if flag > 0 {
		return smaller(Limit{int64(flag), "--memory-limit"}, cgroup)
	}
	if v, set := env("GOMEMLIMIT"); set && v != "" {
		return smaller(Limit{current, "GOMEMLIMIT"}, cgroup)
	}
	if cgroup.Source != "" {
		return cgroup
	}
	if machine > 0 {
		return Limit{share(machine, machineShare), fmt.Sprintf("%.0f%% of the machine's memory of %s", 100*machineShare, Format(machine))}
	}
	return Limit{math.MaxInt64, "a machine whose memory is unknown"}
}

// smaller is the limit that was asked for, unless the cgroup allows less.
func smaller(asked, cgroup Limit) Limit {
	if asked.Bytes <= cgroup.Bytes {
		return asked
	}
	return Limit{cgroup.Bytes, fmt.Sprintf("%s, which is less than %s of %s", cgroup.Source, asked.Source, Format(asked.Bytes))}
}

func share(bytes int64, of float64) int64 { return int64(float64(bytes) * of) }

// machineMemory returns the memory of the machine in bytes, 0 if it is unknown.
func machineMemory(root fs.FS) int64 {
	text, err := fs.ReadFile(root, "proc/meminfo")
	if err != nil {
		return 0 // no Linux
	}
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) == 3 && f[0] == "MemTotal:" && f[2] == "kB" {
			kib, err := strconv.ParseInt(f[1], 10, 64)
			if err != nil {
				return 0
			}
			return kib << 10
		}
	}
	return 0
}
