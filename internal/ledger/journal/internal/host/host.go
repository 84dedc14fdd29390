// Package host has the functions of the operating system that the embedded server and the
// clock of the journal need: file locks, free disk space and the time since boot.
package host

import "errors"

// ErrLocked is returned by TryLock if another process holds the lock.
var ErrLocked = errors.New("the folder is locked by another process")
