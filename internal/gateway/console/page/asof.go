package page

import (
	"context"
	"errors"
	"time"

	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/asof"
	"github.com/stelehq/stele/internal/wire"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// AsOf is the revision that reads for this address are as of; nil for the newest.
func (v *View) AsOf() *stelev1.At {
	if v.At == 0 {
		return nil
	}
	return Revision(uint64(v.At))
}

// Revision is a revision as requests carry it.
func Revision(n uint64) *stelev1.At {
	return wire.AtRevision(ledger.Revision(n))
}

// ParseAsOf reads a revision or time as the command line does; nil for an empty text.
// The context is of the tenant whose history it is in. Errors name the field.
func (v *View) ParseAsOf(ctx context.Context, field, text string) (*stelev1.At, error) {
	if text == "" {
		return nil, nil
	}
	m, err := asof.Parse(text, time.Now())
	if err != nil {
		return nil, status.Errorf(codes.InvalidArgument, "%s: %v", field, err)
	}
	at, err := m.At(func() (ledger.Revision, error) {
		head, err := v.Ledger.GetHead(ctx, &stelev1.GetHeadRequest{})
		return ledger.Revision(head.GetSnapshot().GetHead()), err
	})
	var before *asof.BeforeFirstError
	if errors.As(err, &before) {
		return nil, status.Errorf(codes.OutOfRange, "%s: %v", field, err)
	}
	return at, err
}

// ParseTime reads a time as the command line does. Errors name the field.
func ParseTime(field, text string) (time.Time, error) {
	m, err := asof.Parse(text, time.Now())
	if err != nil || m.Time.IsZero() {
		return time.Time{}, status.Errorf(codes.InvalidArgument, "%s: %q is not a time: write 2026-01-31T17:45, 2h (ago) or yesterday", field, text)
	}
	return m.Time, nil
}

// CommitAt is the newest commit at a revision or time, without its values.
func (v *View) CommitAt(ctx context.Context, at *stelev1.At) (*stelev1.CommitInfo, error) {
	list, err := v.Ledger.ListCommits(ctx, &stelev1.ListCommitsRequest{PageSize: 1, OmitValues: true, Until: at})
	if err != nil {
		return nil, err
	}
	if len(list.Commits) == 0 {
		return nil, status.Error(codes.OutOfRange, "the tenant has no commit at that time")
	}
	return list.Commits[0], nil
}

// CheckPrefix returns an error if no key is set under the prefix at any of some revisions:
// then it is mistyped. Revision 0 is the state before the first commit.
func (v *View) CheckPrefix(ctx context.Context, prefix string, revisions ...uint64) error {
	if prefix == "" {
		return nil
	}
	for _, revision := range revisions {
		if revision == 0 {
			continue
		}
		list, err := v.Config.List(ctx, &stelev1.ListRequest{Prefix: prefix, At: Revision(revision), KeysOnly: true, PageSize: 1})
		if err != nil || len(list.Entries) > 0 {
			return err
		}
	}
	return UnknownPrefix(prefix)
}

// UnknownPrefix is the error about a prefix without any key in the states that were looked at.
func UnknownPrefix(prefix string) error {
	return status.Errorf(codes.NotFound, "prefix: no key is set under %q, neither now nor then: check the spelling", prefix)
}
