//go:build faults

package systemtest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"regexp"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/grpc/status"
)

const (
	nemesisWriters  = 6
	nemesisReaders  = 3
	nemesisWatchers = 3
	nemesisKeys     = 3
)

// clients write, read and watch at several gateways, and keep all that they are answered.
type clients struct {
	seed  uint64
	begun time.Time

	mu       sync.RWMutex // guards gateways, which are replaced on the way
	gateways []*gateway   // the ledgers come first

	acknowledged, unknown atomic.Int64
	newest                counted // the newest revision that was acknowledged
	stopping              atomic.Bool
	writing               sync.WaitGroup

	// received is the newest revision that each watcher has.
	received [nemesisWatchers]counted

	kept       sync.Mutex // guards what follows
	operations []porcupine.Operation
	// acks are the times at which revisions were acknowledged, since the begin.
	acks    map[uint64]time.Duration
	reads   []readAnswer
	watches [nemesisWatchers]watched
	wrong   error
}

func newClients(seed uint64) *clients {
	return &clients{seed: seed, begun: time.Now(), acks: make(map[uint64]time.Duration)}
}

func (c *clients) gateway(n int) (*gateway, int) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	n %= len(c.gateways)
	return c.gateways[n], n
}

func (c *clients) replace(n int, g *gateway) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.gateways[n] = g
}

func (c *clients) fail(err error) {
	c.kept.Lock()
	defer c.kept.Unlock()
	if c.wrong == nil {
		c.wrong = err
	}
}

func (c *clients) failed() error {
	c.kept.Lock()
	defer c.kept.Unlock()
	return c.wrong
}

// run starts all clients. The writers end after stop, the others with ctx.
func (c *clients) run(ctx context.Context, running *sync.WaitGroup) {
	start := func(group *sync.WaitGroup, n int, client func(*rand.Rand, int) error) {
		for i := range n {
			random := rand.New(rand.NewPCG(c.seed, uint64(i)))
			group.Go(func() {
				if err := client(random, i); err != nil && ctx.Err() == nil {
					c.fail(err)
				}
			})
		}
	}
	start(&c.writing, nemesisWriters, func(random *rand.Rand, i int) error { return c.write(ctx, random, i) })
	start(running, nemesisReaders, func(random *rand.Rand, i int) error { return c.read(ctx, random) })
	start(running, nemesisWatchers, func(random *rand.Rand, i int) error { return c.watch(ctx, i) })
}

// stop lets the writers end, each once its last outcome is known.
func (c *clients) stop() { c.stopping.Store(true) }

// settle waits until each ledger has acknowledged a write.
func (c *clients) settle(t *testing.T) {
	t.Helper()
	for i := range ledgers {
		g, _ := c.gateway(i)
		await(t, fmt.Sprintf("a write at ledger %d", i), func() bool {
			ctx, cancel := context.WithTimeout(acting(t, acme), callTimeout)
			defer cancel()
			_, err := g.ledger.Commit(ctx, &stelev1.CommitRequest{Changes: []*stelev1.Change{{Key: "settled/key", Value: strconv.FormatInt(time.Now().UnixNano(), 10)}}})
			return err == nil
		})
	}
}

// revisionOf is the revision that a refusal reports.
var revisionOf = regexp.MustCompile(`found (?:@(\d+)|absent)`)

// write makes random operations on the keys. An outcome that is unknown is asked for with the
// same request id until it is known.
func (c *clients) write(ctx context.Context, random *rand.Rand, writer int) error {
	known := make(map[string]uint64) // the newest revision of each key that this client has learned of
	at := writer                     // the ledger that it uses
	for i := 0; !c.stopping.Load() && ctx.Err() == nil; i++ {
		in := keyInput{key: fmt.Sprintf("nemesis/%d", random.IntN(nemesisKeys))}
		req := &stelev1.CommitRequest{RequestId: fmt.Sprintf("%d/%d", writer, i), Changes: []*stelev1.Change{{Key: in.key, Value: fmt.Sprintf("%q", fmt.Sprint(writer, "/", i))}}}
		switch n := random.IntN(10); {
		case n < 4:
			in.op = opSet
		case n < 7:
			in.op, in.expected = opSwap, known[in.key]
		default:
			in.op, in.expected = opProbe, 1<<40
		}
		if in.op != opSet {
			req.Preconditions = []*stelev1.Precondition{{Key: in.key, Revision: in.expected}}
		}
		if random.IntN(4) == 0 { // commits with several changes must stay whole
			req.Changes = append(req.Changes, &stelev1.Change{Key: fmt.Sprintf("more/%d", writer), Value: strconv.Itoa(i)})
		}
		call := time.Since(c.begun).Nanoseconds()
		out, err := c.decide(ctx, &at, req)
		if err != nil {
			return fmt.Errorf("writer %d, %+v: %w", writer, in, err)
		}
		known[in.key] = out.revision
		op := porcupine.Operation{ClientId: writer, Input: in, Call: call, Output: out, Return: time.Since(c.begun).Nanoseconds()}
		c.kept.Lock()
		c.operations = append(c.operations, op)
		if !out.refused {
			c.acks[out.revision] = time.Duration(op.Return)
		}
		c.kept.Unlock()
	}
	return nil
}

// decide makes the request at one ledger after the other, from at on, until its outcome is
// known.
func (c *clients) decide(ctx context.Context, at *int, req *stelev1.CommitRequest) (keyOutput, error) {
	for ; ; *at++ {
		g, _ := c.gateway(*at % ledgers)
		call, cancel := context.WithTimeout(ctx, callTimeout)
		resp, err := g.ledger.Commit(call, req)
		cancel()
		switch {
		case err == nil:
			c.acknowledged.Add(1)
			c.newest.raise(resp.Revision)
			return keyOutput{revision: resp.Revision}, nil
		case conflict(err):
			c.acknowledged.Add(1)
			return refusedAt(err)
		case !away(err) || ctx.Err() != nil:
			return keyOutput{}, err
		}
		c.unknown.Add(1)
		time.Sleep(10 * time.Millisecond)
	}
}

func refusedAt(err error) (keyOutput, error) {
	m := revisionOf.FindStringSubmatch(status.Convert(err).Message())
	switch {
	case m == nil:
		return keyOutput{}, fmt.Errorf("a refusal without the key's revision: %w", err)
	case m[1] == "":
		return keyOutput{refused: true}, nil
	}
	revision, err := strconv.ParseUint(m[1], 10, 64)
	return keyOutput{revision: revision, refused: true}, err
}

// read reads keys at random gateways, half of the time with a bound on the revision.
func (c *clients) read(ctx context.Context, random *rand.Rand) error {
	for ctx.Err() == nil {
		g, n := c.gateway(random.IntN(ledgers + 1))
		a := readAnswer{key: fmt.Sprintf("nemesis/%d", random.IntN(nemesisKeys)), asked: time.Since(c.begun)}
		if random.IntN(2) == 0 {
			a.atLeast = c.newest.Load()
		}
		call, cancel := context.WithTimeout(ctx, callTimeout)
		resp, err := g.config.BatchGet(call, &stelev1.BatchGetRequest{Keys: []string{a.key}, MinRevision: a.atLeast})
		cancel()
		if err == nil {
			a.snapshot, a.age = resp.Snapshot.Revision, resp.Snapshot.Age.AsDuration()
			for _, e := range resp.Entries {
				a.set, a.value = e.Revision, e.Value
			}
			c.kept.Lock()
			c.reads = append(c.reads, a)
			c.kept.Unlock()
		} else if !away(err) {
			return fmt.Errorf("read %s at gateway %d: %w", a.key, n, err)
		}
		time.Sleep(5 * time.Millisecond)
	}
	return nil
}

// silent is how long a watch may receive nothing, although it asks for bookmarks, until it is
// resumed at another gateway.
const silent = 3 * time.Second

// watch watches everything, and resumes at the next gateway when a session ends.
func (c *clients) watch(ctx context.Context, watcher int) error {
	from, after := uint64(1), []byte(nil)
	for at := watcher; ctx.Err() == nil; at++ {
		g, _ := c.gateway(at)
		s, err := watchOnce(ctx, g, from, after, &c.received[watcher])
		for _, r := range s.received {
			if !r.bookmark && !r.more {
				from, after = r.revision+1, []byte(r.id)
			}
		}
		c.kept.Lock()
		if len(s.received) > 0 {
			c.watches[watcher].sessions = append(c.watches[watcher].sessions, s)
		}
		c.kept.Unlock()
		if err != nil && !away(err) {
			return fmt.Errorf("watcher %d from @%d: %w", watcher, from, err)
		}
		time.Sleep(10 * time.Millisecond)
	}
	return nil
}

// watchOnce is one session. Its error is why it ended.
func watchOnce(ctx context.Context, g *gateway, from uint64, after []byte, newest *counted) (watchSession, error) {
	s := watchSession{from: from}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	silence := time.AfterFunc(silent, cancel)
	defer silence.Stop()
	stream, err := g.config.Watch(ctx)
	if err != nil {
		return s, err
	}
	if err := stream.Send(&stelev1.WatchRequest{Request: &stelev1.WatchRequest_Create{
		Create: &stelev1.CreateWatch{Id: 1, Prefixes: []string{""}, FromRevision: from, AfterId: after},
	}}); err != nil {
		_, err = stream.Recv()
		return s, err
	}
	var asking sync.WaitGroup
	defer asking.Wait()
	defer cancel()
	asking.Go(func() {
		for ctx.Err() == nil {
			if stream.Send(&stelev1.WatchRequest{Request: &stelev1.WatchRequest_Progress{}}) != nil {
				return
			}
			select {
			case <-time.After(500 * time.Millisecond):
			case <-ctx.Done():
			}
		}
	})
	for {
		m, err := stream.Recv()
		if err != nil {
			return s, err
		}
		silence.Reset(silent)
		switch {
		case m.GetCommit() != nil:
			e := m.GetCommit()
			s.received = append(s.received, received{revision: e.Revision, id: string(e.Id), changes: changesOf(e.Changes), more: e.More})
			newest.raise(e.Revision)
		case m.GetProgress() != nil:
			s.received = append(s.received, received{revision: m.GetProgress().Snapshot.Revision, bookmark: true})
		case m.GetCanceled() != nil:
			return s, status.FromProto(m.GetCanceled().Status).Err()
		}
	}
}

// watchedAll waits until each watcher has the last revision.
func (c *clients) watchedAll(t *testing.T, last uint64) {
	t.Helper()
	for i := range c.received {
		await(t, fmt.Sprintf("@%d at watcher %d", last, i), func() bool { return c.received[i].Load() >= last || c.failed() != nil })
	}
}

func (c *clients) sessions() (n int) {
	for _, w := range c.watches {
		n += len(w.sessions)
	}
	return n
}

// check compares all answers with the history.
func (c *clients) check(t *testing.T, chain []recorded) {
	t.Helper()
	if !linearizable(c.operations) {
		t.Errorf("the %d writes are not linearizable", len(c.operations))
	}
	state := newKeyVersions(chain)
	for _, a := range c.reads {
		if err := errors.Join(state.explains(a), a.honest(c.acks, uint64(len(chain)))); err != nil {
			t.Error(err)
		}
	}
	for i, w := range c.watches {
		if err := w.validate(chain); err != nil {
			t.Errorf("watcher %d: %v", i, err)
		}
	}
	if len(c.operations) == 0 || len(c.reads) == 0 || c.sessions() == 0 {
		t.Error(errors.New("nothing was written, read or watched"))
	}
}
