package session

import (
	"context"

	"github.com/stelehq/stele/cmd/stele/internal/failure"
	"github.com/stelehq/stele/internal/ledger"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// AllCommits calls f for the commits that the request selects, newest first, at most so
// many; 0 for all.
func (s *Session) AllCommits(ctx context.Context, req *stelev1.ListAllCommitsRequest, most int, f func(*stelev1.PlacedCommit) error) error {
	return pages(most, f, func(size uint32) ([]*stelev1.PlacedCommit, bool, error) {
		req.PageSize = size
		resp, err := s.Ledger.ListAllCommits(ctx, req)
		req.PageToken = resp.GetNextPageToken()
		return resp.GetCommits(), req.PageToken != "", err
	})
}

// Commits calls f for the commits that the request selects, newest first, at
// most so many; 0 for all.
func (s *Session) Commits(ctx context.Context, req *stelev1.ListCommitsRequest, most int, f func(*stelev1.CommitInfo) error) error {
	return pages(most, f, func(size uint32) ([]*stelev1.CommitInfo, bool, error) {
		req.PageSize = size
		resp, err := s.listCommits(ctx, req)
		req.PageToken, s.HistoryStart = resp.GetNextPageToken(), resp.GetHistoryStart()
		return resp.GetCommits(), req.PageToken != "", err
	})
}

// pages calls f for the commits of one page after the other, at most so many; 0 for all.
func pages[C any](most int, f func(C) error, list func(size uint32) (commits []C, more bool, err error)) error {
	const page = 1000
	for count := 0; ; {
		size := page
		if most > 0 {
			size = min(page, most-count)
		}
		commits, more, err := list(uint32(size))
		if err != nil {
			return err
		}
		for _, c := range commits {
			if err := f(c); err != nil {
				return err
			}
		}
		if count += len(commits); !more || most > 0 && count >= most {
			return nil
		}
	}
}

// listCommits asks for a page.
func (s *Session) listCommits(ctx context.Context, req *stelev1.ListCommitsRequest) (*stelev1.ListCommitsResponse, error) {
	resp, err := s.Ledger.ListCommits(ctx, req)
	if !req.PreviousValues || !TooLarge(err) {
		return resp, err
	}
	req.PreviousValues = false
	resp, err = s.Ledger.ListCommits(ctx, req)
	req.PreviousValues = true
	for _, info := range resp.GetCommits() {
		if err := s.Recall(ctx, info); err != nil {
			return nil, err
		}
	}
	return resp, err
}

// TooLarge says that an answer would be larger than a message may be: a commit
// can delete more than it could set.
func TooLarge(err error) bool {
	return status.Code(err) == codes.ResourceExhausted && failure.LimitDelay(err) == 0
}

// Recall reads the values that a commit replaced, in as many answers as it takes.
func (s *Session) Recall(ctx context.Context, info *stelev1.CommitInfo) error {
	c := info.Commit
	var keys []string
	for _, ch := range c.Changes {
		if ch.PreviousRevision > 0 {
			keys = append(keys, ch.Key)
		}
	}
	was, err := s.EntriesOf(ctx, keys, ledger.Revision(c.Revision-1))
	if err != nil {
		return err
	}
	info.PreviousValues = make([]string, len(c.Changes))
	for i, ch := range c.Changes {
		info.PreviousValues[i] = was[ch.Key].GetValue()
	}
	return nil
}
