//go:build faults

package systemtest

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/stelehq/stele/internal/ledger"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// contest is writers that count the same counters up through several gateways.
// Every write depends on the value that was read, so a lost or repeated commit
// shows in the sum.
type contest struct {
	each int // increments of one writer

	mu       sync.RWMutex // guards gateways, which are replaced on the way
	gateways []*gateway

	done      atomic.Int64
	conflicts atomic.Int64
	unknown   atomic.Int64

	acksMu sync.Mutex // guards acks
	acks   map[uint64]link
}

// writers and counters: enough of the ones on few enough of the others that
// every write has a rival.
const (
	writers  = 8
	counters = 3
)

// callTimeout ends a call to a process that does not answer; the outcome is
// unknown then.
const callTimeout = 5 * time.Second

func (c *contest) gateway(n int) *gateway {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.gateways[n%len(c.gateways)]
}

func (c *contest) replace(n int, g *gateway) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.gateways[n] = g
}

// write counts up until all of the writer's increments are acknowledged.
func (c *contest) write(ctx context.Context, writer int) error {
	for i := range c.each {
		key := fmt.Sprintf("counters/%d", (writer+i)%counters)
		for try := 0; ; try++ {
			counted, err := c.increment(ctx, writer, key, fmt.Sprintf("%d/%d/%d", writer, i, try))
			if err != nil {
				return fmt.Errorf("writer %d, increment %d: %w", writer, i, err)
			}
			if counted {
				break
			}
			c.conflicts.Add(1)
		}
		c.done.Add(1)
	}
	return nil
}

// increment reads the counter and writes the value after it under one request
// id, at one gateway after the other, until the outcome is known.
func (c *contest) increment(ctx context.Context, writer int, key, requestID string) (counted bool, err error) {
	at := writer
	var req *stelev1.CommitRequest
	for ; ; at++ {
		if ctx.Err() != nil {
			return false, ctx.Err()
		}
		if req == nil {
			if req, err = c.draft(ctx, c.gateway(at), key, requestID); err != nil {
				if !away(err) {
					return false, err
				}
				time.Sleep(10 * time.Millisecond)
				continue
			}
		}
		call, cancel := context.WithTimeout(ctx, callTimeout)
		resp, err := c.gateway(at).ledger.Commit(call, req)
		cancel()
		switch {
		case err == nil:
			return true, c.acknowledge(resp, requestID)
		case conflict(err):
			return false, nil
		case !away(err):
			return false, err
		}
		c.unknown.Add(1)
		time.Sleep(10 * time.Millisecond)
	}
}

// draft is the change set that counts the key up from what the gateway holds.
func (c *contest) draft(ctx context.Context, g *gateway, key, requestID string) (*stelev1.CommitRequest, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	got, err := g.config.Get(ctx, &stelev1.GetRequest{Key: key})
	value := 0
	switch {
	case err == nil:
		if value, err = strconv.Atoi(got.Entry.Value); err != nil {
			return nil, err
		}
	case status.Code(err) != codes.NotFound:
		return nil, err
	}
	return &stelev1.CommitRequest{
		RequestId:     requestID,
		Changes:       []*stelev1.Change{{Key: key, Value: strconv.Itoa(value + 1)}},
		Preconditions: []*stelev1.Precondition{{Key: key, Revision: got.GetEntry().GetRevision()}},
	}, nil
}

func (c *contest) acknowledge(r *stelev1.CommitResponse, requestID string) error {
	c.acksMu.Lock()
	defer c.acksMu.Unlock()
	if other, twice := c.acks[r.Revision]; twice {
		return fmt.Errorf("@%d was acknowledged to %s and to %s", r.Revision, other.requestID, requestID)
	}
	c.acks[r.Revision] = link{ledger.CommitID(r.Id), requestID}
	return nil
}

// conflict says that a precondition does not hold, so nothing was written.
func conflict(err error) bool {
	for _, d := range status.Convert(err).Details() {
		if _, ok := d.(*errdetails.PreconditionFailure); ok {
			return true
		}
	}
	return false
}

// away reports that the outcome is unknown, or that the process is unreachable.
func away(err error) bool {
	code := status.Code(err)
	return code == codes.Unavailable || code == codes.DeadlineExceeded || code == codes.Canceled
}
