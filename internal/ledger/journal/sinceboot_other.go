//go:build !linux && !darwin

package journal

import "time"

var started = time.Now()

// sinceBoot is the time since this process started.
func sinceBoot() time.Duration { return time.Since(started) }
