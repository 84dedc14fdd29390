package peer

import (
	"errors"
	"io"
	"sync/atomic"
)

// pool hands out connections in turn.
type pool[T io.Closer] struct {
	conns []T
	turn  atomic.Uint64
}

// dialPool opens n connections, or none. Connection i goes to address i of addrs,
// modulo their number.
func dialPool[T io.Closer](addrs []string, n int, dial func(addr string) (T, error)) (*pool[T], error) {
	p := &pool[T]{}
	for i := range n {
		c, err := dial(addrs[i%len(addrs)])
		if err != nil {
			return nil, errors.Join(err, p.Close())
		}
		p.conns = append(p.conns, c)
	}
	return p, nil
}

func (p *pool[T]) next() T {
	return p.conns[p.turn.Add(1)%uint64(len(p.conns))]
}

func (p *pool[T]) Close() error {
	var errs []error
	for _, c := range p.conns {
		errs = append(errs, c.Close())
	}
	return errors.Join(errs...)
}
