//go:build !linux

package conn

import (
	"net"
	"time"
)

// setUserTimeout does nothing on this system: only pings detect such a client.
func setUserTimeout(*net.TCPConn, time.Duration) error { return nil }
