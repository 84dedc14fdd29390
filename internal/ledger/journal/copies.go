package journal

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stelehq/stele/internal/ledger"
)

// Copy is one server's copy of the ledger.
type Copy interface {
	// Server is the name of the server that has it; empty if it is the embedded one.
	Server() string
	// Read passes every message of the journal up to the one at to, in order, to the
	// callback, and what cannot be read to damaged. It fails if it could not find out.
	Read(ctx context.Context, to ledger.Sequence, handle func(Message) error, damaged func(Damage)) error
}

// Damage is what a copy lacks: messages of a stream, as far as they are known.
type Damage struct {
	Stream string
	// First and Last are 0 if it is not known which messages they are.
	First, Last ledger.Sequence
	// What happened to them.
	What string
}

// Damaged is a message of the journal that can be read, and is not what was written.
func Damaged(seq ledger.Sequence, what string) Damage {
	return Damage{Stream: streamName, First: seq, Last: seq, What: what}
}

func (d Damage) String() string {
	if d.First == 0 {
		return d.Stream + ": " + d.What
	}
	return fmt.Sprintf("%s: %s %s", d.Stream, sequences(d.First, max(d.First, d.Last)), d.What)
}

// Copies are the copies of the ledger: a replicated stream has one for each server.
func (j *Journal) Copies(ctx context.Context) ([]Copy, error) {
	if j.embedded != nil {
		return []Copy{diskCopy{j.embedded.cfg.Dir}}, nil
	}
	info, err := j.stream.Info(ctx)
	if err != nil {
		return nil, fmt.Errorf("servers that hold %s: %w: %w", streamName, ledger.ErrUnavailable, err)
	}
	if info.Cluster == nil || len(info.Cluster.Replicas) == 0 {
		return []Copy{&peerCopy{j: j, server: j.nc.ConnectedServerName()}}, nil
	}
	var copies []Copy
	if info.Cluster.Leader != "" {
		copies = append(copies, &peerCopy{j: j, server: info.Cluster.Leader, placed: true})
	}
	for _, r := range info.Cluster.Replicas {
		copies = append(copies, &peerCopy{j: j, server: r.Name, placed: true, offline: r.Offline})
	}
	slices.SortFunc(copies, func(a, b Copy) int { return strings.Compare(a.Server(), b.Server()) })
	return copies, nil
}

// peerCopy is the copy of one of the servers that hold the journal's stream. A consumer
// that is not replicated reads the files of the server that it runs on.
type peerCopy struct {
	j      *Journal
	server string
	// placed is set if the stream has several copies, so that the consumer must run on
	// the right server.
	placed bool
	// offline is set if the stream's leader does not hear from the server.
	offline bool
}

func (c *peerCopy) Server() string { return c.server }

const (
	// placements is how many consumers are made until one is on the server that is
	// asked: NATS chooses among those that hold the stream by chance. With five of them,
	// all tries miss one once in 80,000 times.
	placements = 50
	// copyIdle is how long the server keeps a consumer that is not read.
	copyIdle = 10 * time.Second
	// copyLosses is how many consumers may be lost in a row, and copyWait the time
	// between two.
	copyLosses = 5
	copyWait   = 200 * time.Millisecond
)

// Read reads with one consumer, and continues with another if that is lost.
//
// The server passes over a message that it cannot read, and counts its deliveries. So a
// gap between two messages whose deliveries follow each other is one in the copy. It is
// read a second time before it counts.
func (c *peerCopy) Read(ctx context.Context, to ledger.Sequence, handle func(Message) error, damaged func(Damage)) error {
	if c.offline {
		return fmt.Errorf("%w: the server %s is offline", ledger.ErrUnavailable, c.server)
	}
	var last ledger.Sequence // handled, or known to be missing
	losses, gap := 0, ledger.Sequence(0)
	for last < to {
		before := last
		err := c.readAfter(ctx, &last, to, handle)
		var lost *lostError
		var missing *GapError
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err == nil:
			return nil
		case errors.As(err, &missing) && gap != missing.Want:
			gap = missing.Want
		case errors.As(err, &missing):
			damaged(Damage{Stream: streamName, First: missing.Want, Last: min(missing.Got-1, to), What: "cannot be read"})
			last = min(missing.Got-1, to)
		case !errors.As(err, &lost):
			return err
		case last > before:
			losses = 0
		default:
			if losses++; losses == copyLosses {
				return fmt.Errorf("read %s from %s: %w", streamName, c.server, err)
			}
		}
		select {
		case <-time.After(copyWait):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// readAfter reads with one consumer what comes after last, up to the message at to. A
// *GapError says that the server passed over messages, a *lostError that the consumer was
// lost.
func (c *peerCopy) readAfter(ctx context.Context, last *ledger.Sequence, to ledger.Sequence, handle func(Message) error) error {
	consumer, messages, err := c.consume(ctx, *last)
	if err != nil {
		return err
	}
	defer messages.Stop()
	defer context.AfterFunc(ctx, messages.Stop)()
	for delivered := uint64(1); *last < to; delivered++ {
		m, err := c.next(ctx, consumer, messages, delivered)
		if err != nil {
			return &lostError{err}
		}
		if m == nil {
			return &GapError{Want: *last + 1, Got: to + 1}
		}
		got, err := received(m, delivered)
		if err != nil {
			return &lostError{err}
		}
		if got.Sequence != *last+1 {
			return &GapError{Want: *last + 1, Got: got.Sequence}
		}
		if err := handle(got); err != nil {
			return err
		}
		*last = got.Sequence
	}
	return nil
}

// copyTimeout is how long a server may take to send a message that other servers have.
var copyTimeout = 20 * time.Second

// next waits for the consumer's delivery of that number. It returns nil if the server
// answers, and has nothing more that it can read.
func (c *peerCopy) next(ctx context.Context, consumer jetstream.Consumer, messages jetstream.MessagesContext, delivery uint64) (jetstream.Msg, error) {
	for begun := time.Now(); ; {
		m, err := messages.Next(jetstream.NextMaxWait(quiet))
		if !errors.Is(err, nats.ErrTimeout) {
			return m, err
		}
		info, err := consumer.Info(ctx)
		switch {
		case err != nil:
			return nil, err
		case info.Delivered.Consumer >= delivery:
			return nil, fmt.Errorf("%d deliveries were sent, and %d came", info.Delivered.Consumer, delivery-1)
		case time.Since(begun) > copyTimeout:
			return nil, nil
		}
	}
}

// consume makes a consumer on the copy's server that continues after a message. Those
// that were placed elsewhere are removed by their servers.
func (c *peerCopy) consume(ctx context.Context, after ledger.Sequence) (jetstream.Consumer, jetstream.MessagesContext, error) {
	for range placements {
		consumer, err := c.j.stream.consumer(ctx, jetstream.ConsumerConfig{
			DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: uint64(after) + 1, InactiveThreshold: copyIdle,
		})
		if err != nil {
			return nil, nil, &lostError{err}
		}
		if at := consumer.CachedInfo().Cluster; !c.placed || at != nil && at.Leader == c.server {
			messages, err := ask(c.j.nc, consumer)
			return consumer, messages, err
		}
	}
	return nil, nil, fmt.Errorf("%w: no consumer of %s was placed on %s: is the server down?", ledger.ErrUnavailable, streamName, c.server)
}
