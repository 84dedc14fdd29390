package server

import (
	"log/slog"
	"os"
	"runtime"

	"github.com/stelehq/stele/cmd/stele/internal/failure"
	"github.com/stelehq/stele/cmd/stele/internal/memory"
)

// minProcs is the least number of threads that run Go code at once. A thread that waits
// for the disk counts until the runtime takes its place away, up to 10 ms later. The journal
// and the replica often wait for the disk, and with one thread per core of a small
// machine, commits then wait for a free thread: on two cores, the median of a tenant's commits
// while another tenant imports is 6.6 ms with two and 4.9 ms with four.
const minProcs = 4

// setRuntime sets the memory limit and the number of threads. GOMAXPROCS, if it is set,
// stays in force.
func (o *serverOptions) setRuntime(log *slog.Logger) (memory.Limit, error) {
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(max(minProcs, runtime.GOMAXPROCS(0)))
	}
	limit, err := memory.Set(o.memoryLimit)
	if err != nil {
		return limit, failure.With(failure.Usage, err)
	}
	log.Info("runtime", "memory limit", limit, "threads", runtime.GOMAXPROCS(0))
	return limit, nil
}
