package conn

import (
	"context"
	"strings"
	"time"

	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
)

// Policy is for calls that have one answer.
type Policy struct {
	// Timeout of one call of Config or Ledger.
	Timeout time.Duration
	// Waiting is called if such a call takes longer than noticeAfter, with what it waits for.
	Waiting func(what string)
	// MaxAge of the data that an answer is from; 0 for any age.
	MaxAge time.Duration
	// Old is called if the data is older than MaxAge, with its age. Its error fails the call.
	Old func(age time.Duration) error
}

const noticeAfter = 2 * time.Second

type policyKey struct{}

// WithPolicy applies the policy to calls with the context.
func WithPolicy(ctx context.Context, p Policy) context.Context {
	return context.WithValue(ctx, policyKey{}, p)
}

// bounded makes a call by the policy of its context.
func bounded(ctx context.Context, method string, reply any, call func(context.Context) error) error {
	p, ok := ctx.Value(policyKey{}).(Policy)
	if !ok {
		return call(ctx)
	}
	if strings.HasPrefix(method, "/stele.v1.Config/") || strings.HasPrefix(method, "/stele.v1.Ledger/") {
		what := "the gateway"
		if commits[method] {
			what = "the journal"
		}
		notice := time.AfterFunc(noticeAfter, func() { p.Waiting(what) })
		defer notice.Stop()
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, p.Timeout)
		defer cancel()
	}
	if err := call(ctx); err != nil {
		return err
	}
	if of, ok := reply.(interface{ GetSnapshot() *stelev1.Snapshot }); ok {
		// A sink's answer has no age.
		if age := of.GetSnapshot().GetAge().AsDuration(); p.MaxAge > 0 && age > p.MaxAge {
			return p.Old(age)
		}
	}
	return nil
}
