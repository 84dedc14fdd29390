package session

import (
	"context"
	"errors"
	"strconv"
	"time"

	"github.com/stelehq/stele/cmd/stele/internal/failure"
	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/asof"
	"github.com/stelehq/stele/internal/wire"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// FirstSince is the first revision that is not before the flag's revision or time; it
// may be one after the head.
func (s *Session) FirstSince(ctx context.Context, since string) (ledger.Revision, error) {
	if since == "" {
		return 1, nil
	}
	at, err := s.At(ctx, since)
	if err != nil {
		return 0, err
	}
	if _, isTime := at.GetPoint().(*stelev1.At_Time); !isTime {
		return max(1, ledger.Revision(at.GetRevision())), nil
	}
	before := at.GetTime().AsTime().Add(-time.Nanosecond)
	first, err := s.Ledger.GetCommit(ctx, &stelev1.GetCommitRequest{Commit: &stelev1.GetCommitRequest_Revision{Revision: 1}})
	if err != nil {
		return 0, err
	}
	if before.Before(wire.EffectiveTime(first.Info)) {
		return 1, nil
	}
	last, err := s.Ledger.GetCommit(ctx, &stelev1.GetCommitRequest{Commit: &stelev1.GetCommitRequest_Time{Time: timestamppb.New(before)}})
	if err != nil {
		return 0, err
	}
	return ledger.Revision(last.Info.Commit.Revision) + 1, nil
}

// TimeFlag reads a flag that is a time; nil if it is not set.
func TimeFlag(name, text string) (*timestamppb.Timestamp, error) {
	if text == "" {
		return nil, nil
	}
	m, err := asof.Parse(text, time.Now())
	if err != nil {
		return nil, failure.Usagef("--%s: %w", name, err)
	}
	if m.Time.IsZero() {
		return nil, failure.Usagef("--%s: %q is a revision; give a time, for example 2h (ago) or 2025-03-04T08:00Z", name, text)
	}
	return timestamppb.New(m.Time), nil
}

// At reads a flag --at; nil for head.
func (s *Session) At(ctx context.Context, text string) (*stelev1.At, error) {
	if text == "" {
		return nil, nil
	}
	m, err := ParseAsOf(text)
	if err != nil {
		return nil, err
	}
	return s.Resolve(ctx, m)
}

// ParseAsOf reads a revision or time.
func ParseAsOf(text string) (asof.Ref, error) {
	m, err := asof.Parse(text, time.Now())
	if err != nil {
		return m, failure.With(failure.Usage, err)
	}
	return m, nil
}

// Bound reads a flag --since or --until. A bare year is refused: it would be taken as a
// revision.
func (s *Session) Bound(ctx context.Context, flag, text string) (*stelev1.At, error) {
	if year, err := strconv.Atoi(text); err == nil && len(text) == 4 && year >= 1970 && year < 2200 {
		return nil, failure.Usagef("--%s %s: write @%s for the revision, or %s-01-01 for the year", flag, text, text, text)
	}
	return s.At(ctx, text)
}

// Resolve asks for the head if the reference counts back from it.
func (s *Session) Resolve(ctx context.Context, m asof.Ref) (*stelev1.At, error) {
	at, err := m.At(func() (ledger.Revision, error) {
		head, err := s.Ledger.GetHead(ctx, &stelev1.GetHeadRequest{})
		return ledger.Revision(head.GetSnapshot().GetHead()), err
	})
	var before *asof.BeforeFirstError
	if errors.As(err, &before) {
		return nil, failure.With(failure.NotFound, err)
	}
	return at, err
}
