// Package client keeps a tenant's settings in a program's memory, and writes them.
//
// Open follows the ledger through one stream from one of its gateways: first the state,
// then every commit. So reads cost no network, no lock and no allocation, and work
// without a gateway:
//
//	c, err := client.Open(ctx, client.Config{
//		Addresses: []string{"gateway-1:7070", "gateway-2:7070"},
//		Tenant:    "acme",
//		Prefixes:  []string{"tenantconfig/checkout/"},
//		Token:     client.TokenFile("/run/secrets/stele-token"),
//		File:      "/var/lib/checkout/settings",
//	})
//	timeout := client.Bind(c, "tenantconfig/checkout/timeout_ms", 250)
//	...
//	timeout.Get()
//
// Guarantees:
//
//   - Commits are atomic: no reader sees a part of one. Snapshot reads several keys of
//     one revision.
//   - A client never returns to an older revision, and never changes to another ledger or
//     tenant, whichever gateway answers. If the ledger was restored from a backup and has
//     lost commits that the client had, the client loads the state again, logs an error and
//     sets Status.HistoryChanged.
//   - A client always reports how stale it is: Age is the time since it was known to have
//     every commit. Gateways report it, and it grows while no gateway answers.
//   - If a gateway becomes unreachable, the client resumes at another one after the last
//     commit that it has. A random pause spreads the reconnects of many clients. A client
//     also leaves a gateway that is behind or cut off from the ledger.
//   - With File, a program can start without a gateway, from the last state that was saved.
//
// The client does not keep secrets: it has "***" in place of a secret, and reading one as a
// Value is an error.
package client

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Client keeps settings until Close.
type Client struct {
	cfg    Config
	ledger *Ledger

	closing context.Context // ends when Close begins
	cancel  context.CancelFunc
	running sync.WaitGroup
	wake    chan struct{} // holds a token while subscribers may have to be called
	hurry   chan struct{} // holds a token while a caller waits for a revision
	dirty   chan struct{} // holds a token while the file is older than the state
	live    chan struct{} // closed when a gateway's state is here
	refused chan error    // holds the error if every gateway rejects the client

	state atomic.Pointer[state]
	known atomic.Pointer[knowledge]

	mu sync.Mutex // held to change the state and what follows
	// epoch is the ledger's identity; nil until it is known from a file or a gateway.
	epoch []byte
	// have: the state is one of a ledger. pinned: a reader may have seen it, so from then on
	// a different ledger is rejected.
	have, pinned bool
	// opened: Open has returned without a state, so a reader may see the first one.
	opened      bool
	isLive      bool // live is closed
	bound       []bound
	slotsOf     map[string][]int // by key
	subscribers []*subscriber
	changed     map[string]bool // since the subscribers were last called
	moved       chan struct{}   // closed when the revision changes; nil while no caller waits
}

// openTimeout is how long Open waits for a gateway when it has the state of a file.
const openTimeout = 2 * time.Second

// Open returns a client that has a state: a gateway's or, if none answers within two
// seconds, the file's. Without a file it waits for a gateway until ctx ends, or returns an
// empty client if Config.StartEmpty is set. It fails at once if every gateway rejects the
// caller.
func Open(ctx context.Context, cfg Config) (*Client, error) {
	if err := cfg.check(); err != nil {
		return nil, fmt.Errorf("open client: %w", err)
	}
	c := &Client{
		cfg:     cfg,
		wake:    make(chan struct{}, 1),
		hurry:   make(chan struct{}, 1),
		dirty:   make(chan struct{}, 1),
		live:    make(chan struct{}),
		refused: make(chan error, 1),
		slotsOf: make(map[string][]int),
		changed: make(map[string]bool),
	}
	c.state.Store(replaced(nil).finish(0, nil, nil))
	c.known.Store(&knowledge{tenant: cfg.Tenant, err: errors.New("no gateway has answered yet")})
	c.load()
	c.ledger = &Ledger{client: c}
	c.closing, c.cancel = context.WithCancel(context.Background())
	c.running.Go(func() { c.run(c.closing) })
	c.running.Go(func() { c.callSubscribers(c.closing) })
	if cfg.File != "" {
		c.running.Go(func() { c.save(c.closing) })
	}
	if err := c.start(ctx); err != nil {
		c.Close()
		return nil, fmt.Errorf("open client: %w", err)
	}
	return c, nil
}

// start returns when there is a state that may be read.
func (c *Client) start(ctx context.Context) error {
	enough := time.NewTimer(openTimeout)
	defer enough.Stop()
	for {
		var err error
		waited := false
		select {
		case <-c.live:
			return nil
		case err = <-c.refused:
		case <-ctx.Done():
			err = ctx.Err()
		case <-enough.C:
			waited = true
		}
		c.mu.Lock()
		ready := c.have
		c.pinned = c.pinned || ready
		c.opened = waited && c.cfg.StartEmpty
		c.mu.Unlock()
		if ready {
			c.cfg.Log.Warn("no gateway has answered: starting with the last settings that were known to be good",
				"file", c.cfg.File, "revision", c.Status().Revision, "age", c.Age(), "error", c.Status().Err)
			return nil
		}
		if waited && c.cfg.StartEmpty {
			c.cfg.Log.Warn("no gateway has answered: starting without settings", "error", c.Status().Err)
			return nil
		}
		if err != nil && ctx.Err() != nil {
			return fmt.Errorf("%w; %w", err, c.Status().Err)
		}
		if err != nil {
			return err
		}
	}
}

// Close stops following, and returns when all goroutines of the client have ended. Its
// state can still be read.
func (c *Client) Close() {
	c.cancel()
	c.running.Wait()
	c.ledger.close()
}

// Get returns a key's entry, and false if the key is not set or the client does not keep it.
// It takes no lock and allocates nothing.
func (c *Client) Get(key string) (Entry, bool) { return c.state.Load().get(key) }

// Keeps reports whether the client keeps a key, or all keys that begin with a prefix.
func (c *Client) Keeps(keyOrPrefix string) bool { return c.cfg.keeps(keyOrPrefix) }

// Snapshot returns the current settings.
func (c *Client) Snapshot() Snapshot { return Snapshot{c.state.Load()} }

// Ledger returns the part of the client that writes.
func (c *Client) Ledger() *Ledger { return c.ledger }

// WaitRevision returns when the client has the revision or a later one.
func (c *Client) WaitRevision(ctx context.Context, revision uint64) error {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		c.mu.Lock()
		if c.state.Load().revision >= revision {
			c.mu.Unlock()
			return nil
		}
		if c.moved == nil {
			c.moved = make(chan struct{})
		}
		moved := c.moved
		c.mu.Unlock()
		notify(c.hurry) // a commit of keys that are not kept is not sent
		select {
		case <-moved:
		case <-tick.C:
		case <-c.closing.Done():
			return fmt.Errorf("wait for revision %d, have %d: the client is closed", revision, c.state.Load().revision)
		case <-ctx.Done():
			return fmt.Errorf("wait for revision %d, have %d: %w", revision, c.state.Load().revision, ctx.Err())
		}
	}
}

func notify(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// bind adds a value to the state, and returns its slot.
func (c *Client) bind(b bound) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := *c.state.Load()
	e, set := s.get(b.name())
	slot, err := b.decode(nil, e, set)
	c.logUnusable(err)
	s.slots = append(slices.Clip(s.slots), slot)
	c.bound = append(c.bound, b)
	c.slotsOf[b.name()] = append(c.slotsOf[b.name()], len(s.slots)-1)
	c.state.Store(&s)
	return len(s.slots) - 1
}

func (c *Client) logUnusable(err error) {
	if err != nil {
		c.cfg.Log.Warn("a setting cannot be used: its last good value stays in force, or the program's own", "error", err)
	}
}
