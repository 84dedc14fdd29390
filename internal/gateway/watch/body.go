package watch

import (
	"sync/atomic"

	"github.com/stelehq/stele/internal/budget"
)

// Body is the encoded part of messages that several streams share. It counts once in the
// share of answers, from when it is made until the last of its references is released. It
// is safe for use by many goroutines.
type Body struct {
	data    []byte
	answers *budget.Share // nil if it does not count
	refs    atomic.Int64
}

// newBody makes a body with one reference; its bytes must have been acquired.
func newBody(answers *budget.Share, data []byte) *Body {
	b := &Body{data: data, answers: answers}
	b.refs.Store(1)
	return b
}

// Data is the encoded part.
func (b *Body) Data() []byte { return b.data }

// Retain adds a reference.
func (b *Body) Retain() { b.refs.Add(1) }

// Release gives a reference back.
func (b *Body) Release() {
	if b.refs.Add(-1) == 0 && b.answers != nil {
		b.answers.Release(int64(len(b.data)))
	}
}

// acquire makes bodies, if there is memory for all of them.
func acquire(answers *budget.Share, parts [][]byte) ([]*Body, bool) {
	size := 0
	for _, p := range parts {
		size += len(p)
	}
	if int64(size) > answers.Size() || !answers.TryAcquire(int64(size)) {
		return nil, false
	}
	bodies := make([]*Body, len(parts))
	for i, p := range parts {
		bodies[i] = newBody(answers, p)
	}
	return bodies, true
}

func release(bodies []*Body) {
	for _, b := range bodies {
		b.Release()
	}
}
