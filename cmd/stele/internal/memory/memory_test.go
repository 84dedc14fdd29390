package memory

import (
	"io/fs"
	"math"
	"os"
	"runtime/debug"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/stelehq/stele/internal/budget"
	"pgregory.net/rapid"
)

func files(pairs ...string) fs.FS {
	root := fstest.MapFS{}
	for i := 0; i < len(pairs); i += 2 {
		root[pairs[i]] = &fstest.MapFile{Data: []byte(pairs[i+1])}
	}
	return root
}

const (
	meminfo = "MemTotal:        8388608 kB\nMemFree:         1000000 kB\n" // 8 GiB
	v1None  = "9223372036854771712\n"
)

func TestCgroupLimit(t *testing.T) {
	for _, test := range []struct {
		name string
		root fs.FS
		want int64
	}{
		{"no cgroups", files(), 0},
		{"v2, in a container", files("proc/self/cgroup", "0::/\n", "sys/fs/cgroup/memory.max", "1073741824\n"), 1 << 30},
		{"v2, none", files("proc/self/cgroup", "0::/\n", "sys/fs/cgroup/memory.max", "max\n"), 0},
		{"v2, a service", files("proc/self/cgroup", "0::/system.slice/stele.service\n",
			"sys/fs/cgroup/system.slice/memory.max", "max\n",
			"sys/fs/cgroup/system.slice/stele.service/memory.max", "536870912\n"), 512 << 20},
		{"v2, the one above is smaller", files("proc/self/cgroup", "0::/system.slice/stele.service\n",
			"sys/fs/cgroup/system.slice/memory.max", "268435456\n",
			"sys/fs/cgroup/system.slice/stele.service/memory.max", "536870912\n"), 256 << 20},
		{"v2, a path that leaves the namespace", files("proc/self/cgroup", "0::/../other\n", "sys/fs/cgroup/memory.max", "1024\n"), 1024},
		{"v1", files("proc/self/cgroup", "5:cpu,cpuacct:/a\n4:memory:/a/b\n",
			"sys/fs/cgroup/memory/memory.limit_in_bytes", v1None,
			"sys/fs/cgroup/memory/a/b/memory.limit_in_bytes", "2147483648\n"), 2 << 30},
		{"v1, in a container that sees the host's path", files("proc/self/cgroup", "4:memory:/docker/0123\n",
			"sys/fs/cgroup/memory/memory.limit_in_bytes", "1073741824\n"), 1 << 30},
		{"v1 controls memory, v2 is mounted as well", files("proc/self/cgroup", "4:memory:/\n0::/\n",
			"sys/fs/cgroup/memory/memory.limit_in_bytes", "1073741824\n",
			"sys/fs/cgroup/memory.max", "1\n"), 1 << 30},
		{"v1 for others, v2 for memory", files("proc/self/cgroup", "1:name=systemd:/\n0::/\n", "sys/fs/cgroup/memory.max", "1073741824\n"), 1 << 30},
		{"not a number", files("proc/self/cgroup", "0::/\n", "sys/fs/cgroup/memory.max", "?\n"), 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := cgroupLimit(test.root); got != test.want {
				t.Errorf("cgroupLimit() = %d, want %d", got, test.want)
			}
		})
	}
}

func TestFind(t *testing.T) {
	machine := []string{"proc/meminfo", meminfo}
	cgroup := append(machine, "proc/self/cgroup", "0::/\n", "sys/fs/cgroup/memory.max", "1073741824\n")
	for _, test := range []struct {
		name   string
		flag   Size
		env    string
		root   fs.FS
		want   int64
		source string
	}{
		{"the flag, before all", 100, "200", files(cgroup...), 100, "--memory-limit"},
		{"the flag, above what the cgroup allows", 1 << 30, "", files(cgroup...), 768 << 20, "75% of the cgroup's limit of 1GiB, which is less than --memory-limit of 1GiB"},
		{"GOMEMLIMIT, before the cgroup", 0, "200", files(cgroup...), 200, "GOMEMLIMIT"},
		{"the cgroup, before the machine", 0, "", files(cgroup...), 768 << 20, "75% of the cgroup's limit of 1GiB"},
		{"the machine", 0, "", files(machine...), 4 << 30, "50% of the machine's memory of 8GiB"},
		{"a cgroup without a limit (v1)", 0, "", files(append(machine, "proc/self/cgroup", "4:memory:/\n", "sys/fs/cgroup/memory/memory.limit_in_bytes", v1None)...),
			4 << 30, "50% of the machine's memory of 8GiB"},
		{"nothing known", 0, "", files(), math.MaxInt64, "a machine whose memory is unknown"},
	} {
		t.Run(test.name, func(t *testing.T) {
			env := func(string) (string, bool) { return test.env, test.env != "" }
			if got, want := find(test.flag, env, test.root, 200), (Limit{test.want, test.source}); got != want {
				t.Errorf("find() = %v, want %v", got, want)
			}
		})
	}
}

func TestSet(t *testing.T) {
	t.Setenv("GOMEMLIMIT", "") // puts it back
	os.Unsetenv("GOMEMLIMIT")
	t.Setenv("GOGC", "100") // the collector is left alone
	limit := debug.SetMemoryLimit(-1)
	t.Cleanup(func() { debug.SetMemoryLimit(limit) })

	if got, err := Set(1 << 30); err != nil || got != (Limit{1 << 30, "--memory-limit"}) {
		t.Errorf("Set() = %v, %v", got, err)
	}
	if _, err := Set(64 << 20); err == nil || !strings.Contains(err.Error(), "the memory limit of 64MiB, from --memory-limit, is too small: set at least 128MiB") {
		t.Errorf("a limit of 64MiB: %v", err)
	}
	if _, err := Set(budget.Least); err != nil {
		t.Errorf("the least limit: %v", err)
	}
	if share(leastContainer, cgroupShare) < budget.Least || share(leastContainer-1<<20, cgroupShare) >= budget.Least {
		t.Errorf("the least container has %s", Format(leastContainer))
	}
	Set(1 << 30)
	if got := debug.SetMemoryLimit(-1); got != 1<<30 {
		t.Errorf("the memory limit is %d", got)
	}
}

func TestParseSize(t *testing.T) {
	for _, test := range []struct {
		text string
		want Size
		err  string
	}{
		{"512MiB", 512 << 20, ""},
		{"2GiB", 2 << 30, ""},
		{"1TiB", 1 << 40, ""},
		{"64KiB", 64 << 10, ""},
		{"100B", 100, ""},
		{"1048576", 1 << 20, ""},
		{"", 0, "positive whole number"},
		{"MiB", 0, "positive whole number"},
		{"0", 0, "positive whole number"},
		{"-1GiB", 0, "positive whole number"},
		{"+1GiB", 0, "positive whole number"},
		{"1.5GiB", 0, "positive whole number"},
		{"512MB", 0, "use B, KiB"}, // 1,000 or 1,024?
		{"512 MiB", 0, "positive whole number"},
		{"8388607TiB", 8388607 << 40, ""},
		{"8388608TiB", 0, "too large"},
	} {
		got, err := ParseSize(test.text)
		if got != test.want || (err != nil) != (test.err != "") || err != nil && !strings.Contains(err.Error(), test.err) {
			t.Errorf("ParseSize(%q) = %d, %v; want %d, %q", test.text, got, err, test.want, test.err)
		}
	}
}

func TestFormat(t *testing.T) {
	for bytes, want := range map[int64]string{0: "0B", 1023: "1023B", 1 << 10: "1KiB", 1536: "1.5KiB", 512 << 20: "512MiB", 3 << 29: "1.5GiB", 2 << 40: "2TiB"} {
		if got := Format(bytes); got != want {
			t.Errorf("Format(%d) = %q, want %q", bytes, got, want)
		}
	}
}

func TestFormat_IsParsed(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := Size(rapid.Int64Range(1, 1023).Draw(t, "number")) << (10 * rapid.IntRange(0, 4).Draw(t, "unit"))
		if got, err := ParseSize(Format(int64(want))); err != nil || got != want {
			t.Fatalf("ParseSize(%q) = %d, %v", Format(int64(want)), got, err)
		}
	})
}
