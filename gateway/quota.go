package gateway

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stelehq/stele/gateway/identity"
	"github.com/stelehq/stele/ledger"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"golang.org/x/time/rate"
	"google.golang.org/protobuf/proto"
)

// admit is nil when the caller may do what a request asks for, and its tenant is
// within its limits. Every request goes through it: those of unary calls and most
// streams before their handlers see them, those of the others in their handlers.
func (g *Gateway) admit(ctx context.Context, method string, req proto.Message) error {
	if err := g.spend(ctx, callerOf(ctx), req); err != nil {
		return err
	}
	return g.permit(ctx, method, req)
}

// spend takes a request out of what the caller's tenant may use; nil stands for the
// opening of a stream. The error is an *overLimitError.
//
// Who is refused is told so a little later: callers that try again at once would
// otherwise have the process do nothing but refuse them.
func (g *Gateway) spend(ctx context.Context, c caller, req proto.Message) error {
	q := g.quotaOf(c)
	if q == nil {
		return nil
	}
	err := q.spend(req)
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

// quotaOf is what the caller's tenant has used, with the limits in force; nil where
// none bind it, and while the replica does not hold the policies: who may do what is
// not known then, either, and nothing of a tenant is answered.
func (g *Gateway) quotaOf(c caller) *quota {
	if c.tenant == "" || c.Has(identity.Operator) {
		return nil
	}
	set, err := g.policies.current()
	if err != nil {
		return nil
	}
	return g.quotas.of(c.tenant, set.limitsOf(c.tenant))
}

// quotas are those of the tenants that have called of late.
type quotas struct {
	refused *prometheus.CounterVec // by limit

	mu      sync.RWMutex // guards what follows
	tenants map[ledger.Tenant]*quota
	swept   time.Time
}

// quotaIdle is after how long a tenant's quota is forgotten, once it is what one
// that is made anew would be.
const quotaIdle = time.Minute

// quota is what one tenant has used.
type quota struct {
	tenant  ledger.Tenant
	refused *prometheus.CounterVec

	used    atomic.Int64 // when it was last asked for, in Unix seconds
	streams atomic.Int64 // watch streams that count on it
	watches atomic.Int64
	unsent  atomic.Int64 // bytes of answers that its callers have not taken yet
	// refusing are its requests that wait for their refusal.
	refusing atomic.Int64
	rates    atomic.Pointer[rates]
}

// rates are the limiters of one set of limits; nil ones limit nothing.
type rates struct {
	limits                      limits
	requests, bytes, changeSets *rate.Limiter
}

// minByteBurst keeps what is sent at once from being counted in very many steps.
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

// of finds the tenant's quota, and sees to it that its limits are these.
func (qs *quotas) of(t ledger.Tenant, l limits) *quota {
	now := time.Now()
	qs.mu.RLock()
	q := qs.tenants[t]
	if q != nil {
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

func (qs *quotas) add(t ledger.Tenant, l limits, now time.Time) *quota {
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
		q = &quota{tenant: t, refused: qs.refused}
		q.rates.Store(newRates(l))
		qs.tenants[t] = q
	}
	q.used.Store(now.Unix())
	return q
}

func (q *quota) unused() bool {
	r := q.rates.Load()
	for _, l := range []*rate.Limiter{r.requests, r.bytes, r.changeSets} {
		if l != nil && l.Tokens() < float64(l.Burst()) {
			return false
		}
	}
	return q.streams.Load() == 0 && q.unsent.Load() == 0
}

// overLimitError is what a tenant is told that has used up a limit.
type overLimitError struct {
	tenant ledger.Tenant
	limit  string // its name in the policy
	of     string // what is limited, and to how much
	wait   time.Duration
}

func (e *overLimitError) Error() string {
	return fmt.Sprintf("%s is over its limit of %s: try again in %s", e.tenant, e.of, e.wait)
}

func (q *quota) over(limit string, wait time.Duration, of string, args ...any) error {
	q.refused.WithLabelValues(limit).Inc()
	return &overLimitError{tenant: q.tenant, limit: limit, of: fmt.Sprintf(of, args...), wait: wait}
}

func (q *quota) spend(req proto.Message) error {
	r := q.rates.Load()
	switch {
	case q.unsent.Load() > maxUnsent:
		return q.over("unsent_bytes", time.Second, "%d MiB of answers that its callers have not taken yet", maxUnsent>>20)
	case r.requests != nil && !r.requests.Allow():
		return q.over("requests_per_second", until(r.requests, 1), "%g requests a second", r.limits.requests)
	case r.bytes != nil && r.bytes.Tokens() < 0: // answers are counted when they are there, so it runs into debt
		return q.over("bytes_per_second", until(r.bytes, 0), "%.0f bytes a second", r.limits.bytes)
	case r.changeSets != nil && writes(req) && !r.changeSets.Allow():
		return q.over("change_sets_per_second", until(r.changeSets, 1), "%g change sets a second", r.limits.changeSets)
	}
	if r.bytes != nil && req != nil {
		q.charge(proto.Size(req))
	}
	return nil
}

// until is how long it takes a limiter to have as much.
func until(l *rate.Limiter, tokens float64) time.Duration {
	wait := time.Duration((tokens - l.Tokens()) / float64(l.Limit()) * float64(time.Second))
	return max(wait, 0).Truncate(time.Millisecond) + time.Millisecond
}

// writes says whether a request asks for a commit.
func writes(req proto.Message) bool {
	switch r := req.(type) {
	case *stelev1.CommitRequest, *stelev1.CommitStreamRequest:
		return true
	case *stelev1.RollbackRequest:
		return !r.DryRun
	case *stelev1.RevertRequest:
		return !r.DryRun
	}
	return false
}

// charge counts bytes that have come or are to go, also more than there may be.
func (q *quota) charge(size int) {
	l := q.rates.Load().bytes
	if l == nil {
		return
	}
	for now := time.Now(); size > 0; size -= l.Burst() {
		l.ReserveN(now, min(size, l.Burst()))
	}
}

// watch counts one more, if there may be.
func (q *quota) watch() error {
	most := cmp.Or(q.rates.Load().limits.watches, maxTenantWatches)
	if q.watches.Add(1) <= most {
		return nil
	}
	q.watches.Add(-1)
	return q.over("watches", time.Second, "%d watches on a gateway", most)
}
