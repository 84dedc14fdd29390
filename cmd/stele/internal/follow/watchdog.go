package follow

import (
	"context"
	"errors"
	"io"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// silence is how long a stream may be silent. A gateway reports progress every ten
// seconds; one that does not is stopped, or the connection to it is half open.
const silence = 16 * time.Second

// errSilent is the cause of the cancellation. The connection leaves the gateway because of
// its code: a gateway can answer pings and no call.
var errSilent = status.Errorf(codes.Unavailable, "the gateway has been silent for %s", silence)

// watchdog cancels a stream that is silent.
type watchdog struct {
	timer *time.Timer
	bit   atomic.Bool
}

func newWatchdog(cancel context.CancelCauseFunc) *watchdog {
	w := &watchdog{}
	w.timer = time.AfterFunc(silence, func() {
		w.bit.Store(true)
		cancel(errSilent)
	})
	return w
}

// received takes the outcome of receiving and returns why the stream ended; nil if it did not.
func (w *watchdog) received(err error) error {
	switch {
	case w.bit.Load():
		return errSilent
	case errors.Is(err, io.EOF):
		return status.Error(codes.Unavailable, "the gateway ended the watch")
	}
	w.timer.Reset(silence)
	return err
}

func (w *watchdog) stop() { w.timer.Stop() }
