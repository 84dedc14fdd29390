package identity

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// pace is how often a source of keys is asked.
type pace struct {
	// every is the time between two loads; after one that failed it is least.
	every time.Duration
	// least is the shortest time between two loads, for any reason.
	least time.Duration
}

var (
	endpointPace = pace{every: 5 * time.Minute, least: time.Minute}
	filePace     = pace{every: 5 * time.Second, least: time.Second}
)

// keepFor is how long a key works after it was last seen, while its source
// fails. An endpoint's key works as long when it has vanished from the set, so
// that tokens that were signed with it just before are good; one that is taken
// out of a file stops at once, because its operator has done that.
const keepFor = time.Hour

// KeyringConfig defines where keys come from.
type KeyringConfig struct {
	// Location is a file or the URL of the key set: https, or http on this machine.
	// When empty, the issuer's discovery document names the URL.
	Location string
	// Issuer is the tokens' "iss"; needed without a Location.
	Issuer string
	// Private allows host names that resolve to an address in a private network. One of
	// this machine, or of the link, must be written as such.
	Private bool
	// Now is the clock; time.Now when nil.
	Now func() time.Time
	Log *slog.Logger
}

// source is where a Keyring has its keys from.
type source struct {
	load   func(context.Context) (KeySet, error)
	pace   pace
	isFile bool
}

func newSource(cfg KeyringConfig) (source, error) {
	if cfg.Location != "" && !strings.Contains(cfg.Location, "://") {
		return source{func(context.Context) (KeySet, error) { return LoadJWKS(cfg.Location) }, filePace, true}, nil
	}
	e, err := newEndpoint(cfg)
	if err != nil {
		return source{}, err
	}
	return source{e.load, endpointPace, false}, nil
}

// Keyring holds the keys of a source and follows it: it loads them every few minutes,
// and when a token names a key that it does not have, but at most once a minute however
// many such tokens arrive. A file is read every few seconds.
type Keyring struct {
	source
	now      func() time.Time
	log      *slog.Logger
	held     atomic.Pointer[held]
	ctx      context.Context // ends when Close begins
	cancel   context.CancelFunc
	follower sync.WaitGroup

	turn chan struct{} // holds one while a goroutine loads, which then owns the fields below
	// tried is when the last load began, failed why it failed; empty if it did not.
	tried  time.Time
	failed string
}

// held are the keys at one time. It does not change, except the keys' until.
type held struct {
	current KeySet
	// former are those that the source has no more.
	former map[string]*publicKey
}

// OpenKeyring loads the keys, which has to succeed, and follows them until Close.
func OpenKeyring(ctx context.Context, cfg KeyringConfig) (*Keyring, error) {
	s, err := newSource(cfg)
	if err != nil {
		return nil, err
	}
	return s.open(ctx, cfg)
}

func (s source) open(ctx context.Context, cfg KeyringConfig) (*Keyring, error) {
	r := &Keyring{source: s, now: cfg.Now, log: cfg.Log, turn: make(chan struct{}, 1)}
	if r.now == nil {
		r.now = time.Now
	}
	if r.log == nil {
		r.log = slog.New(slog.DiscardHandler)
	}
	r.tried = r.now()
	set, err := r.load(ctx)
	if err != nil {
		return nil, err
	}
	r.held.Store(new(held))
	r.take(set)
	r.ctx, r.cancel = context.WithCancel(context.Background())
	r.follower.Go(r.follow)
	return r, nil
}

// Close ends the following. The keys stay, for as long as they are good.
func (r *Keyring) Close() {
	r.cancel()
	r.follower.Wait()
}

// follow loads the keys again and again.
func (r *Keyring) follow() {
	for wait := r.pace.every; ; {
		// Processes that were started together must not poll in step.
		timer := time.NewTimer(wait + rand.N(wait/10))
		select {
		case <-timer.C:
		case <-r.ctx.Done():
			timer.Stop()
			return
		}
		wait = r.pace.every
		if !r.refresh(nil) {
			wait = r.pace.least
		}
	}
}

// find returns the key that a token names, if need be after a load.
func (r *Keyring) find(header map[string]any) (*publicKey, error) {
	seen := r.held.Load()
	key, err := seen.find(header, r.now())
	if err != nil && r.refresh(seen) {
		key, err = r.held.Load().find(header, r.now())
	}
	return key, err
}

func (h *held) find(header map[string]any, now time.Time) (*publicKey, error) {
	key, err := h.current.find(header)
	if kid, ok := header["kid"].(string); err != nil && ok && h.former[kid] != nil {
		key, err = h.former[kid], nil
	}
	if err == nil && !key.good(now) {
		return nil, refuse("the token's key (kid) was last seen more than %s ago: the server cannot load its keys, or has them no more", keepFor)
	}
	return key, err
}

// refresh loads the keys, unless they have changed since the caller saw them, or it is
// too early. Callers that come together share one load. It says whether it makes sense
// to look again.
func (r *Keyring) refresh(seen *held) bool {
	select {
	case r.turn <- struct{}{}:
	case <-r.ctx.Done():
		return false
	}
	defer func() { <-r.turn }()
	if seen != nil && r.held.Load() != seen {
		return true
	}
	if r.now().Sub(r.tried) < r.pace.least {
		return false
	}
	r.tried = r.now()
	set, err := r.load(r.ctx)
	if err != nil {
		if r.failed != err.Error() {
			r.failed = err.Error()
			r.log.Error("cannot load the keys that tokens are checked with; those that are there work for at most an hour", "error", err)
		}
		return false
	}
	if r.failed != "" {
		r.failed = ""
		r.log.Info("the keys that tokens are checked with can be loaded again")
	}
	r.take(set)
	return true
}

// take holds a set that was just loaded. A key that stays is the same object as
// before, which remembered tokens point to.
func (r *Keyring) take(set KeySet) {
	now, was := r.now(), r.held.Load()
	next := &held{KeySet{make(map[string]*publicKey)}, make(map[string]*publicKey)}
	for id, key := range set.keys {
		for _, old := range []*publicKey{was.current.keys[id], was.former[id]} {
			if old != nil && old.same(key) {
				key = old
			}
		}
		key.until.Store(now.Add(keepFor).UnixNano())
		next.current.keys[id] = key
	}
	for _, keys := range []map[string]*publicKey{was.former, was.current.keys} {
		for id, old := range keys {
			switch {
			case next.current.keys[id] == old:
			case r.isFile:
				old.until.Store(now.UnixNano())
			case next.current.keys[id] == nil && old.good(now):
				next.former[id] = old
			}
		}
	}
	if now := next.current.ids(); !slices.Equal(now, was.current.ids()) {
		r.log.Info("tokens are checked with these keys", "kid", now)
	}
	r.held.Store(next)
}
