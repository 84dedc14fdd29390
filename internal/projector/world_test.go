package projector_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/journal"
	"github.com/stelehq/stele/internal/ledger/ledgertest"
	"github.com/stelehq/stele/internal/ledger/replica"
	"github.com/stelehq/stele/internal/ledger/routes"
	"github.com/stelehq/stele/internal/projector"
	sinkstatev1 "github.com/stelehq/stele/internal/projector/sinkstate/v1"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
)

// world is a ledger with a projector to sinks in memory, which fail as a test says.
type world struct {
	t      *testing.T
	server *journal.Server
	node   *ledgertest.Node
	routes *routes.Source
	store  *store
	bus    *bus
	// secrets is the projector's way to open them.
	secrets projector.Secrets
	// destinations are those of the projector, and kinds its kinds in addition to "store" and "bus".
	destinations projector.Destinations
	kinds        map[string]projector.Kind
}

func newWorld(t *testing.T, table string) *world {
	t.Helper()
	w := &world{t: t, server: ledgertest.Server(t), store: newStore(), bus: &bus{}}
	w.node = ledgertest.Start(t, w.server, ledgertest.Config{})
	fallback, err := routes.Parse([]byte(table))
	if err != nil {
		t.Fatal(err)
	}
	w.routes = routes.NewSource(w.node.Replica, fallback, slog.New(slog.DiscardHandler))
	return w
}

// start starts a projector on a node.
func (w *world) start(n *ledgertest.Node, alone bool) *projector.Projector {
	w.t.Helper()
	kinds := map[string]projector.Kind{
		"store": func(_ context.Context, s projector.Settings) (projector.Sink, error) { return w.store.open(s) },
		"bus":   func(context.Context, projector.Settings) (projector.Sink, error) { return w.bus, nil },
	}
	maps.Copy(kinds, w.kinds)
	p, err := projector.Start(w.t.Context(), projector.Config{
		Replica: n.Replica, Journal: n.Journal, Conn: n.Conn, Ledger: n.Ledger, Routes: w.routes, Secrets: w.secrets, Destinations: w.destinations, Alone: alone,
		Kinds: kinds, Dir: w.t.TempDir(),
	})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(p.Close)
	return p
}

// commit sets keys, or deletes those whose value is empty.
func (w *world) commit(t ledger.Tenant, set map[ledger.Key]string) ledger.Revision {
	w.t.Helper()
	var cs ledger.ChangeSet
	for _, k := range slices.Sorted(maps.Keys(set)) {
		cs.Changes = append(cs.Changes, ledger.Change{Key: k, Value: ledger.Value(set[k]), Delete: set[k] == ""})
	}
	r, err := w.node.Ledger.Commit(w.t.Context(), t, cs)
	if err != nil {
		w.t.Fatal(err)
	}
	return r.Revision
}

// entry is a key's value as the journal has it.
func (w *world) entry(t ledger.Tenant, key ledger.Key) (ledger.Value, bool) {
	w.t.Helper()
	v, err := w.node.Replica.View(t, replica.At{})
	if err != nil {
		w.t.Fatal(err)
	}
	defer v.Close()
	e, ok, err := v.Get(key)
	if err != nil {
		w.t.Fatal(err)
	}
	return e.Value, ok
}

// equal waits until the store holds of each tenant exactly the keys below its prefix.
func (w *world) equal(prefix ledger.Prefix, tenants ...ledger.Tenant) {
	w.t.Helper()
	var missing string
	until(w.t, func() bool {
		missing = ""
		for _, t := range tenants {
			want := make(map[ledger.Key]projector.Item)
			v, err := w.node.Replica.View(t, replica.At{})
			if err != nil {
				w.t.Fatal(err)
			}
			for e, err := range v.List(prefix, "") {
				if err != nil {
					w.t.Fatal(err)
				}
				want[e.Key] = projector.Item{Value: e.Value, Revision: e.Revision}
			}
			v.Close()
			if diff := w.store.differ(t, want); diff != "" {
				missing = fmt.Sprintf("%s: %s", t, diff)
			}
		}
		return missing == ""
	}, func() string { return missing })
}

// until waits for a condition, and fails with what why says when it does not come.
func until(t *testing.T, done func() bool, why func() string) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !done(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("it does not come: %s", why())
		}
	}
}

func (w *world) ask(sink string, order *sinkstatev1.Order) *sinkstatev1.Reply {
	w.t.Helper()
	c := &projector.Control{Conn: w.node.Conn, Journal: w.node.Journal, Replica: w.node.Replica}
	var reply *sinkstatev1.Reply
	var err error
	until(w.t, func() bool {
		ctx, cancel := context.WithTimeout(w.t.Context(), 10*time.Second)
		defer cancel()
		reply, err = c.Ask(ctx, sink, order)
		return err == nil && reply.Error == "" || err != nil && !errors.Is(err, ledger.ErrUnavailable)
	}, func() string { return fmt.Sprint(err, reply) })
	if err != nil {
		w.t.Fatal(err)
	}
	return reply
}

func (w *world) status(sink string, t ledger.Tenant) *stelev1.SinkStatus {
	w.t.Helper()
	return w.ask(sink, &sinkstatev1.Order{Tenant: string(t), Order: &sinkstatev1.Order_Status{}}).Status
}

func (w *world) parked(sink string, t ledger.Tenant) []*stelev1.Parked {
	w.t.Helper()
	c := &projector.Control{Conn: w.node.Conn, Journal: w.node.Journal, Replica: w.node.Replica}
	resp, err := c.Parked(w.t.Context(), sink, t)
	if err != nil {
		w.t.Fatal(err)
	}
	return resp.Parked
}

// store is a store in memory that holds its writers to what they promise.
type store struct {
	mu     sync.Mutex
	items  map[string]projector.Item // by name
	refuse func(projector.Write) error
	fail   func() error
	// reading is called before an item is read; nil for nothing.
	reading func(name string)
	newest  map[string]ledger.Revision // that was ever written
	put     int                        // writes that changed an item, or made one
	faults  []string
	order   []string // names, as they were written
	whole   bool
	keeps   bool // secrets
	// unreadable, when set, is why a tenant's items (name is empty) or one item cannot
	// be read.
	unreadable func(t ledger.Tenant, name string) error
	// pace, when set, is received from before each call.
	pace chan struct{}
}

func newStore() *store {
	return &store{items: make(map[string]projector.Item), newest: make(map[string]ledger.Revision)}
}

func (s *store) open(projector.Settings) (projector.Sink, error) { return s, nil }
func (s *store) Close() error                                    { return nil }

func (s *store) Limits() projector.Limits {
	if s.whole {
		return projector.Limits{}
	}
	return projector.Limits{Batch: 5, Parallel: 3, Secrets: s.keeps}
}

func name(t ledger.Tenant, k ledger.Key) string { return string(t) + ":" + string(k) }

func (s *store) Write(ctx context.Context, writes []projector.Write) ([]error, error) {
	if s.pace != nil {
		select {
		case <-s.pace:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fail != nil {
		if err := s.fail(); err != nil {
			return nil, err
		}
	}
	errs := make([]error, len(writes))
	for i, w := range writes {
		if s.refuse != nil {
			if errs[i] = s.refuse(w); errs[i] != nil {
				continue
			}
		}
		n := name(w.Tenant, w.Key)
		if w.Revision < s.newest[n] {
			s.faults = append(s.faults, fmt.Sprintf("%s goes back from %s to %s", n, s.newest[n], w.Revision))
		}
		s.newest[n] = w.Revision
		if s.items[n].Revision > w.Revision && w.Replace == nil {
			continue // the existing item claims to be newer
		}
		s.items[n] = projector.Item{Tenant: w.Tenant, Key: w.Key, Name: n, Revision: w.Revision, Value: w.Value, State: true}
		s.put++
		s.order = append(s.order, n)
	}
	return errs, nil
}

func (s *store) Scan(_ context.Context, t ledger.Tenant, yield func(projector.Item) error) error {
	s.mu.Lock()
	items, unreadable := maps.Clone(s.items), s.unreadable
	s.mu.Unlock()
	if unreadable != nil {
		if err := unreadable(t, ""); err != nil {
			return err
		}
	}
	for _, item := range items {
		if item.Tenant == t {
			if unreadable != nil {
				if err := unreadable(t, item.Name); err != nil {
					item = projector.Item{Tenant: t, Key: item.Key, Name: item.Name, Err: err}
				}
			}
			if err := yield(item); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *store) Read(_ context.Context, n string) (projector.Item, bool, error) {
	s.mu.Lock()
	reading := s.reading
	s.mu.Unlock()
	if reading != nil {
		reading(n)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	item, ok := s.items[n]
	if s.unreadable != nil {
		if err := s.unreadable(item.Tenant, n); err != nil {
			return item, ok, err
		}
	}
	t, k, _ := strings.Cut(n, ":")
	item.Tenant, item.Key, item.Name = ledger.Tenant(t), ledger.Key(k), n
	return item, ok, nil
}

func (s *store) Name(t ledger.Tenant, k ledger.Key) (string, error) { return name(t, k), nil }

func (s *store) Same(item projector.Item, w projector.Write) bool {
	return item.Revision == w.Revision && item.Value == w.Value
}

func (s *store) Remove(_ context.Context, seen projector.Item) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.items, seen.Name)
	return nil
}

// edit changes items by hand.
func (s *store) edit(change func(map[string]projector.Item)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(s.items)
}

func (s *store) set(do func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	do()
}

func (s *store) puts() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.put
}

// differ says what of a tenant's live items is not as wanted.
func (s *store) differ(t ledger.Tenant, want map[ledger.Key]projector.Item) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.faults) > 0 {
		return s.faults[0]
	}
	live := 0
	for _, item := range s.items {
		if item.Tenant != t || item.Value == "" {
			continue
		}
		live++
		if w, ok := want[item.Key]; !ok || w.Value != item.Value || w.Revision != item.Revision {
			return fmt.Sprintf("%s is %s%s, want %s%s", item.Key, item.Value, item.Revision, w.Value, w.Revision)
		}
	}
	if live != len(want) {
		return fmt.Sprintf("it holds %d keys, not %d", live, len(want))
	}
	return ""
}

// bus is a sink in memory that gets every change.
type bus struct {
	mu     sync.Mutex
	events []projector.Write
	fail   func(projector.Write) error
}

func (b *bus) Limits() projector.Limits { return projector.Limits{Batch: 10, Parallel: 2} }
func (b *bus) Close() error             { return nil }

func (b *bus) Write(_ context.Context, writes []projector.Write) ([]error, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	errs := make([]error, len(writes))
	for i, w := range writes {
		if b.fail != nil {
			errs[i] = b.fail(w)
		}
		if errs[i] == nil {
			b.events = append(b.events, w)
		}
	}
	return errs, nil
}

func (b *bus) got() []projector.Write {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.events)
}
