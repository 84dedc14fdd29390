package policy

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stelehq/stele/internal/gateway/identity"
	"github.com/stelehq/stele/internal/ledger"
	"golang.org/x/time/rate"
	"google.golang.org/protobuf/proto"
)

// Spend enforces the rate limits of the caller's tenant: it counts a request against them;
// nil stands for the opening of a stream. The error is an *OverLimitError.
//
// A refusal is delayed slightly: otherwise a caller that retries at once keeps the process
// busy with refusals.
func (e *Enforcer) Spend(ctx context.Context, c Caller, m *Method, req proto.Message) error {
	q := e.QuotaOf(c)
	if q == nil {
		return nil
	}
	err := q.spend(m, req)
	if err == nil {
		return nil
	}
	if q.refusing.Add(1) <= maxRefusing {
		delay, cancel := context.WithTimeout(ctx, refusalDelay)
		defer cancel()
		<-delay.Done()
	}
	q.refusing.Add(-1)
	return err
}

const (
	refusalDelay = 200 * time.Millisecond
	// maxRefusing is how many of a tenant's requests wait for their refusal at a time;
	// more are refused at once.
	maxRefusing = 1000
)

// QuotaOf is the usage of the caller's tenant, with the limits in force. It is nil if
// no limits apply to the caller, and while the replica does not hold the policies:
// permissions are not known then either, and no request of a tenant is answered.
func (e *Enforcer) QuotaOf(c Caller) *Quota {
	if c.Tenant == "" || c.Has(identity.Operator) {
		return nil
	}
	set, err := e.current()
	if err != nil {
		return nil
	}
	return e.quotas.of(c.Tenant, set.limitsOf(c.Tenant))
}

// quotas are the quotas of the tenants that have called recently.
type quotas struct {
	refused   *prometheus.CounterVec // by limit
	maxUnsent int64

	mu      sync.RWMutex // guards what follows
	tenants map[ledger.Tenant]*Quota
	swept   time.Time
}

// quotaIdle is the time after which a tenant's quota is forgotten, if it equals a new one.
const quotaIdle = time.Minute

// Quota is the usage of one tenant. It is safe for use by many goroutines.
type Quota struct {
	tenant    ledger.Tenant
	refused   *prometheus.CounterVec
	maxUnsent int64

	used    atomic.Int64 // when it was last asked for, in Unix seconds
	streams atomic.Int64 // watch streams that count on it
	unsent  atomic.Int64 // bytes of answers that its callers have not taken yet
	// refusing are its requests that wait for their refusal.
	refusing atomic.Int64
	rates    atomic.Pointer[rates]

	mu       sync.Mutex // guards what follows
	watches  int64
	watching map[string]int64 // by subject
}

// rates are the limiters of one set of limits; nil ones limit nothing.
type rates struct {
	limits                      limits
	requests, bytes, changeSets *rate.Limiter
}

// minByteBurst limits the number of steps in which a large answer is counted.
const minByteBurst = 64 << 10

func newRates(l limits) *rates {
	limiter := func(perSecond, burst float64) *rate.Limiter {
		if perSecond == 0 {
			return nil
		}
		return rate.NewLimiter(rate.Limit(perSecond), int(math.Ceil(burst)))
	}
	return &rates{
		limits:     l,
		requests:   limiter(l.requests, cmp.Or(l.burst, l.requests)),
		bytes:      limiter(l.bytes, max(l.bytes, minByteBurst)),
		changeSets: limiter(l.changeSets, l.changeSets),
	}
}

// of returns the tenant's quota, with these limits.
func (qs *quotas) of(t ledger.Tenant, l limits) *Quota {
	now := time.Now()
	qs.mu.RLock()
	q := qs.tenants[t]
	if q != nil && q.used.Load() != now.Unix() { // calls of other processors read it too
		q.used.Store(now.Unix()) // under the lock: it is not forgotten from here on
	}
	qs.mu.RUnlock()
	if q == nil {
		q = qs.add(t, l, now)
	}
	if r := q.rates.Load(); r.limits != l {
		q.rates.CompareAndSwap(r, newRates(l))
	}
	return q
}

func (qs *quotas) add(t ledger.Tenant, l limits, now time.Time) *Quota {
	qs.mu.Lock()
	defer qs.mu.Unlock()
	if now.Sub(qs.swept) > quotaIdle {
		qs.swept = now
		for t, q := range qs.tenants {
			if now.Sub(time.Unix(q.used.Load(), 0)) > quotaIdle && q.unused() {
				delete(qs.tenants, t)
			}
		}
	}
	q := qs.tenants[t]
	if q == nil {
		q = &Quota{tenant: t, refused: qs.refused, maxUnsent: qs.maxUnsent, watching: make(map[string]int64)}
		q.rates.Store(newRates(l))
		qs.tenants[t] = q
	}
	q.used.Store(now.Unix())
	return q
}

func (q *Quota) unused() bool {
	r := q.rates.Load()
	for _, l := range []*rate.Limiter{r.requests, r.bytes, r.changeSets} {
		if l != nil && l.Tokens() < float64(l.Burst()) {
			return false
		}
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.streams.Load() == 0 && q.unsent.Load() == 0 && q.watches == 0
}

// OverLimitError refuses a request of a tenant that has used up a limit.
type OverLimitError struct {
	Tenant ledger.Tenant
	Limit  string // its name in the policy
	Of     string // what is limited, and to how much
	Wait   time.Duration
}

func (e *OverLimitError) Error() string {
	return fmt.Sprintf("%s is over its limit of %s: try again in %s", e.Tenant, e.Of, e.Wait)
}

func (q *Quota) over(limit string, wait time.Duration, of string, args ...any) error {
	q.refused.WithLabelValues(limit).Inc()
	return &OverLimitError{Tenant: q.tenant, Limit: limit, Of: fmt.Sprintf(of, args...), Wait: wait}
}

func (q *Quota) spend(m *Method, req proto.Message) error {
	r := q.rates.Load()
	switch {
	case q.unsent.Load() > q.maxUnsent:
		return q.over("unsent_bytes", time.Second, "%d MiB of answers that its callers have not taken yet", q.maxUnsent>>20)
	case r.requests != nil && !r.requests.Allow():
		return q.over("requests_per_second", until(r.requests, 1), "%g requests per second", r.limits.requests)
	case r.bytes != nil && r.bytes.Tokens() < 0: // answers are counted when they are there, so it runs into debt
		return q.over("bytes_per_second", until(r.bytes, 0), "%.0f bytes per second", r.limits.bytes)
	case r.changeSets != nil && writes(m, req) && !r.changeSets.Allow():
		return q.over("change_sets_per_second", until(r.changeSets, 1), "%g change sets per second", r.limits.changeSets)
	}
	if r.bytes != nil && req != nil {
		q.Charge(proto.Size(req))
	}
	return nil
}

// until is how long it takes a limiter to have as much.
func until(l *rate.Limiter, tokens float64) time.Duration {
	wait := time.Duration((tokens - l.Tokens()) / float64(l.Limit()) * float64(time.Second))
	return max(wait, 0).Truncate(time.Millisecond) + time.Millisecond
}

// writes reports whether a request asks for a commit.
func writes(m *Method, req proto.Message) bool {
	dry, may := req.(interface{ GetDryRun() bool })
	return m.Writes && req != nil && !(may && dry.GetDryRun())
}

// Charge counts bytes that were received or will be sent, even beyond the limit.
func (q *Quota) Charge(size int) {
	l := q.rates.Load().bytes
	if l == nil {
		return
	}
	for now := time.Now(); size > 0; size -= l.Burst() {
		l.ReserveN(now, min(size, l.Burst()))
	}
}

// Watch counts one more open watch of a subject, or returns an *OverLimitError. A subject gets
// another one only if it has fewer than are free, so that some are left for the tenant's other
// subjects. share.Slots has another rule and a fixed size; the limit of a tenant can change.
func (q *Quota) Watch(subject string) error {
	most := cmp.Or(q.rates.Load().limits.watches, maxTenantWatches)
	q.mu.Lock()
	defer q.mu.Unlock()
	free := most - q.watches
	switch has := q.watching[subject]; {
	case free <= 0:
		return q.over("watches", time.Second, "%d watches on a gateway", most)
	case has >= free:
		return q.over("watches", time.Second, "%d watches on a gateway; %q has %d, and the rest is reserved for other subjects", most, subject, has)
	}
	q.watches++
	q.watching[subject]++
	return nil
}

// Unwatch counts one watch of a subject less.
func (q *Quota) Unwatch(subject string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.watches--
	if q.watching[subject]--; q.watching[subject] == 0 {
		delete(q.watching, subject)
	}
}

// Join keeps the quota from being forgotten until Leave.
func (q *Quota) Join() { q.streams.Add(1) }

// Leave undoes a Join.
func (q *Quota) Leave() { q.streams.Add(-1) }

// Hold counts bytes of an answer that the caller has not received yet; a negative number
// counts them as received.
func (q *Quota) Hold(bytes int64) { q.unsent.Add(bytes) }

// maxUnsent is the maximum number of bytes of answers that can wait for the callers of one tenant.
// gRPC keeps an answer until its client makes room for it, and does not block the handler: without
// a bound, one client that reads nothing could fill the memory with answers.
const maxUnsent = 128 << 20
