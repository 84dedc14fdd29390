package follow

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"testing"
	"testing/synctest"

	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// brokenGateway is a fake: a gateway whose streams end after a number of responses. Each
// response has one commit; the record at position 2 has three, and the others one.
type brokenGateway struct {
	stelev1.LedgerClient
	after []string // what each stream asked for
	most  int      // responses per stream
}

type brokenStream struct {
	grpc.ServerStreamingClient[stelev1.WatchAllCommitsResponse]
	responses []*stelev1.WatchAllCommitsResponse
}

func (g *brokenGateway) WatchAllCommits(_ context.Context, req *stelev1.WatchAllCommitsRequest, _ ...grpc.CallOption) (stelev1.Ledger_WatchAllCommitsClient, error) {
	g.after = append(g.after, fmt.Sprintf("%d %x", req.GetAfterPosition(), req.Epoch))
	var all []*stelev1.WatchAllCommitsResponse
	for _, c := range []struct{ at, revision, complete uint64 }{{1, 1, 1}, {2, 2, 1}, {2, 3, 1}, {2, 4, 2}, {3, 5, 3}} {
		if c.at > req.GetAfterPosition() {
			all = append(all, &stelev1.WatchAllCommitsResponse{
				Commits:  []*stelev1.PlacedCommit{{Position: c.at, Info: &stelev1.CommitInfo{Commit: &stelev1.Commit{Revision: c.revision}}}},
				Position: c.complete, Epoch: []byte{7},
			})
		}
	}
	return &brokenStream{responses: all[:min(g.most, len(all))]}, nil
}

func (s *brokenStream) Recv() (*stelev1.WatchAllCommitsResponse, error) {
	if len(s.responses) == 0 {
		return nil, io.EOF
	}
	next := s.responses[0]
	s.responses = s.responses[1:]
	return next, nil
}

// TestAll_ResumesWithoutRepeating loses the connection between records and in the middle
// of one.
func TestAll_ResumesWithoutRepeating(t *testing.T) {
	for _, tc := range []struct {
		most  int
		after []string
	}{
		{3, []string{"0 ", "1 07", "2 07"}},
		{4, []string{"0 ", "2 07"}},
		{5, []string{"0 "}},
	} {
		synctest.Test(t, func(t *testing.T) {
			g := &brokenGateway{most: tc.most}
			done := errors.New("done")
			var got []uint64
			begin := uint64(0)
			err := All(t.Context(), AllConfig{
				Client: g, After: &begin,
				Commit: func(c *stelev1.PlacedCommit) error {
					if got = append(got, c.Info.Commit.Revision); len(got) == 5 {
						return done
					}
					return nil
				},
				Lost: func(error, string) {},
			})
			if !errors.Is(err, done) || !slices.Equal(got, []uint64{1, 2, 3, 4, 5}) || !slices.Equal(g.after, tc.after) {
				t.Errorf("streams of %d responses: commits %v after %q, %v; want each once after %q", tc.most, got, g.after, err, tc.after)
			}
		})
	}
}

// TestAll_EndsWhenTheHistoryChanged does not repeat what cannot succeed.
func TestAll_EndsWhenTheHistoryChanged(t *testing.T) {
	calls := 0
	err := All(t.Context(), AllConfig{
		Client: refusingGateway{calls: &calls}, Lost: func(error, string) {},
		Commit: func(*stelev1.PlacedCommit) error { return nil },
	})
	if status.Code(err) != codes.FailedPrecondition || calls != 1 {
		t.Errorf("%v after %d calls", err, calls)
	}
}

type refusingGateway struct {
	stelev1.LedgerClient
	calls *int
}

func (g refusingGateway) WatchAllCommits(context.Context, *stelev1.WatchAllCommitsRequest, ...grpc.CallOption) (stelev1.Ledger_WatchAllCommitsClient, error) {
	*g.calls++
	return nil, status.Error(codes.FailedPrecondition, "the history has changed")
}
