package policy

import "context"

// TenantHeader is the metadata in which an operator names the tenant to act for.
const TenantHeader = "as-tenant"

type callerKey struct{}

// CallerOf returns the caller of the call that ctx belongs to.
func CallerOf(ctx context.Context) Caller {
	return *ctx.Value(callerKey{}).(*Caller)
}

// callerContext is a context with its caller: context.WithValue would allocate twice for
// every call.
type callerContext struct {
	context.Context
	caller Caller
}

func (c *callerContext) Value(key any) any {
	if key == (callerKey{}) {
		return &c.caller
	}
	return c.Context.Value(key)
}

// WithCaller returns a context of a call by c.
func WithCaller(ctx context.Context, c Caller) context.Context { return &callerContext{ctx, c} }
