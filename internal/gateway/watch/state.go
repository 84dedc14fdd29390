package watch

import (
	"context"
	"slices"

	"github.com/stelehq/stele/internal/gateway/redact"
	"github.com/stelehq/stele/internal/gateway/view"
	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/replica"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
)

// statePage is the size after which a page of the initial state takes no more entries, in
// bytes: a client that does not read holds a few of them.
const statePage = 256 << 10

// pageMemory is the memory, in bytes, that a page takes while it is built: twice its entries,
// of which the last may be the longest, and the value that begins the next page.
const pageMemory = 2*statePage + 3*ledger.MaxValue

// State sends the selected part of the state at a revision, in pages. While it waits
// for the client or for memory it holds neither a view nor a value: a view keeps a tail of
// the replica in memory.
func (ws *Stream) State(ctx context.Context, r *replica.Replica, at ledger.Revision, redact redact.Redactor, w *Watch) error {
	for state := (&stateReader{selector: w.Selector, redact: redact}); !state.done; {
		if err := ws.waitRoom(ctx); err != nil {
			return err
		}
		body, err := ws.page(ctx, func() ([]byte, error) { return state.next(r, ws.Tenant, at, w.ID) })
		if err != nil {
			return err
		}
		ws.push(Frame{Body: body})
	}
	return nil
}

// page waits for the memory of a page, builds it, and gives back what it has not needed: all, if
// build fails or panics.
func (ws *Stream) page(ctx context.Context, build func() ([]byte, error)) (*Body, error) {
	if err := ws.answers.AcquireFirst(ctx, pageMemory); err != nil {
		return nil, err
	}
	var body []byte
	defer func() { ws.answers.Release(pageMemory - int64(len(body))) }()
	encoded, err := build()
	if err != nil {
		return nil, err
	}
	body = encoded
	return newBody(ws.answers, body), nil
}

// stateReader reads a state page by page. Between two pages it is only the place where the
// next one begins.
type stateReader struct {
	selector Selector
	redact   redact.Redactor

	keys, prefixes int        // that have been read
	from           ledger.Key // where the next prefix continues
	done           bool

	page *stelev1.WatchState // that is being read
	size int                 // of its entries, in bytes
}

// next reads and encodes the next page of a state.
func (s *stateReader) next(r *replica.Replica, t ledger.Tenant, at ledger.Revision, id uint64) ([]byte, error) {
	v, err := r.View(t, replica.At{Revision: at, Empty: at == 0})
	if err != nil {
		return nil, err
	}
	defer v.Close()
	s.page, s.size = &stelev1.WatchState{Revision: uint64(at), Id: view.IDBytes(at, v.State().ID)}, 0
	if s.done, err = s.read(v); err != nil {
		return nil, err
	}
	s.page.More = !s.done
	encoded := encodeState(id, s.page)
	s.page = nil
	return encoded, nil
}

// read fills the page, and reports whether it has the last entry.
func (s *stateReader) read(v *replica.View) (done bool, err error) {
	for ; s.keys < len(s.selector.keys); s.keys++ {
		k := s.selector.keys[s.keys]
		if slices.ContainsFunc(s.selector.prefixes, func(p ledger.Prefix) bool { return p.Match(k) }) {
			continue
		}
		e, ok, err := v.Get(k)
		if err != nil {
			return false, err
		}
		if ok && !s.add(e) {
			return false, nil
		}
	}
	for ; s.prefixes < len(s.selector.prefixes); s.prefixes++ {
		for e, err := range v.List(s.selector.prefixes[s.prefixes], s.from) {
			if err != nil {
				return false, err
			}
			if !s.add(e) {
				s.from = e.Key
				return false, nil
			}
		}
		s.from = ""
	}
	return true, nil
}

// add adds an entry to the page, unless the page is full.
func (s *stateReader) add(e replica.Entry) bool {
	if s.size > statePage {
		return false
	}
	shown := s.redact.Hidden(e)
	s.size += len(shown.Key) + len(shown.Value)
	s.page.Entries = append(s.page.Entries, shown)
	return true
}
