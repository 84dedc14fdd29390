//go:build !linux

package gateway

import (
	"net"
	"time"
)

// setUserTimeout does nothing: here, only pings find out.
func setUserTimeout(*net.TCPConn, time.Duration) error { return nil }
