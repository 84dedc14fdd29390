package projector

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/stelehq/stele/internal/ledger/journal"
	sinkstatev1 "github.com/stelehq/stele/internal/projector/sinkstate/v1"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// A lease is held for as long as its record names the process. The holder checks the
// record every heartbeat, and notifies the others. A check is valid for leaseValid,
// counted from before it. Others take over the lease of a process that has been silent
// for leaseSilent. It may still be running: its heartbeats can be lost between two NATS
// servers while it reads its record on a third. So a process that has replaced another's
// record waits leaseValid before it works. By then every check that found the old record
// has expired, and no two processes work at once, if
//   - their clocks run equally fast: no process compares the time with another's, and
//   - reads return the newest record. A leader of the stream that is cut off from the other
//     NATS servers returns an older one, until it notices that after 10 to 20 seconds.
const (
	heartbeat   = 500 * time.Millisecond
	leaseValid  = 2 * time.Second
	leaseSilent = 3 * time.Second
)

// errLost: another process has taken the lease.
var errLost = errors.New("another process writes to the sink now")

// lease is the exclusive permission to write to a sink, stored in an auxiliary stream. It is
// the leader election of a sink's projectors.
type lease struct {
	p    *Projector
	sink string

	// Set while it is held.
	entry journal.Entry
	// alone is when the last check of the owner before has expired.
	alone time.Time
	// held ends when the lease can no longer be relied on.
	held   context.Context
	lose   context.CancelCauseFunc
	lapses *time.Timer
}

func leaseName(sink string) string { return "lease." + sink }

func heartbeatSubject(sink string) string { return strings.TrimSuffix(HeartbeatSubjects, "*") + sink }

func decodeLease(n journal.Entry) (*sinkstatev1.Lease, error) {
	c := &sinkstatev1.Lease{}
	if err := proto.Unmarshal(n.Body, c); err != nil {
		return nil, fmt.Errorf("decode the lease %s: %w", n.Name, err)
	}
	return c, nil
}

// acquire waits until no other process holds the lease, and takes it.
func (l *lease) acquire(ctx context.Context) error {
	heartbeats := make(chan *nats.Msg, 16)
	sub, err := l.p.cfg.Conn.ChanSubscribe(heartbeatSubject(l.sink), heartbeats)
	if err != nil {
		return fmt.Errorf("listen for the lease of %s: %w", l.sink, err)
	}
	defer sub.Unsubscribe()
	tick := time.NewTicker(heartbeat)
	defer tick.Stop()
	heard, from := time.Now(), "" // the time of the last heartbeat, and its sender
	for {
		began := time.Now()
		found, err := l.p.bucket.Get(ctx, leaseName(l.sink))
		if err != nil {
			return err
		}
		is, err := decodeLease(found)
		if err != nil {
			return err
		}
		if is.Owner != from {
			heard, from = time.Now(), is.Owner
		}
		if is.Owner == "" || l.p.cfg.Alone || time.Since(heard) > leaseSilent {
			l.alone = time.Time{}
			if err := l.take(ctx, found, began); err != nil {
				return err
			}
			if is.Owner != "" && !l.p.cfg.Alone {
				l.alone = time.Now().Add(leaseValid)
			}
			return nil
		}
		select {
		case m := <-heartbeats:
			if string(m.Data) == from {
				heard = time.Now()
			}
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (l *lease) take(ctx context.Context, before journal.Entry, began time.Time) error {
	body, err := proto.Marshal(&sinkstatev1.Lease{Owner: l.p.owner, Host: l.p.host, Since: timestamppb.Now()})
	if err != nil {
		return fmt.Errorf("encode the lease of %s: %w", l.sink, err)
	}
	seq, err := l.p.bucket.Put(ctx, leaseName(l.sink), before.Sequence, body)
	if err != nil {
		return fmt.Errorf("take the lease of sink %s: %w", l.sink, err)
	}
	l.entry = journal.Entry{Name: leaseName(l.sink), Sequence: seq, Body: body}
	l.held, l.lose = context.WithCancelCause(ctx)
	l.lapses = time.AfterFunc(time.Until(began.Add(leaseValid)), func() {
		l.lose(fmt.Errorf("the lease of sink %s could not be confirmed for %s", l.sink, leaseValid))
	})
	return nil
}

// keep confirms the lease until it is lost or held ends.
func (l *lease) keep() {
	tick := time.NewTicker(heartbeat)
	defer tick.Stop()
	for {
		began := time.Now()
		ctx, cancel := context.WithTimeout(l.held, leaseValid)
		found, err := l.p.bucket.Get(ctx, l.entry.Name)
		cancel()
		switch {
		case err == nil && found.Sequence != l.entry.Sequence:
			l.lose(errLost)
			return
		case err == nil:
			// Not after it has lapsed: then others may have relied on that.
			if !l.lapses.Stop() {
				return
			}
			l.lapses.Reset(time.Until(began.Add(leaseValid)))
			_ = l.p.cfg.Conn.Publish(heartbeatSubject(l.sink), []byte(l.p.owner)) // if it is not sent, others take the lease over
		}
		select {
		case <-tick.C:
		case <-l.held.Done():
			return
		}
	}
}

// release lets others take the lease at once, unless it is lost already, or the owner
// before may still rely on it: then they wait as for a silent process.
func (l *lease) release() {
	l.lapses.Stop()
	l.lose(context.Canceled)
	if time.Now().Before(l.alone) {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), leaseValid)
	defer cancel()
	if _, err := l.p.bucket.Put(ctx, l.entry.Name, l.entry.Sequence, nil); err != nil && !errors.Is(err, journal.ErrConflict) {
		l.p.cfg.Log.Warn("release the lease of a sink", "sink", l.sink, "error", err)
	}
}

// hold runs work while the lease is held and no other process relies on it. work must
// return when its context ends.
func (l *lease) hold(ctx context.Context, work func(context.Context) error) error {
	if err := l.acquire(ctx); err != nil {
		return err
	}
	var keeping sync.WaitGroup
	keeping.Go(l.keep)
	sleep(l.held, time.Until(l.alone))
	var err error
	if l.held.Err() == nil {
		err = work(l.held)
	}
	lost := context.Cause(l.held)
	l.release()
	keeping.Wait()
	if ctx.Err() == nil && lost != nil {
		return lost
	}
	return err
}
