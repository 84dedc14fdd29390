//go:build linux || darwin

package host

import (
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// SinceBoot is the time since the machine started. Unlike Go's monotonic clock, it continues while
// the machine sleeps.
func SinceBoot() time.Duration {
	id := int32(7) // Linux's CLOCK_BOOTTIME
	if runtime.GOOS == "darwin" {
		id = 6 // CLOCK_MONOTONIC, which includes sleep there
	}
	var ts unix.Timespec
	if err := unix.ClockGettime(id, &ts); err != nil {
		panic(err) // only for a clock that the system does not have
	}
	return time.Duration(ts.Nano())
}
