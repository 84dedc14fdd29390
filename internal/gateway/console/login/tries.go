package login

import (
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// Logins of one address: so many at once, and one every so often after that. Each
// may cost a signature's check, or a call of the identity provider.
const (
	triesAtOnce = 20
	tryEvery    = 2 * time.Second
	// maxAddresses are remembered; others share one allowance.
	maxAddresses = 10_000
)

// Tries paces logins. The zero value is ready.
type Tries struct {
	mu        sync.Mutex // guards the fields below
	addresses map[netip.Prefix]*rate.Limiter
	swept     time.Time
}

// Allow reports whether the request may try to log in now.
func (t *Tries) Allow(r *http.Request) bool {
	from := network(r.RemoteAddr)
	now := time.Now()
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.addresses == nil || now.Sub(t.swept) > time.Minute {
		kept := make(map[netip.Prefix]*rate.Limiter)
		for address, l := range t.addresses {
			if l.TokensAt(now) < triesAtOnce {
				kept[address] = l
			}
		}
		t.addresses, t.swept = kept, now
	}
	l := t.addresses[from]
	if l == nil && len(t.addresses) >= maxAddresses {
		from = netip.Prefix{}
		l = t.addresses[from]
	}
	if l == nil {
		l = rate.NewLimiter(rate.Every(tryEvery), triesAtOnce)
		t.addresses[from] = l
	}
	return l.AllowN(now, 1)
}

// network is the unit of the rate limit: for IPv6, a customer has 2^64 addresses.
func network(address string) netip.Prefix {
	host, _, _ := net.SplitHostPort(address)
	ip, err := netip.ParseAddr(host)
	if err != nil {
		return netip.Prefix{}
	}
	ip = ip.Unmap().WithZone("")
	bits := 64
	if ip.Is4() {
		bits = 32
	}
	p, _ := ip.Prefix(bits) // fails for more bits than an address has only
	return p
}
