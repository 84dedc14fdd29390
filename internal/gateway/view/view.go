// Package view opens the state that a read is of: a revision, a time or the head, on the
// pages of a listing the same one, and after a write the caller's own.
package view

import (
	"cmp"
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/stelehq/stele/internal/gateway/apierror"
	"github.com/stelehq/stele/internal/gateway/policy"
	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/replica"
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
	// MaxPageBytes is the size after which a page takes no more items, in bytes. A larger
	// commit is alone on its page.
	MaxPageBytes = 1 << 20
)

// Opener opens states of tenants in the replica.
type Opener struct{ Replica *replica.Replica }

// Seen is the newest commit that a caller has seen of the tenant.
type Seen struct {
	Revision ledger.Revision
	ID       []byte // the beginning of its id, or empty
}

// SeenBy reads what the caller of a request has seen.
func SeenBy(req interface {
	GetMinRevision() uint64
	GetMinId() []byte
}) Seen {
	return Seen{ledger.Revision(req.GetMinRevision()), req.GetMinId()}
}

// Request is a request for a state: at a revision or a time, or the newest one without either.
type Request interface {
	GetAt() *stelev1.At
	GetMinRevision() uint64
	GetMinId() []byte
}

// PageRequest is a request for a page of a listing.
type PageRequest interface {
	Request
	GetPageToken() string
}

// OpenAt opens the state that a request names, once the replica holds what the caller has seen.
func (vs Opener) OpenAt(ctx context.Context, req Request) (*replica.View, error) {
	at, err := asOf(req.GetAt())
	if err != nil {
		return nil, err
	}
	return vs.Open(ctx, at, SeenBy(req))
}

// Open opens a state of the caller's tenant, once the replica holds what the caller has
// seen.
func (vs Opener) Open(ctx context.Context, at replica.At, s Seen) (*replica.View, error) {
	t := policy.CallerOf(ctx).Tenant
	if err := vs.Wait(ctx, t, s); err != nil {
		return nil, err
	}
	return vs.Replica.View(t, at)
}

// Page opens the state that a listing is of, and returns the key to continue from:
// its pages are all of the revision of the first, whatever is written meanwhile.
func (vs Opener) Page(ctx context.Context, req PageRequest) (v *replica.View, from ledger.Key, err error) {
	token := req.GetPageToken()
	if token == "" {
		v, err = vs.OpenAt(ctx, req)
		return v, "", err
	}
	t, err := ParsePageToken(token)
	if err != nil {
		return nil, "", err
	}
	if err := vs.SameHistory(ctx, t); err != nil {
		return nil, "", err
	}
	v, err = vs.Open(ctx, replica.At{Revision: t.To.Revision}, SeenBy(req))
	return v, t.Key, err
}

// Wait waits until the replica holds what the caller has seen. The error is a
// *ledger.HistoryChangedError if the ledger does not have that commit, and apierror.ErrBehind if
// it does not come in time.
func (vs Opener) Wait(ctx context.Context, t ledger.Tenant, s Seen) error {
	if s.Revision == 0 {
		return nil
	}
	if err := vs.waitRevision(ctx, t, s); err != nil || len(s.ID) == 0 {
		return err
	}
	v, err := vs.Replica.View(t, replica.At{})
	if err != nil {
		return err
	}
	defer v.Close()
	id, err := v.ID(s.Revision)
	var notKept *ledger.HistoryError
	if errors.As(err, &notKept) {
		return nil // an edge that does not keep the commit cannot compare it
	}
	if err != nil {
		return err
	}
	return ledger.SameCommit(t, s.Revision, id, s.ID)
}

func (vs Opener) waitRevision(ctx context.Context, t ledger.Tenant, s Seen) error {
	const step = 100 * time.Millisecond
	for begun := time.Now(); vs.Replica.Head(t).Revision < s.Revision; {
		bounded, cancel := context.WithTimeout(ctx, step)
		err := vs.Replica.Wait(bounded, t, s.Revision)
		cancel()
		if err == nil || ctx.Err() != nil || !errors.Is(err, context.DeadlineExceeded) {
			return errors.Join(ctx.Err(), err)
		}
		p, _ := vs.Replica.Progress()
		switch head := vs.Replica.Head(t).Revision; {
		case head >= s.Revision:
		case len(s.ID) > 0 && p.Current.After(begun): // the replica holds all that the journal had since
			return &ledger.HistoryChangedError{Tenant: t, Revision: s.Revision, Seen: s.ID}
		case time.Since(begun) > BehindTimeout:
			return fmt.Errorf("%w: it holds %s%s and has waited for %s; try again, or another gateway", apierror.ErrBehind, t, head, s.Revision)
		}
	}
	return nil
}

// asOf reads a request's At; absent, it is the head.
func asOf(at *stelev1.At) (replica.At, error) {
	switch p := at.GetPoint().(type) {
	case nil:
		return replica.At{}, nil
	case *stelev1.At_Revision:
		return replica.At{Revision: ledger.Revision(p.Revision), Empty: p.Revision == 0}, nil
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
	id      ledger.CommitID
}

// Of fills the message from a view and returns it.
func (s *Snapshot) Of(v *replica.View) *stelev1.Snapshot {
	state := v.State()
	if state.Revision > 0 {
		s.id = state.ID
		s.message.Id = s.id[:]
	}
	s.age.Seconds, s.age.Nanos = int64(state.Age/time.Second), int32(state.Age%time.Second)
	s.message.Revision, s.message.Head = uint64(state.Revision), uint64(state.Head)
	s.message.Age, s.message.Stale = &s.age, state.Stale
	return &s.message
}

// RevisionOf finds the revision of a revision or time; 0, the state before the first
// commit, is also one.
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

// PageToken is where a listing continues: at which commit, or between which two, and from
// which key.
type PageToken struct {
	From, To Seen
	Key      ledger.Key
}

// ShortID is how many bytes of a commit's id are in tokens.
const ShortID = 8

// NewPageToken makes the token of a page that continues at a revision, or between two, and from a
// key.
func NewPageToken(v *replica.View, from, to ledger.Revision, key ledger.Key) (string, error) {
	var text [2]string
	for i, rev := range []ledger.Revision{from, to} {
		id, err := v.ID(rev)
		var notKept *ledger.HistoryError
		if err != nil && !errors.As(err, &notKept) {
			return "", err
		}
		text[i] = strconv.FormatUint(uint64(rev), 10)
		if id != (ledger.CommitID{}) {
			text[i] += "-" + hex.EncodeToString(id[:ShortID])
		}
	}
	return base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, "%s,%s:%s", text[0], text[1], key)), nil
}

// ErrPageToken is the violation of a page token that no call has returned.
var ErrPageToken = ledger.Invalid("page_token", "it is not one that this call has given: start again without it")

// ParsePageToken reads a page token of a request.
func ParsePageToken(s string) (t PageToken, err error) {
	b, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil {
		return t, ErrPageToken
	}
	places, key, ok := strings.Cut(string(b), ":")
	from, to, both := strings.Cut(places, ",")
	if !ok || !both {
		return t, ErrPageToken
	}
	for i, place := range []*Seen{&t.From, &t.To} {
		number, id, _ := strings.Cut([]string{from, to}[i], "-")
		rev, err := strconv.ParseUint(number, 10, 64)
		if err != nil {
			return t, ErrPageToken
		}
		place.Revision = ledger.Revision(rev)
		if place.ID, err = hex.DecodeString(id); err != nil || len(place.ID) != 0 && len(place.ID) != ShortID {
			return t, ErrPageToken
		}
	}
	if t.To.Revision == 0 || t.From.Revision > t.To.Revision {
		return t, ErrPageToken
	}
	if _, err := ledger.ParsePrefix(key); err != nil {
		return t, ErrPageToken
	}
	t.Key = ledger.Key(key)
	return t, nil
}

// SameHistory compares the commits that a page token names with the ledger's.
func (vs Opener) SameHistory(ctx context.Context, t PageToken) error {
	tenant := policy.CallerOf(ctx).Tenant
	return cmp.Or(vs.Wait(ctx, tenant, t.To), vs.Wait(ctx, tenant, t.From))
}

// Commits yields commits of a tenant, once the replica holds the revision atLeast.
func (vs Opener) Commits(ctx context.Context, t ledger.Tenant, revisions []uint64, atLeast uint64, yield func(*ledger.Commit) error) error {
	if err := vs.Wait(ctx, t, Seen{Revision: ledger.Revision(atLeast)}); err != nil {
		return err
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

// IDBytes is the id of the commit that led to a revision, as a message has it.
func IDBytes(rev ledger.Revision, id ledger.CommitID) []byte {
	if rev == 0 {
		return nil
	}
	return id[:]
}
