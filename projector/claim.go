package projector

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/stelehq/stele/ledger/journal"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// A lease is held for as long as its record names the process. The holder checks the
// record every heartbeat, and notifies the others. A check is valid for leaseValid,
// counted from before it; the others wait longer than that before they take over the
// lease of a silent process. So no two processes ever believe that they hold it, as
// long as their clocks run equally fast: no process compares the time with another's.
const (
	beat        = 500 * time.Millisecond
	claimGood   = 2 * time.Second
	claimSilent = 3 * time.Second
)

// errLost: another process has taken the claim.
var errLost = errors.New("another process writes to the sink now")

// lease is the exclusive permission to write to a sink, stored in an auxiliary stream.
type claim struct {
	p    *Projector
	sink string

	// Set while it is held.
	note journal.Note
	// held ends when the claim can no longer be relied on.
	held   context.Context
	lose   context.CancelCauseFunc
	lapses *time.Timer
}

func claimName(sink string) string { return "claim." + sink }

func beatSubject(sink string) string { return strings.TrimSuffix(BeatSubjects, "*") + sink }

func decodeClaim(n journal.Note) (*stelev1.SinkClaim, error) {
	c := &stelev1.SinkClaim{}
	if err := proto.Unmarshal(n.Body, c); err != nil {
		return nil, fmt.Errorf("decode the claim %s: %w", n.Name, err)
	}
	return c, nil
}

// acquire waits until no other process holds the lease, and takes it.
func (c *claim) acquire(ctx context.Context) error {
	beats := make(chan *nats.Msg, 16)
	sub, err := c.p.cfg.Conn.ChanSubscribe(beatSubject(c.sink), beats)
	if err != nil {
		return fmt.Errorf("listen for the lease of %s: %w", c.sink, err)
	}
	defer sub.Unsubscribe()
	tick := time.NewTicker(beat)
	defer tick.Stop()
	heard, from := time.Now(), "" // when the owner was last heard, and who that was
	for {
		began := time.Now()
		note, err := c.p.notes.Get(ctx, claimName(c.sink))
		if err != nil {
			return err
		}
		is, err := decodeClaim(note)
		if err != nil {
			return err
		}
		if is.Owner != from {
			heard, from = time.Now(), is.Owner
		}
		if is.Owner == "" || c.p.cfg.Alone || time.Since(heard) > claimSilent {
			return c.take(ctx, note, began)
		}
		select {
		case m := <-beats:
			if string(m.Data) == from {
				heard = time.Now()
			}
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (c *claim) take(ctx context.Context, before journal.Note, began time.Time) error {
	body, err := proto.Marshal(&stelev1.SinkClaim{Owner: c.p.owner, Host: c.p.host, Since: timestamppb.Now()})
	if err != nil {
		return fmt.Errorf("encode the claim of %s: %w", c.sink, err)
	}
	seq, err := c.p.notes.Put(ctx, claimName(c.sink), before.Sequence, body)
	if err != nil {
		return fmt.Errorf("claim sink %s: %w", c.sink, err)
	}
	c.note = journal.Note{Name: claimName(c.sink), Sequence: seq, Body: body}
	c.held, c.lose = context.WithCancelCause(ctx)
	c.lapses = time.AfterFunc(time.Until(began.Add(claimGood)), func() {
		c.lose(fmt.Errorf("the claim of sink %s could not be confirmed for %s", c.sink, claimGood))
	})
	return nil
}

// keep confirms the claim until it is lost or held ends.
func (c *claim) keep() {
	tick := time.NewTicker(beat)
	defer tick.Stop()
	for {
		began := time.Now()
		ctx, cancel := context.WithTimeout(c.held, claimGood)
		note, err := c.p.notes.Get(ctx, c.note.Name)
		cancel()
		switch {
		case err == nil && note.Sequence != c.note.Sequence:
			c.lose(errLost)
			return
		case err == nil:
			// Not after it has lapsed: then others may have relied on that.
			if !c.lapses.Stop() {
				return
			}
			c.lapses.Reset(time.Until(began.Add(claimGood)))
			_ = c.p.cfg.Conn.Publish(beatSubject(c.sink), []byte(c.p.owner)) // when it is not sent, the claim lapses
		}
		select {
		case <-tick.C:
		case <-c.held.Done():
			return
		}
	}
}

// release lets others take the claim at once, unless it is lost already.
func (c *claim) release() {
	c.lapses.Stop()
	c.lose(context.Canceled)
	ctx, cancel := context.WithTimeout(context.Background(), claimGood)
	defer cancel()
	if _, err := c.p.notes.Put(ctx, c.note.Name, c.note.Sequence, nil); err != nil && !errors.Is(err, journal.ErrConflict) {
		c.p.cfg.Log.Warn("release the claim of a sink", "sink", c.sink, "error", err)
	}
}

// hold runs work while the claim is held. work must return when its context ends.
func (c *claim) hold(ctx context.Context, work func(context.Context) error) error {
	if err := c.acquire(ctx); err != nil {
		return err
	}
	var keeping sync.WaitGroup
	keeping.Go(c.keep)
	err := work(c.held)
	lost := context.Cause(c.held)
	c.release()
	keeping.Wait()
	if ctx.Err() == nil && lost != nil {
		return lost
	}
	return err
}
