package watch

import (
	"context"
	"errors"
	"maps"
	"slices"

	"github.com/stelehq/stele/internal/budget"
	"github.com/stelehq/stele/internal/gateway/view"
	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/replica"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
)

// skipped lists the keys whose changes a watch has missed. It has no values: they are read when
// the client receives them, so that a client that does not read holds none.
type skipped struct {
	// Guarded by the stream's mutex: the newest revision that was skipped, and the keys
	// that changed.
	revision ledger.Revision
	keys     map[ledger.Key]bool

	// Owned by the goroutine that sends: the keys that are left of the state that it sends,
	// and the revision of that.
	sending []ledger.Key
	at      ledger.Revision
}

// skip records a commit of which a watch will get only the outcome. ws.mu must be held.
func (ws *Stream) skip(w *Watch, c *ledger.Commit) {
	s := ws.skipped[w]
	if s == nil {
		s = &skipped{keys: make(map[ledger.Key]bool)}
		ws.skipped[w] = s
	}
	s.revision = c.Revision
	for _, ch := range w.Selector.Pick(c.Changes) {
		s.keys[ch.Key] = true
	}
	notify(ws.wake)
}

// queueSkipped queues a page of what a watch has skipped, and reports whether it did or has to
// be called again.
func (ws *Stream) queueSkipped(ctx context.Context, h *Hub) (bool, error) {
	w, s := ws.nextSkipped()
	if w == nil {
		return false, nil
	}
	var more bool
	body, err := ws.page(ctx, func() ([]byte, error) {
		page, err := s.page(h, ws.Tenant)
		if err != nil {
			return nil, err
		}
		more = page.More
		return encodeState(w.ID, page), nil
	})
	exhausted := new(budget.ExhaustedError)
	switch {
	case errors.As(err, &exhausted):
		return true, nil // this watch can wait
	case err != nil && ctx.Err() != nil:
		return false, err
	case err != nil:
		h.Leave(w)
		ws.Forget(w.ID)
		ws.Canceled(w.ID, h.failed(err), nil)
		return true, nil
	}
	frame := Frame{Body: body}
	defer body.Release()
	ws.mu.Lock()
	defer ws.mu.Unlock()
	if ws.skipped[w] != s { // it was canceled
		return true, nil
	}
	ws.enqueue(frame)
	if !more && len(s.keys) == 0 {
		delete(ws.skipped, w)
	}
	return true, nil
}

// nextSkipped chooses a watch that has skipped commits: one whose state is being sent, if
// there is one.
func (ws *Stream) nextSkipped() (next *Watch, s *skipped) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	for w := range ws.skipped {
		next, s = w, ws.skipped[w]
		if len(s.sending) > 0 {
			return next, s
		}
	}
	if next != nil {
		s.sending, s.at = slices.Sorted(maps.Keys(s.keys)), s.revision
		clear(s.keys)
	}
	return next, s
}

// page reads the next page of the state that is being sent.
func (s *skipped) page(h *Hub, t ledger.Tenant) (*stelev1.WatchState, error) {
	v, err := h.replica.View(t, replica.At{Revision: s.at})
	if err != nil {
		return nil, err
	}
	defer v.Close()
	redact := h.redactor()
	page := &stelev1.WatchState{Revision: uint64(s.at), Id: view.IDBytes(s.at, v.State().ID)}
	for size := 0; len(s.sending) > 0 && size <= statePage; s.sending = s.sending[1:] {
		k := s.sending[0]
		e, ok, err := v.Get(k)
		if err != nil {
			return nil, err
		}
		if !ok {
			page.Deleted = append(page.Deleted, string(k))
			size += len(k)
			continue
		}
		shown := redact.Hidden(e)
		page.Entries = append(page.Entries, shown)
		size += len(k) + len(shown.Value)
	}
	page.More = len(s.sending) > 0
	return page, nil
}
