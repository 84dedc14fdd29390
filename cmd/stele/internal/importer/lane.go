package importer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/stelehq/stele/cmd/stele/internal/changelog"
	"github.com/stelehq/stele/cmd/stele/internal/failure"
	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/wire"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"golang.org/x/sync/semaphore"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// window bounds what a lane holds in flight, in bytes; a line counts for at
// least minWeight, which bounds their number to 512.
const (
	window    = 4 << 20
	minWeight = 8 << 10
)

// lane writes one tenant's lines in order.
type lane struct {
	im     *importer
	tenant ledger.Tenant
	// in carries lines from the reader; closed by finish.
	in   chan *changelog.Line
	room *semaphore.Weighted
	done chan struct{}

	// latest is the number of the last line that was added. Owned by the reader.
	latest int

	mu sync.Mutex // guards pending
	// pending holds the lines that were taken from in and not acknowledged,
	// oldest first.
	pending []*changelog.Line
}

// newLane starts a lane. When it fails it calls stop, for the reader.
func newLane(im *importer, sending, reading context.Context, tenant ledger.Tenant, stop context.CancelFunc) *lane {
	ln := &lane{
		im: im, tenant: tenant,
		in:   make(chan *changelog.Line),
		room: semaphore.NewWeighted(window),
		done: make(chan struct{}),
	}
	go func() {
		defer close(ln.done)
		if err := ln.run(sending, reading); err != nil {
			im.fail(err)
			stop()
		}
	}()
	return ln
}

// add hands over a line, once there is room for it in the window.
func (ln *lane) add(reading context.Context, line *changelog.Line) {
	if ln.room.Acquire(reading, weight(line)) != nil {
		return
	}
	select {
	case ln.in <- line:
	case <-ln.done:
	case <-reading.Done():
	}
}

func weight(l *changelog.Line) int64 { return int64(min(max(l.Size, minWeight), window)) }

// finish waits until all that was added is acknowledged, or the lane has failed.
func (ln *lane) finish() {
	close(ln.in)
	<-ln.done
}

// Waits between attempts to reach an unreachable gateway, or one that is overloaded.
const (
	shortestWait = 50 * time.Millisecond
	longestWait  = 5 * time.Second
	// limitWait is the wait of a tenant over its limits, unless the gateway asks for
	// more: after a second there is room for many lines, although there is room for one
	// much sooner.
	limitWait = time.Second
)

// run opens a stream again for as long as that may help.
func (ln *lane) run(sending, reading context.Context) error {
	var wait time.Duration
	var since time.Time
	for {
		acknowledged, err := ln.attempt(sending)
		if err == nil {
			return nil
		}
		if acknowledged || since.IsZero() {
			wait, since = shortestWait, time.Now()
		}
		if !mayPass(err) || time.Since(since) > ln.im.GiveUp || reading.Err() != nil {
			return ln.blame(err)
		}
		pause := wait
		if limited := failure.LimitDelay(err); limited > 0 {
			pause = max(limited, limitWait)
		}
		select {
		case <-time.After(pause):
		case <-reading.Done():
		}
		wait = min(2*wait, longestWait)
	}
}

// mayPass reports whether an error is the gateway's state, or that the tenant is over a
// limit, and not the line's fault.
func mayPass(err error) bool {
	code := status.Code(err)
	return code == codes.Unavailable || code == codes.DeadlineExceeded || failure.LimitDelay(err) > 0
}

// blame names the line that an error is about: the first that is not
// acknowledged.
func (ln *lane) blame(err error) error {
	ln.mu.Lock()
	defer ln.mu.Unlock()
	if len(ln.pending) == 0 {
		return fmt.Errorf("import into %s: %w", ln.tenant, err)
	}
	return &LineError{ln.pending[0].Number, ln.pending[0].Step, err}
}

type commitStream = grpc.BidiStreamingClient[stelev1.CommitStreamRequest, stelev1.CommitStreamResponse]

// attempt sends what is pending and then what comes in over one stream, and
// returns nil when in is closed and everything is acknowledged.
func (ln *lane) attempt(ctx context.Context) (acknowledged bool, err error) {
	ctx, cancel := context.WithCancel(ln.im.ForTenant(ctx, ln.tenant))
	defer cancel()
	stream, err := ln.im.Client.CommitStream(ctx)
	if err != nil {
		return false, err
	}
	ended := make(chan error, 1)
	go func() {
		err := ln.receive(stream, &acknowledged)
		// The sender may be waiting for a line.
		cancel()
		ended <- err
	}()
	complete := ln.send(ctx, stream)
	err = <-ended

	ln.mu.Lock()
	defer ln.mu.Unlock()
	switch {
	case !errors.Is(err, io.EOF):
		return acknowledged, err
	case complete && len(ln.pending) == 0:
		return acknowledged, nil
	}
	return acknowledged, status.Error(codes.Unavailable, "the gateway ended the stream early")
}

// send returns whether it has sent everything that will ever come in. Why it
// has not, the receiver learns.
func (ln *lane) send(ctx context.Context, stream commitStream) bool {
	ln.mu.Lock()
	again := append([]*changelog.Line(nil), ln.pending...)
	ln.mu.Unlock()
	for _, line := range again {
		if stream.Send(request(line)) != nil {
			return false
		}
	}
	for {
		select {
		case line, more := <-ln.in:
			if !more {
				return stream.CloseSend() == nil
			}
			ln.mu.Lock()
			ln.pending = append(ln.pending, line)
			ln.mu.Unlock()
			if stream.Send(request(line)) != nil {
				return false
			}
		case <-ctx.Done():
			return false
		}
	}
}

// receive takes acknowledgements, which come in the order of the lines, until
// the stream ends.
func (ln *lane) receive(stream commitStream, acknowledged *bool) error {
	for {
		resp, err := stream.Recv()
		if err != nil {
			return err
		}
		ln.mu.Lock()
		if len(ln.pending) == 0 {
			ln.mu.Unlock()
			return status.Error(codes.Internal, "the gateway acknowledged more than was sent")
		}
		line := ln.pending[0]
		ln.pending = ln.pending[1:]
		ln.mu.Unlock()
		*acknowledged = true
		ln.room.Release(weight(line))
		ln.im.acknowledged(line, resp.Commit)
	}
}

func request(l *changelog.Line) *stelev1.CommitStreamRequest {
	return &stelev1.CommitStreamRequest{Commit: wire.CommitRequest(&l.ChangeSet)}
}
