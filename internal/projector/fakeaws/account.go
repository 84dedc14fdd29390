package fakeaws

import (
	"context"
	"sync"
	"time"

	"github.com/go-json-experiment/json"
)

// account is what all services share.
type account struct {
	ctx context.Context // ends when the server closes

	mu     sync.Mutex // guards all below, and the state of every service
	limits Limits
	faults faults
	calls  map[string]int
	keys   map[string]bool // of KMS, by ID or alias
}

// Limits are those that AWS may have another figure for in another account, or had
// in another year.
type Limits struct {
	// Standard and Advanced are the most parameters of each tier; 0 means 10,000
	// and 100,000.
	Standard, Advanced int
	// EventBytes is the exclusive upper limit of the entries of a PutEvents; 0 means 1
	// MiB.
	EventBytes int
}

// SetLimits replaces the limits.
func (a *account) SetLimits(l Limits) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.limits = l
}

// Calls is how often an operation was called, e.g. PutParameter, whatever its outcome.
func (a *account) Calls(operation string) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.calls[operation]
}

// AddKey makes a key of KMS, by its ID, ARN or alias.
func (a *account) AddKey(id string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.keys[id] = true
}

// wait makes a call slow.
func (a *account) wait(ctx context.Context, delay time.Duration) {
	if delay <= 0 {
		return
	}
	select {
	case <-time.After(delay):
	case <-ctx.Done():
	case <-a.ctx.Done():
	}
}

// handler answers a call whose request is JSON.
type handler func(request []byte) (any, error)

// operation reads a request and runs f on it under the account's lock.
func operation[In, Out any](a *account, f func(In) (Out, error)) handler {
	return func(request []byte) (any, error) {
		var in In
		if err := json.Unmarshal(request, &in); err != nil {
			return nil, fail("SerializationException", "%v", err)
		}
		a.mu.Lock()
		defer a.mu.Unlock()
		return f(in)
	}
}
