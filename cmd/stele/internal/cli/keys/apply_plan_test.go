package keys

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/spf13/cobra"
	"github.com/stelehq/stele/cmd/stele/internal/cli/session"
	"github.com/stelehq/stele/internal/ledger"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// slowLedger answers each call with an error after a time.
type slowLedger struct {
	stelev1.LedgerClient
	plan, commit time.Duration
	commits      int
}

func answerAfter(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return status.Error(codes.Unavailable, "the journal does not answer")
	case <-ctx.Done():
		return status.FromContextError(ctx.Err()).Err()
	}
}

func (l *slowLedger) Plan(ctx context.Context, _ *stelev1.PlanRequest, _ ...grpc.CallOption) (*stelev1.PlanResponse, error) {
	return nil, answerAfter(ctx, l.plan)
}

func (l *slowLedger) Commit(ctx context.Context, _ *stelev1.CommitRequest, _ ...grpc.CallOption) (*stelev1.CommitResponse, error) {
	l.commits++
	return nil, answerAfter(ctx, l.commit)
}

// The plan for the warnings and the commit with its retries share the timeout.
func TestSet_EndsAtItsTimeout(t *testing.T) {
	for name, l := range map[string]*slowLedger{
		"the plan is refused after 5 s, the commit after 10 s": {plan: 5 * time.Second, commit: 10 * time.Second},
		"neither gets an answer":                               {plan: time.Hour, commit: time.Hour},
		"the commit is refused at once":                        {plan: time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &session.Session{Ledger: l, Timeout: 15 * time.Second}
				cs := &ledger.ChangeSet{Changes: []ledger.Change{{Key: "a/b", Value: "1"}}}
				begun := time.Now()
				err := warnAndCommit(t.Context(), s, &cobra.Command{}, cs, true)
				if took := time.Since(begun); err == nil || took > s.Timeout {
					t.Errorf("it ended after %s with %v, and its timeout is %s", took, err, s.Timeout)
				}
				if l.commits == 0 {
					t.Error("the plan has left no time for the commit")
				}
			})
		})
	}
}
