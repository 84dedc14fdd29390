package conn

import (
	"net"
	"os"
	"slices"
	"sync"
	"time"
)

// handshakeSlots limit how many handshakes compute at the same time. If more clients connect than
// that, a handshake that has begun is continued first, and of the others the newest begins: those
// that have waited longest would begin just before their time is over, and none would end in time.
type handshakeSlots struct {
	mu    sync.Mutex // guards the fields below
	free  int
	begun []chan struct{} // those that wait to continue
	fresh []chan struct{} // those that wait to begin, the newest is last
}

// enter waits for a slot, at most until the deadline or until the server stops.
func (h *handshakeSlots) enter(begun bool, deadline time.Time, stop <-chan struct{}) error {
	h.mu.Lock()
	if h.free > 0 {
		h.free--
		h.mu.Unlock()
		return nil
	}
	queue := &h.fresh
	if begun {
		queue = &h.begun
	}
	slot := make(chan struct{})
	*queue = append(*queue, slot)
	h.mu.Unlock()

	timeout := time.NewTimer(time.Until(deadline))
	defer timeout.Stop()
	err := os.ErrDeadlineExceeded
	select {
	case <-slot:
		return nil
	case <-timeout.C:
	case <-stop:
		err = net.ErrClosed
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	i := slices.Index(*queue, slot)
	if i < 0 {
		return nil // it got one at the last moment
	}
	*queue = slices.Delete(*queue, i, i+1)
	return err
}

// leave gives the slot to the next one.
func (h *handshakeSlots) leave() {
	h.mu.Lock()
	defer h.mu.Unlock()
	queue, next := &h.begun, 0
	if len(h.begun) == 0 {
		queue, next = &h.fresh, len(h.fresh)-1
	}
	if next < 0 {
		h.free++
		return
	}
	close((*queue)[next])
	*queue = slices.Delete(*queue, next, next+1)
}
