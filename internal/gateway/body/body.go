// Package body gives memory to the bodies of HTTP requests before they are received.
package body

import (
	"context"
	"net/http"
	"time"

	"github.com/stelehq/stele/internal/budget"
	"github.com/stelehq/stele/internal/gateway/identity"
)

// Timeout is how long a body may take to arrive.
const Timeout = 30 * time.Second

// large is the size, in bytes, from which a body needs memory of the share. Smaller ones are bounded
// by the number of connections.
const large = 32 << 10

// Memory is the memory of bodies.
type Memory struct {
	// Share is what all bodies have together.
	Share *budget.Divided
	// Verify returns who holds a token. A large body gets memory only with a valid one that was
	// not revoked.
	Verify func(token string) (*identity.Principal, error)
}

// Reserve waits for the memory of a body of at most so many bytes, of which the handler makes so many
// copies. release gives it back.
func (m Memory) Reserve(ctx context.Context, r *http.Request, most, copies int64, token func() (string, error)) (release func(), err error) {
	size := r.ContentLength
	if size < 0 || size > most { // unknown, or refused while it is read
		size = most
	}
	if size < large {
		return func() {}, nil
	}
	t, err := token()
	if err != nil {
		return nil, err
	}
	p, err := m.Verify(t)
	if err != nil {
		return nil, err
	}
	if err := m.Share.AcquireFirst(ctx, p.Owner(), copies*size); err != nil {
		return nil, err
	}
	return func() { m.Share.Release(p.Owner(), copies*size) }, nil
}
