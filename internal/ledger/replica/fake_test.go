package replica_test

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/internal/follower"
	"github.com/stelehq/stele/internal/ledger/journal"
	"github.com/stelehq/stele/internal/ledger/replica"
)

// fakeJournal is a fake: a journal in memory, for the ledger and the replica,
// that tests can cut, fork and take down. It answers as the real one does.
type fakeJournal struct {
	epoch ledger.Epoch

	mu       sync.Mutex // guards everything below
	messages []journal.Message
	// end, if set, is what it says its last sequence is.
	end  *ledger.Sequence
	down bool
	// careless makes it deliver what comes after a gap, instead of a GapError.
	careless  bool
	delivered int
	changed   chan struct{}
}

func newFakeJournal() *fakeJournal {
	return &fakeJournal{epoch: ledger.Epoch{1, 2, 3}, changed: make(chan struct{})}
}

// clone is another journal with the same messages.
func (j *fakeJournal) clone() *fakeJournal {
	j.mu.Lock()
	defer j.mu.Unlock()
	c := newFakeJournal()
	c.epoch, c.messages = j.epoch, slices.Clone(j.messages)
	return c
}

// alter changes the journal without its owner's knowledge.
func (j *fakeJournal) alter(change func()) {
	j.mu.Lock()
	defer j.mu.Unlock()
	change()
	close(j.changed)
	j.changed = make(chan struct{})
}

func (j *fakeJournal) deliveries() int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.delivered
}

var errDown = fmt.Errorf("%w: the fake journal is down", ledger.ErrUnavailable)

func (j *fakeJournal) Epoch() ledger.Epoch { return j.epoch }
func (j *fakeJournal) MaxRecord() int      { return 8 << 20 }
func (j *fakeJournal) Guard() error        { return nil }

func (j *fakeJournal) Clock() (ledger.Clock, error) {
	now := time.Now()
	return ledger.Clock{Now: now, Latest: now.Add(ledger.ClockBound)}, nil
}

func (j *fakeJournal) Append(_ context.Context, expected ledger.Sequence, record []byte) (seq ledger.Sequence, err error) {
	j.alter(func() {
		switch {
		case j.down:
			err = errDown
		case j.last() != expected:
			err = ledger.ErrConflict
		default:
			seq = expected + 1
			j.messages = append(j.messages, journal.Message{Sequence: seq, Time: time.Now(), Record: record})
		}
	})
	return seq, err
}

func (j *fakeJournal) Last(context.Context) (ledger.Sequence, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.down {
		return 0, errDown
	}
	return j.last(), nil
}

func (j *fakeJournal) last() ledger.Sequence {
	if j.end != nil {
		return *j.end
	}
	if n := len(j.messages); n > 0 {
		return j.messages[n-1].Sequence
	}
	return 0
}

func (j *fakeJournal) Read(_ context.Context, seq ledger.Sequence) (journal.Message, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.down {
		return journal.Message{}, errDown
	}
	i, ok := slices.BinarySearchFunc(j.messages, seq, bySequence)
	if !ok {
		return journal.Message{}, journal.ErrNoMessage
	}
	return j.messages[i], nil
}

func bySequence(m journal.Message, seq ledger.Sequence) int { return int(m.Sequence) - int(seq) }

func (j *fakeJournal) Follow(ctx context.Context, seen journal.Message, handle func(journal.Message) error) error {
	after := seen.Sequence
	for ctx.Err() == nil {
		j.mu.Lock()
		changed := j.changed
		last := j.last()
		if j.down || last < after { // as the real one: a caller that knows what was seen asks Last
			j.mu.Unlock()
			select {
			case <-changed:
			case <-ctx.Done():
			}
			continue
		}
		i, _ := slices.BinarySearchFunc(j.messages, after+1, bySequence)
		waiting := slices.Clone(j.messages[i:])
		careless := j.careless
		j.mu.Unlock()
		for _, m := range waiting {
			if m.Sequence != after+1 && !careless {
				return &journal.GapError{Want: after + 1, Got: m.Sequence}
			}
			j.mu.Lock()
			j.delivered++
			j.mu.Unlock()
			if err := handle(m); err != nil {
				return err
			}
			after = m.Sequence
		}
		select {
		case <-changed:
		case <-ctx.Done():
		}
	}
	return ctx.Err()
}

// anyJournal is what a node needs of a journal, fake or real.
type anyJournal interface {
	ledger.Journal
	follower.Journal
}

// node is a replica that follows a journal, and a ledger that writes to it.
type node struct {
	*replica.Replica
	ledger *ledger.Ledger
}

// failer is a *testing.T or a *rapid.T.
type failer interface {
	Helper()
	Fatal(...any)
	Fatalf(string, ...any)
}

// start opens a replica and follows the journal to its end.
func start(t failer, path string, j anyJournal) *node {
	t.Helper()
	r, err := replica.Open(replica.Config{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Follow(j); err != nil {
		t.Fatal(err)
	}
	n := &node{r, ledger.New(ledger.Config{Journal: j, Replica: r})}
	eventually(t, "the replica holds what the journal holds", func() bool {
		return r.Ready() && followed(r, j)
	})
	return n
}

// followed reports whether the journal was followed to its end.
func followed(r *replica.Replica, j anyJournal) bool {
	last, err := j.Last(context.Background())
	return err == nil && r.Position() >= last
}

func (n *node) close(t failer) {
	t.Helper()
	n.ledger.Close()
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
}

// open opens a replica without a journal; the test's end closes it.
func open(t *testing.T, path string) *replica.Replica {
	t.Helper()
	r, err := replica.Open(replica.Config{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

// eventually polls until the condition holds, for at most a minute.
func eventually(t failer, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !holds(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not in time: %s", what)
		}
	}
}

// collect reads all, up to an error.
func collect[T any](all iter.Seq2[T, error]) (out []T, err error) {
	for v, err := range all {
		if err != nil {
			return out, err
		}
		out = append(out, v)
	}
	return out, nil
}

// drain reads to the end, or up to an error.
func drain[T any](all iter.Seq2[T, error]) error {
	for _, err := range all {
		if err != nil {
			return err
		}
	}
	return nil
}
