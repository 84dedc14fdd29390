package watch

import (
	"context"
	"fmt"
	"slices"

	"github.com/stelehq/stele/internal/gateway/redact"
	"github.com/stelehq/stele/internal/gateway/view"
	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/replica"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
)

// maxWatches one stream may carry.
const maxWatches = 10_000

// statePage is the size after which a page of the initial state takes no more entries, in
// bytes: a client that does not read holds a few of them.
const statePage = 256 << 10

// pageMemory is the memory, in bytes, that a page has while it is built: twice its entries,
// of which the last may be the longest.
const pageMemory = 2 * (statePage + ledger.MaxValue)

// Watch is one watch of one stream.
type Watch struct {
	ID         uint64
	Stream     *Stream
	Selector   Selector
	NewestOnly bool
	counted    bool // in the tenant's quota; guarded by the stream

	// Guarded by the hub: after is the last revision that the watch had when it
	// joined, and group where it is live; nil when it is not.
	after ledger.Revision
	group *group
}

// State sends what the watch selects of the view.
func (ws *Stream) State(ctx context.Context, v *replica.View, redact redact.Redactor, w *Watch) error {
	at := v.State()
	page := &stelev1.WatchState{Revision: uint64(at.Revision), Id: view.IDBytes(at.Revision, at.ID)}
	size, held := 0, int64(0) // bytes of the page, and of its memory
	defer func() { ws.answers.Release(held) }()
	begin := func() error {
		err := ws.waitRoom(ctx)
		if err == nil {
			err = ws.answers.AcquireFirst(ctx, pageMemory)
		}
		if err == nil {
			held = pageMemory
		}
		return err
	}
	flush := func(more bool) error {
		page.More = more
		encoded := encodeState(w.ID, page)
		ws.answers.Release(held - int64(len(encoded)))
		held = 0
		ws.push(Frame{Body: newBody(ws.answers, encoded)})
		page.Entries, size = nil, 0
		if more {
			return begin()
		}
		return nil
	}
	if err := begin(); err != nil {
		return err
	}
	add := func(e replica.Entry) error {
		if size > statePage {
			if err := flush(true); err != nil {
				return err
			}
		}
		shown := redact.Hidden(e)
		size += len(shown.Key) + len(shown.Value)
		page.Entries = append(page.Entries, shown)
		return nil
	}
	for _, k := range w.Selector.keys {
		if slices.ContainsFunc(w.Selector.prefixes, func(p ledger.Prefix) bool { return p.Match(k) }) {
			continue
		}
		e, ok, err := v.Get(k)
		if err != nil {
			return err
		}
		if ok {
			if err := add(e); err != nil {
				return err
			}
		}
	}
	for _, p := range w.Selector.prefixes {
		for e, err := range v.List(p, "") {
			if err != nil {
				return err
			}
			if err := add(e); err != nil {
				return err
			}
		}
	}
	return flush(false)
}

// Choose reads what the watch selects.
func (w *Watch) Choose(req *stelev1.CreateWatch) error {
	for i, k := range req.Keys {
		key, err := ledger.ParseKey(k)
		if err != nil {
			return ledger.Invalid(fmt.Sprintf("create.keys[%d]", i), err.Error())
		}
		w.Selector.keys = append(w.Selector.keys, key)
	}
	for i, p := range req.Prefixes {
		pattern, err := ledger.ParsePattern(p)
		if err != nil {
			return ledger.Invalid(fmt.Sprintf("create.prefixes[%d]", i), err.Error())
		}
		key, below := pattern.Split()
		if key != "" {
			if _, err := ledger.ParseKey(string(key)); err == nil {
				w.Selector.keys = append(w.Selector.keys, key)
			}
		}
		w.Selector.prefixes = append(w.Selector.prefixes, below)
	}
	if req.InitialState && req.FromRevision > 0 {
		return ledger.Invalid("create.from_revision", "the initial state is that of the head: ask for one of the two")
	}
	w.Selector.tidy()
	return nil
}
