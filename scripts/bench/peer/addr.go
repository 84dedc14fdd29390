package peer

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"sync"
)

// addresses hands out loopback addresses below the range that the kernel takes
// ports from for outgoing connections and for listeners on port 0, so that no
// other process is given one by chance before a peer listens on it.
var addresses struct {
	mu   sync.Mutex // guards used
	used map[int]bool
}

// lowestPort is the start of the range of freeAddr.
const lowestPort = 10_000

// freeAddr returns a loopback address that no process listens on and that it has
// not returned before.
func freeAddr() (string, error) {
	b, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range")
	if err != nil {
		return "", err
	}
	var end int
	if _, err := fmt.Sscan(string(b), &end); err != nil {
		return "", fmt.Errorf("read ip_local_port_range %q: %w", b, err)
	}
	if end <= lowestPort {
		return "", fmt.Errorf("no ports between %d and the ephemeral ports, which start at %d", lowestPort, end)
	}
	addresses.mu.Lock()
	defer addresses.mu.Unlock()
	if addresses.used == nil {
		addresses.used = make(map[int]bool)
	}
	for range 1000 {
		port := lowestPort + rand.IntN(end-lowestPort)
		if addresses.used[port] {
			continue
		}
		addr := fmt.Sprintf("127.0.0.1:%d", port)
		l, err := net.Listen("tcp", addr)
		if err != nil {
			continue
		}
		addresses.used[port] = true
		return addr, l.Close()
	}
	return "", errors.New("no free port found in 1,000 tries")
}
