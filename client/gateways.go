package client

import (
	"math/rand/v2"
	"slices"
	"time"
)

// gateways chooses which gateway to ask.
type gateways struct {
	addresses []string
	// left is when the client last left each gateway, for any reason.
	left map[string]time.Time
}

func newGateways(addresses []string) *gateways {
	return &gateways{addresses: addresses, left: make(map[string]time.Time)}
}

// avoidance is how long a gateway that was left is worse than any other.
const avoidance = time.Minute

func (g *gateways) leave(address string, now time.Time) { g.left[address] = now }

func (g *gateways) avoided(address string, now time.Time) bool {
	at, was := g.left[address]
	return was && now.Sub(at) < avoidance
}

// next is the gateway to ask now: any that is not avoided, or else the one that was
// left first.
func (g *gateways) next(now time.Time) string {
	var good []string
	first := g.addresses[0]
	for _, a := range g.addresses {
		if !g.avoided(a, now) {
			good = append(good, a)
		}
		if g.left[a].Before(g.left[first]) {
			first = a
		}
	}
	if len(good) == 0 {
		return first
	}
	return good[rand.IntN(len(good))]
}

// better reports whether another gateway than this one is not avoided.
func (g *gateways) better(address string, now time.Time) bool {
	return slices.ContainsFunc(g.addresses, func(a string) bool { return a != address && !g.avoided(a, now) })
}

// Pauses between attempts: random from nothing to a limit that doubles with each
// attempt that fails.
const (
	firstPause   = 500 * time.Millisecond
	longestPause = 15 * time.Second
)

// pause is how long to wait after so many attempts have failed, one after the other.
func pause(failed int) time.Duration {
	limit := firstPause << min(failed, 10)
	return rand.N(min(limit, longestPause))
}
