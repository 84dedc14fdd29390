package conn

import (
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// idle reports whether no handshake computes or waits, of slots that were all free.
func (h *handshakeSlots) idle(slots int) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.free == slots && len(h.begun)+len(h.fresh) == 0
}

// Four times as many clients connect as one processor serves, each with a handshake of two parts.
// As many handshakes as it can serve end in time.
func TestHandshakeSlots_OverloadServesWhatItCan(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const part, seconds = 100 * time.Millisecond, 60
		capacity := int(seconds * time.Second / (2 * part))
		h := handshakeSlots{free: 1}
		var ended, refused atomic.Int64
		var all sync.WaitGroup
		for range 4 * capacity {
			all.Go(func() {
				deadline := time.Now().Add(handshakeTimeout)
				for i := range 2 {
					if err := h.enter(i > 0, deadline, nil); err != nil {
						refused.Add(1)
						return
					}
					time.Sleep(part)
					h.leave()
				}
				if !time.Now().After(deadline) {
					ended.Add(1)
				}
			})
			time.Sleep(part / 2)
		}
		all.Wait()
		if int(ended.Load()) < capacity*9/10 {
			t.Errorf("%d handshakes ended in time and %d were refused, want %d that end", ended.Load(), refused.Load(), capacity)
		}
		if !h.idle(1) {
			t.Error("a handshake that has ended still counts")
		}
	})
}

// A server that stops does not wait for handshakes that have no slot.
func TestHandshakeSlots_StopEndsWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, stop, begun := handshakeSlots{free: 1}, make(chan struct{}), time.Now()
		h.enter(false, begun.Add(handshakeTimeout), stop)
		waits := make(chan error)
		for i := range 2 {
			go func() { waits <- h.enter(i > 0, begun.Add(handshakeTimeout), stop) }()
		}
		synctest.Wait()
		close(stop)
		for range 2 {
			if err := <-waits; !errors.Is(err, net.ErrClosed) || time.Since(begun) > 0 {
				t.Errorf("after %s: %v", time.Since(begun), err)
			}
		}
		if h.leave(); !h.idle(1) {
			t.Error("a handshake that has ended still counts")
		}
	})
}
