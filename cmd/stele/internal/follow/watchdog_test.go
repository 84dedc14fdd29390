package follow

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/grpc"
)

// silentGateway is a fake: a gateway whose first stream is silent, as over a half-open
// connection, and whose second has a commit.
type silentGateway struct {
	stelev1.LedgerClient
	streams int
}

type silentStream struct {
	grpc.ServerStreamingClient[stelev1.WatchAllCommitsResponse]
	ctx      context.Context
	silent   bool
	answered bool
}

func (g *silentGateway) WatchAllCommits(ctx context.Context, _ *stelev1.WatchAllCommitsRequest, _ ...grpc.CallOption) (stelev1.Ledger_WatchAllCommitsClient, error) {
	g.streams++
	return &silentStream{ctx: ctx, silent: g.streams == 1}, nil
}

func (s *silentStream) Recv() (*stelev1.WatchAllCommitsResponse, error) {
	if s.silent {
		if !s.answered {
			s.answered = true
			return &stelev1.WatchAllCommitsResponse{}, nil
		}
		<-s.ctx.Done()
		return nil, s.ctx.Err()
	}
	return &stelev1.WatchAllCommitsResponse{Commits: []*stelev1.PlacedCommit{{}}, Position: 1}, nil
}

// TestSilence_IsDetected leaves a stream that is silent, and resumes at another one.
func TestSilence_IsDetected(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		done := errors.New("done")
		var lost error
		begun := time.Now()
		err := All(t.Context(), AllConfig{
			Client: &silentGateway{},
			Commit: func(*stelev1.PlacedCommit) error { return done },
			Lost:   func(err error, _ string) { lost = err },
		})
		if after := time.Since(begun); !errors.Is(err, done) || after < silence || after > 20*time.Second {
			t.Errorf("%v after %s", err, after)
		}
		if lost == nil || !strings.Contains(lost.Error(), "silent") {
			t.Errorf("the stream was lost because of %v", lost)
		}
	})
}
