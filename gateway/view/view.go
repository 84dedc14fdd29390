// Package view opens the state that a read is of: a revision, a time or the head, on the
// pages of a listing the same one, and after a write the caller's own.
package view

import (
	"context"
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/stelehq/stele/gateway/apierror"
	"github.com/stelehq/stele/gateway/policy"
	"github.com/stelehq/stele/ledger"
	"github.com/stelehq/stele/ledger/replica"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// BehindTimeout bounds how long a read waits for its min_revision.
const BehindTimeout = 5 * time.Second

// Limits of the pages of listings.
const (
	// DefaultPage is the number of items on a page if the request names none.
	DefaultPage = 1000
	// MaxPageBytes is the size after which a page takes no more items, in bytes.
	MaxPageBytes = 1 << 20
)

// Opener opens states of tenants in the replica.
type Opener struct{ Replica *replica.Replica }

// Open opens the caller's tenant at a moment, once the replica holds the
// revision that the caller has seen.
func (vs Opener) Open(ctx context.Context, at replica.At, atLeast uint64) (*replica.View, error) {
	t := policy.CallerOf(ctx).Tenant
	if atLeast > 0 {
		if err := vs.Wait(ctx, t, ledger.Revision(atLeast)); err != nil {
			return nil, err
		}
	}
	return vs.Replica.View(t, at)
}

// Page opens the state that a listing is of, and says from which key it goes on:
// its pages are all of the revision of the first, whatever is written meanwhile.
func (vs Opener) Page(ctx context.Context, point *stelev1.At, token string, atLeast uint64) (v *replica.View, from string, err error) {
	at, err := AsOf(point)
	if err != nil {
		return nil, "", err
	}
	if token != "" {
		t, err := ParsePageToken(token)
		if err != nil {
			return nil, "", err
		}
		at, from = replica.At{Revision: t.Revision}, t.Key
	}
	v, err = vs.Open(ctx, at, atLeast)
	return v, from, err
}

// Wait waits until the replica holds a revision of a tenant. The error is
// apierror.ErrBehind if it does not come in time.
func (vs Opener) Wait(ctx context.Context, t ledger.Tenant, rev ledger.Revision) error {
	if vs.Replica.Head(t).Revision >= rev {
		return nil
	}
	bounded, cancel := context.WithTimeout(ctx, BehindTimeout)
	defer cancel()
	if err := vs.Replica.Wait(bounded, t, rev); err != nil && ctx.Err() == nil {
		return fmt.Errorf("%w: it holds %s%s and has waited for %s; try again, or another gateway",
			apierror.ErrBehind, t, vs.Replica.Head(t).Revision, rev)
	}
	return ctx.Err()
}

// AsOf reads a request's At; absent, it is the head.
func AsOf(at *stelev1.At) (replica.At, error) {
	switch p := at.GetPoint().(type) {
	case nil:
		return replica.At{}, nil
	case *stelev1.At_Revision:
		if p.Revision == 0 {
			return replica.At{}, ledger.Invalid("at.revision", "revisions begin at 1")
		}
		return replica.At{Revision: ledger.Revision(p.Revision)}, nil
	case *stelev1.At_Time:
		at, err := Time(p.Time, "at.time")
		return replica.At{Time: at}, err
	}
	return replica.At{}, ledger.Invalid("at", "name a revision or a time")
}

// Time reads a request's time. It is never the zero time, which stands for
// none.
func Time(ts *timestamppb.Timestamp, field string) (time.Time, error) {
	if err := ts.CheckValid(); err != nil {
		return time.Time{}, ledger.Invalid(field, err.Error())
	}
	at := ts.AsTime()
	if at.IsZero() {
		at = at.Add(1)
	}
	return at, nil
}

// SnapshotOf describes the state that an answer is of.
func SnapshotOf(v *replica.View) *stelev1.Snapshot { return new(Snapshot).Of(v) }

// Snapshot has room for a message and its parts.
type Snapshot struct {
	message stelev1.Snapshot
	age     durationpb.Duration
}

// Of fills the message from a view and returns it.
func (s *Snapshot) Of(v *replica.View) *stelev1.Snapshot {
	state := v.State()
	s.age.Seconds, s.age.Nanos = int64(state.Age/time.Second), int32(state.Age%time.Second)
	s.message.Revision, s.message.Head = uint64(state.Revision), uint64(state.Head)
	s.message.Age, s.message.Stale = &s.age, state.Stale
	return &s.message
}

// RevisionOf finds the revision of a moment; 0, the state before the first commit,
// is one, too.
func RevisionOf(v *replica.View, at *stelev1.At, field string) (ledger.Revision, error) {
	switch p := at.GetPoint().(type) {
	case *stelev1.At_Revision:
		return v.Resolve(replica.At{Revision: ledger.Revision(p.Revision)})
	case *stelev1.At_Time:
		at, err := Time(p.Time, field+".time")
		if err != nil {
			return 0, err
		}
		return v.Resolve(replica.At{Time: at})
	}
	return v.State().Head, nil
}

// PageToken says where a listing goes on: at which revision, or between which
// two, and from which key.
type PageToken struct {
	From, Revision ledger.Revision
	Key            string
}

// String returns the token as responses carry it.
func (t PageToken) String() string {
	return base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, "%d,%d:%s", t.From, t.Revision, t.Key))
}

// ErrPageToken is the violation of a page token that no call has returned.
var ErrPageToken = ledger.Invalid("page_token", "it is not one that this call has given: start again without it")

// ParsePageToken reads a page token of a request.
func ParsePageToken(s string) (PageToken, error) {
	b, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil {
		return PageToken{}, ErrPageToken
	}
	numbers, key, ok := strings.Cut(string(b), ":")
	if !ok {
		return PageToken{}, ErrPageToken
	}
	from, at, _ := strings.Cut(numbers, ",")
	first, err := strconv.ParseUint(from, 10, 64)
	if err != nil {
		return PageToken{}, ErrPageToken
	}
	rev, err := strconv.ParseUint(at, 10, 64)
	if err != nil || rev == 0 || first > rev {
		return PageToken{}, ErrPageToken
	}
	if _, err := ledger.ParsePrefix(key); err != nil {
		return PageToken{}, ErrPageToken
	}
	return PageToken{ledger.Revision(first), ledger.Revision(rev), key}, nil
}

// Commits yields commits of a tenant, once the replica holds the revision atLeast.
func (vs Opener) Commits(ctx context.Context, t ledger.Tenant, revisions []uint64, atLeast uint64, yield func(*ledger.Commit) error) error {
	if atLeast > 0 {
		if err := vs.Wait(ctx, t, ledger.Revision(atLeast)); err != nil {
			return err
		}
	}
	v, err := vs.Replica.View(t, replica.At{})
	if err != nil {
		return err
	}
	defer v.Close()
	for _, rev := range revisions {
		c, err := v.Commit(ledger.Revision(rev))
		if err != nil {
			return err
		}
		if err := yield(c); err != nil {
			return err
		}
	}
	return nil
}
