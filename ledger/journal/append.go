package journal

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/stelehq/stele/ledger"
)

// answerTimeout is how long a request may wait for the server.
const answerTimeout = 5 * time.Second

const (
	// batchFrom is where an atomic batch begins to beat single messages: the server
	// makes a store of its own for each, with five syncs. Batches of 10 to 40 took a
	// third more CPU than as many messages.
	batchFrom  = 48
	batchMost  = 1000    // messages; the server's limit
	batchBytes = 8 << 20 // of records
)

// Append makes the record durable as the tenant's next message, if its last one
// has the sequence expected (0: it has none), and returns the new sequence. It
// waits for the answer until ctx ends, at most 5 seconds.
//
// ErrConflict: the tenant's last message is another, or one is on its way.
// ledger.ErrReadOnly: the guard has stopped writes. ledger.ErrUnavailable:
// surely not written. ledger.ErrUnknownOutcome: it may or may not be written.
func (j *Journal) Append(ctx context.Context, t ledger.Tenant, expected ledger.Sequence, record []byte) (ledger.Sequence, error) {
	seq, err := j.append(ctx, t, expected, record)
	if err != nil {
		return 0, fmt.Errorf("append to %s after message %d: %w", t, expected, err)
	}
	return seq, nil
}

func (j *Journal) append(ctx context.Context, t ledger.Tenant, expected ledger.Sequence, record []byte) (ledger.Sequence, error) {
	if err := j.Guard(); err != nil {
		return 0, err
	}
	if len(record) > j.MaxRecord() {
		return 0, fmt.Errorf("record has %d bytes, more than %d", len(record), j.MaxRecord())
	}
	if err := j.connected(); err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	if err := ctx.Err(); err != nil {
		return 0, fmt.Errorf("%w: %w", ledger.ErrUnavailable, err)
	}

	s := j.shards[j.Shard(t)]
	e := &entry{subject: subject(s.n, t), expected: expected, record: record}
	alone, err := s.appender.enter(e)
	if err != nil {
		return 0, err
	}
	var o outcome
	if alone {
		o.seq, o.err = j.publish(ctx, e)
		j.leave(&s.appender)
	} else {
		o = s.appender.await(ctx, e)
	}
	if o.err != nil {
		return 0, o.err
	}
	s.saw(o.seq)
	return o.seq, nil
}

// connected keeps a message from waiting for a connection that may come back
// long after its sender has gone.
func (j *Journal) connected() error { return connected(j.nc) }

func connected(nc *nats.Conn) error {
	if status := nc.Status(); status != nats.CONNECTED {
		return fmt.Errorf("%w: connection is %s", ledger.ErrUnavailable, status)
	}
	return nil
}

// appender lets so many callers publish to a shard by themselves that one more
// would make a batch. Records that come while they do wait for the next round,
// which takes all of them: that is what makes batches.
type appender struct {
	mu      sync.Mutex
	alone   int      // callers that publish by themselves
	rounds  bool     // rounds run
	waiting []*entry // for the next round
	closed  bool
}

// enter says whether the caller publishes by itself; otherwise its entry waits for
// a round.
func (a *appender) enter(e *entry) (alone bool, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case a.closed:
		return false, fmt.Errorf("%w: the journal is closed", ledger.ErrUnavailable)
	case a.alone < batchFrom:
		a.alone++
		return true, nil
	}
	e.outcome = make(chan outcome, 1)
	a.waiting = append(a.waiting, e)
	return false, nil
}

// await returns the entry's outcome. When ctx ends first it was not written if
// no round has taken it yet.
func (a *appender) await(ctx context.Context, e *entry) outcome {
	select {
	case o := <-e.outcome:
		return o
	case <-ctx.Done():
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if e.taken {
		return outcome{err: fmt.Errorf("%w: %w", ledger.ErrUnknownOutcome, ctx.Err())}
	}
	if i := slices.Index(a.waiting, e); i >= 0 {
		a.waiting = slices.Delete(a.waiting, i, i+1)
	}
	return outcome{err: fmt.Errorf("%w: %w", ledger.ErrUnavailable, ctx.Err())}
}

// take removes what the next round publishes; when nothing waits, rounds end.
func (a *appender) take() []*entry {
	a.mu.Lock()
	defer a.mu.Unlock()
	n, size := 0, 0
	for n < len(a.waiting) && n < batchMost {
		size += len(a.waiting[n].record)
		if n > 0 && size > batchBytes {
			break
		}
		a.waiting[n].taken = true
		n++
	}
	taken := a.waiting[:n:n]
	a.waiting = a.waiting[n:]
	a.rounds = n > 0
	return taken
}

// leave ends a publish of a caller's own. Whoever came meanwhile gets a round.
func (j *Journal) leave(a *appender) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.alone--
	if len(a.waiting) == 0 || a.rounds {
		return
	}
	a.rounds = true
	j.running.Go(func() {
		for entries := a.take(); len(entries) > 0; entries = a.take() {
			j.round(entries)
		}
	})
}

// round publishes the entries and gives each its outcome. Many go as one atomic
// batch; when one of them spoils it they go one by one, so that only the guilty
// one fails.
func (j *Journal) round(entries []*entry) {
	ctx, cancel := context.WithTimeout(j.ctx, answerTimeout)
	defer cancel()
	if len(entries) >= batchFrom {
		first, err := j.publishBatch(ctx, entries)
		if !errors.Is(err, ErrConflict) && !errors.Is(err, errRefused) {
			for i, e := range entries {
				e.outcome <- outcome{first + ledger.Sequence(i), err}
			}
			return
		}
	}
	var all sync.WaitGroup
	for _, e := range entries {
		all.Go(func() {
			seq, err := j.publish(ctx, e)
			e.outcome <- outcome{seq, err}
		})
	}
	all.Wait()
}

// close lets nobody in any more; what waits is not written.
func (a *appender) close() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.closed = true
	for _, e := range a.waiting {
		e.outcome <- outcome{err: fmt.Errorf("%w: the journal is closed", ledger.ErrUnavailable)}
	}
	a.waiting = nil
}
