package host

import (
	"errors"
	"os"

	"golang.org/x/sys/windows"
)

// TryLock locks the file until it is closed, and does not wait. The error is ErrLocked
// if another process holds a lock that excludes this one.
func TryLock(f *os.File, shared bool) error {
	how := uint32(windows.LOCKFILE_FAIL_IMMEDIATELY)
	if !shared {
		how |= windows.LOCKFILE_EXCLUSIVE_LOCK
	}
	// A byte far behind the content: Windows lets no other process read a locked one,
	// and the process id must stay readable.
	region := &windows.Overlapped{OffsetHigh: 1}
	err := windows.LockFileEx(windows.Handle(f.Fd()), how, 0, 1, 0, region)
	if errors.Is(err, windows.ERROR_LOCK_VIOLATION) {
		return ErrLocked
	}
	return err
}
