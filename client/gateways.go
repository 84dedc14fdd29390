package client

import (
	"math/rand/v2"
	"slices"
	"time"
)

// gateways chooses which gateway to ask.
type gateways struct {
	addresses []string
	// turn is the rest of a round: each gateway comes once, in random order.
	turn []string
	// avoided are left out until then, as long as there are others.
	avoided map[string]time.Time
}

func newGateways(addresses []string) *gateways {
	return &gateways{addresses: addresses, avoided: make(map[string]time.Time)}
}

// next is the gateway to ask now.
func (g *gateways) next(now time.Time) string {
	for range 2 {
		if len(g.turn) == 0 {
			g.turn = slices.Clone(g.addresses)
			rand.Shuffle(len(g.turn), func(i, j int) { g.turn[i], g.turn[j] = g.turn[j], g.turn[i] })
		}
		for len(g.turn) > 0 {
			a := g.turn[0]
			if g.turn = g.turn[1:]; !now.Before(g.avoided[a]) {
				return a
			}
		}
	}
	return g.addresses[rand.IntN(len(g.addresses))]
}

// avoidance is how long a gateway that is worse than another one is left alone.
const avoidance = time.Minute

func (g *gateways) avoid(address string, now time.Time) { g.avoided[address] = now.Add(avoidance) }

// better says whether there is a gateway that is not avoided, but for this one.
func (g *gateways) better(address string, now time.Time) bool {
	return slices.ContainsFunc(g.addresses, func(a string) bool { return a != address && !now.Before(g.avoided[a]) })
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
