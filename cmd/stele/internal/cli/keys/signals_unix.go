//go:build !windows

package keys

import (
	"os"
	"syscall"
)

// userSignals are the signals whose meaning a command defines itself.
var userSignals = []os.Signal{syscall.SIGUSR1, syscall.SIGUSR2}
