package client

import (
	"math"
	"time"
)

// Source is where a client's state comes from.
type Source string

const (
	// Live is a gateway's.
	Live Source = "live"
	// LastKnownGood is the state of the file: no gateway has answered since Open.
	LastKnownGood Source = "last known good"
	// Empty means that the client does not have a state: no gateway has answered since Open,
	// and there was no file; see Config.StartEmpty.
	Empty Source = "empty"
)

// Status is how a client is.
type Status struct {
	Tenant   string
	Revision uint64
	// Age is the time since everything that was committed was known to be here.
	Age time.Duration
	// Stale reports that the last gateway had stopped following the ledger, because the
	// ledger contradicts what it has seen.
	Stale  bool
	Source Source
	// Gateway that is followed; empty while there is none, and then Err is the reason.
	Gateway string
	Err     error
	// HistoryChanged is when the client last found that the ledger does not have a commit
	// that the client had, and loaded the state again; zero if never. The ledger was
	// restored from a backup.
	HistoryChanged time.Time
}

// knowledge is the client's knowledge in addition to the state.
type knowledge struct {
	tenant         string
	gateway        string
	stale          bool
	live           bool
	err            error
	historyChanged time.Time
	// current is when everything that was committed was known to be here.
	current time.Time
}

// Status reports the client's current status.
func (c *Client) Status() Status {
	k := c.known.Load()
	s := Status{Tenant: k.tenant, Revision: c.state.Load().revision, Age: k.age(), Stale: k.stale, Source: LastKnownGood, Gateway: k.gateway, Err: k.err, HistoryChanged: k.historyChanged}
	switch {
	case k.live:
		s.Source = Live
	case k.current.IsZero():
		s.Source = Empty
	}
	return s
}

// Age is the time since the client was known to have every commit; the longest Duration
// if it never was. It takes no lock and allocates nothing.
func (c *Client) Age() time.Duration { return c.known.Load().age() }

// age goes by the clock of the machine that runs faster: one of them stands still
// while a machine sleeps, the other one may be set back.
func (k *knowledge) age() time.Duration {
	if k.current.IsZero() {
		return math.MaxInt64
	}
	now := time.Now()
	return max(0, now.Sub(k.current), now.Round(0).Sub(k.current))
}

// note changes the client's knowledge.
func (c *Client) note(change func(*knowledge)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	k := *c.known.Load()
	change(&k)
	c.known.Store(&k)
}
