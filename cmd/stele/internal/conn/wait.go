package conn

import (
	"context"
	"strings"
	"time"

	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/grpc"
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

// writes are the calls that the journal answers.
var writes = map[string]bool{
	stelev1.Ledger_Commit_FullMethodName:   true,
	stelev1.Ledger_Rollback_FullMethodName: true,
	stelev1.Ledger_Revert_FullMethodName:   true,
	stelev1.Ledger_Copy_FullMethodName:     true,
}

func bounded(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	w, ok := ctx.Value(waitKey{}).(Wait)
	if !ok || !strings.HasPrefix(method, "/stele.v1.Config/") && !strings.HasPrefix(method, "/stele.v1.Ledger/") {
		return invoke(ctx, method, req, reply, cc, opts...)
	}
	what := "the gateway"
	if writes[method] {
		what = "the journal"
	}
	notice := time.AfterFunc(noticeAfter, func() { w.Notice(what) })
	defer notice.Stop()
	ctx, cancel := context.WithTimeout(ctx, w.Timeout)
	defer cancel()
	return invoke(ctx, method, req, reply, cc, opts...)
}
