//go:build !linux && !darwin

package host

import "time"

var started = time.Now()

// SinceBoot is the time since this process started.
func SinceBoot() time.Duration { return time.Since(started) }
