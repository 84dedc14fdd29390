package changelog

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"github.com/stelehq/stele/internal/ledger"
)

// OrderError is a log whose newest commit is first.
type OrderError struct {
	Tenant          ledger.Tenant
	Revision, After uint64
}

func (e *OrderError) Error() string {
	return fmt.Sprintf("revision %d of %s comes after %d: the newest is first; print the log with --reverse", e.Revision, e.Tenant, e.After)
}

// Next returns the next line, io.EOF after the last one, or a LineError. Lines without
// content are skipped. After an error it returns that error again.
//
// The first commit of a tenant, unless it is revision 1, is returned when the second one has been read: a log that
// has the newest commit first is refused before any of the tenant's commits is returned.
func (r *Reader) Next() (*Line, error) {
	for len(r.ready) == 0 && r.failed == nil {
		r.advance()
	}
	if len(r.ready) == 0 {
		return nil, r.failed
	}
	line := r.ready[0]
	r.ready = r.ready[1:]
	return line, nil
}

// advance reads a line, which is then held, ready, or the end.
func (r *Reader) advance() {
	line, err := r.next()
	if err != nil {
		var order *OrderError
		if errors.As(err, &order) {
			delete(r.held, order.Tenant)
		}
		for _, first := range r.held {
			if first != nil {
				r.ready = append(r.ready, first)
			}
		}
		slices.SortFunc(r.ready, func(a, b *Line) int { return cmp.Compare(a.Number, b.Number) })
		clear(r.held)
		r.failed = err
		return
	}
	first, known := r.held[line.Tenant]
	switch {
	case line.Revision == 0 || known && first == nil:
	case !known && line.Revision == 1: // the oldest is first
		r.held[line.Tenant] = nil
	case !known:
		r.held[line.Tenant] = line
		return
	case first != nil:
		r.ready = append(r.ready, first)
		r.held[line.Tenant] = nil // the order is known
	}
	r.ready = append(r.ready, line)
}
