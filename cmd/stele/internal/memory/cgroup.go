package memory

import (
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
)

// cgroupLimit returns the smallest memory limit of the cgroups that the process is in, in
// bytes, 0 if there is none. It reads cgroup v1 and v2 where systemd and container
// runtimes mount them, and where both are mounted, the one that controls memory.
func cgroupLimit(root fs.FS) int64 {
	text, err := fs.ReadFile(root, "proc/self/cgroup")
	if err != nil {
		return 0
	}
	// Each line is hierarchy:controllers:path; v2 has the hierarchy 0 and no controllers.
	var v1, v2 string
	for line := range strings.Lines(string(text)) {
		f := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(f) != 3 {
			continue
		}
		switch {
		case f[0] == "0" && f[1] == "":
			v2 = f[2]
		case slices.Contains(strings.Split(f[1], ","), "memory"):
			v1 = f[2]
		}
	}
	if v1 != "" {
		return smallest(root, "sys/fs/cgroup/memory", v1, "memory.limit_in_bytes")
	}
	return smallest(root, "sys/fs/cgroup", v2, "memory.max")
}

// smallest reads the limit of a cgroup and of those above it: each of them binds. A
// container may see its own cgroup as the root of the mount while its path is that of
// the host, so a cgroup that is not found is passed over.
func smallest(root fs.FS, mount, group, file string) (bytes int64) {
	for group = path.Clean("/" + group); ; group = path.Dir(group) {
		if n := readLimit(root, path.Join(mount, group, file)); n > 0 && (bytes == 0 || n < bytes) {
			bytes = n
		}
		if group == "/" {
			return bytes
		}
	}
}

// readLimit reads a file with a number of bytes; v2 writes "max" if memory is unlimited,
// and v1 a number that is larger than any memory.
func readLimit(root fs.FS, name string) int64 {
	text, err := fs.ReadFile(root, name)
	if err != nil {
		return 0
	}
	n, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
	if err != nil {
		return 0 // "max"
	}
	return n
}
