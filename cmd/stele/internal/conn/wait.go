package conn

import (
	"context"
	"strings"
	"time"
)

// Wait says how long calls of Config and Ledger that have one answer may take.
type Wait struct {
	// Timeout of one call.
	Timeout time.Duration
	// Notice is called if a call takes longer than noticeAfter, with what it waits for.
	Notice func(what string)
}

const noticeAfter = 2 * time.Second

type waitKey struct{}

// Bounded makes calls with the context wait like this.
func Bounded(ctx context.Context, w Wait) context.Context {
	return context.WithValue(ctx, waitKey{}, w)
}

// bounded makes a call that waits as its context says.
func bounded(ctx context.Context, method string, call func(context.Context) error) error {
	w, ok := ctx.Value(waitKey{}).(Wait)
	if !ok || !strings.HasPrefix(method, "/stele.v1.Config/") && !strings.HasPrefix(method, "/stele.v1.Ledger/") {
		return call(ctx)
	}
	what := "the gateway"
	if commits[method] {
		what = "the journal"
	}
	notice := time.AfterFunc(noticeAfter, func() { w.Notice(what) })
	defer notice.Stop()
	ctx, cancel := context.WithTimeout(ctx, w.Timeout)
	defer cancel()
	return call(ctx)
}
