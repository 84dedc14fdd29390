package gateway

import (
	"cmp"
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"github.com/stelehq/stele/ledger"
	"github.com/stelehq/stele/ledger/replica"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"
)

func stack() string { return string(debug.Stack()) }

// behindTimeout bounds how long a read waits for its min_revision.
const behindTimeout = 5 * time.Second

// seen is the newest commit that a caller has seen of the tenant.
type seen struct {
	revision ledger.Revision
	id       []byte // the beginning of its id, or empty
}

// seenBy reads what the caller of a request has seen.
func seenBy(req interface {
	GetMinRevision() uint64
	GetMinId() []byte
}) seen {
	return seen{ledger.Revision(req.GetMinRevision()), req.GetMinId()}
}

// view opens the caller's tenant at a moment, once the replica holds what the caller has
// seen.
func (g *Gateway) view(ctx context.Context, at replica.At, s seen) (*replica.View, error) {
	t := callerOf(ctx).Tenant
	if err := g.wait(ctx, t, s); err != nil {
		return nil, err
	}
	return g.cfg.Replica.View(t, at)
}

// page opens the state that a listing is of, and returns the key to continue from:
// its pages are all of the revision of the first, whatever is written meanwhile.
func (g *Gateway) page(ctx context.Context, point *stelev1.At, token string, s seen) (v *replica.View, from string, err error) {
	at, err := moment(point)
	if err != nil {
		return nil, "", err
	}
	if token != "" {
		t, err := parsePageToken(token)
		if err != nil {
			return nil, "", err
		}
		if err := g.sameHistory(ctx, t); err != nil {
			return nil, "", err
		}
		at, from = replica.At{Revision: t.to.revision}, t.key
	}
	v, err = g.view(ctx, at, s)
	return v, from, err
}

// wait waits until the replica holds what the caller has seen. The error is a
// *ledger.HistoryChangedError if the ledger does not have that commit, and errBehind if
// it does not come in time.
func (g *Gateway) wait(ctx context.Context, t ledger.Tenant, s seen) error {
	if s.revision == 0 {
		return nil
	}
	if err := g.waitRevision(ctx, t, s); err != nil || len(s.id) == 0 {
		return err
	}
	v, err := g.cfg.Replica.View(t, replica.At{})
	if err != nil {
		return err
	}
	defer v.Close()
	id, err := v.ID(s.revision)
	var notKept *ledger.HistoryError
	if errors.As(err, &notKept) {
		return nil // an edge that does not keep the commit cannot compare it
	}
	if err != nil {
		return err
	}
	return ledger.SameCommit(t, s.revision, id, s.id)
}

func (g *Gateway) waitRevision(ctx context.Context, t ledger.Tenant, s seen) error {
	const step = 100 * time.Millisecond
	for begun := time.Now(); g.cfg.Replica.Head(t).Revision < s.revision; {
		bounded, cancel := context.WithTimeout(ctx, step)
		err := g.cfg.Replica.Wait(bounded, t, s.revision)
		cancel()
		if err == nil || ctx.Err() != nil || !errors.Is(err, context.DeadlineExceeded) {
			return errors.Join(ctx.Err(), err)
		}
		p, _ := g.cfg.Replica.Progress()
		switch head := g.cfg.Replica.Head(t).Revision; {
		case head >= s.revision:
		case len(s.id) > 0 && p.Current.After(begun): // the replica holds all that the journal had since
			return &ledger.HistoryChangedError{Tenant: t, Revision: s.revision, Seen: s.id}
		case time.Since(begun) > behindTimeout:
			return fmt.Errorf("%w: it holds %s%s and has waited for %s; try again, or another gateway", errBehind, t, head, s.revision)
		}
	}
	return nil
}

// moment reads a request's At; absent, it is the head.
func moment(at *stelev1.At) (replica.At, error) {
	switch p := at.GetPoint().(type) {
	case nil:
		return replica.At{}, nil
	case *stelev1.At_Revision:
		if p.Revision == 0 {
			return replica.At{}, ledger.Invalid("at.revision", "revisions begin at 1")
		}
		return replica.At{Revision: ledger.Revision(p.Revision)}, nil
	case *stelev1.At_Time:
		at, err := instant(p.Time, "at.time")
		return replica.At{Time: at}, err
	}
	return replica.At{}, ledger.Invalid("at", "name a revision or a time")
}

// instant reads a request's time. It is never the zero time, which stands for
// none.
func instant(ts *timestamppb.Timestamp, field string) (time.Time, error) {
	if err := ts.CheckValid(); err != nil {
		return time.Time{}, ledger.Invalid(field, err.Error())
	}
	at := ts.AsTime()
	if at.IsZero() {
		at = at.Add(1)
	}
	return at, nil
}

func snapshotOf(v *replica.View) *stelev1.Snapshot { return new(snapshot).of(v) }

// snapshot has room for a message and its parts.
type snapshot struct {
	message stelev1.Snapshot
	age     durationpb.Duration
	id      ledger.CommitID
}

func (s *snapshot) of(v *replica.View) *stelev1.Snapshot {
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

// revisionOf finds the revision of a revision or time; 0, the state before the first
// commit, is also one.
func revisionOf(v *replica.View, at *stelev1.At, field string) (ledger.Revision, error) {
	switch p := at.GetPoint().(type) {
	case *stelev1.At_Revision:
		return v.Resolve(replica.At{Revision: ledger.Revision(p.Revision)})
	case *stelev1.At_Time:
		at, err := instant(p.Time, field+".time")
		if err != nil {
			return 0, err
		}
		return v.Resolve(replica.At{Time: at})
	}
	return v.State().Head, nil
}

// pageToken is where a listing continues: at which commit, or between which two, and from
// which key.
type pageToken struct {
	from, to seen
	key      string
}

// shortID is how many bytes of a commit's id are in tokens.
const shortID = 8

// token makes the token of a page that continues at a revision, or between two, and from a
// key.
func token(v *replica.View, from, to ledger.Revision, key string) (string, error) {
	var text [2]string
	for i, rev := range []ledger.Revision{from, to} {
		id, err := v.ID(rev)
		var notKept *ledger.HistoryError
		if err != nil && !errors.As(err, &notKept) {
			return "", err
		}
		text[i] = strconv.FormatUint(uint64(rev), 10)
		if id != (ledger.CommitID{}) {
			text[i] += "-" + hex.EncodeToString(id[:shortID])
		}
	}
	return base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, "%s,%s:%s", text[0], text[1], key)), nil
}

var errPageToken = ledger.Invalid("page_token", "it is not one that this call has given: start again without it")

func parsePageToken(s string) (t pageToken, err error) {
	b, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil {
		return t, errPageToken
	}
	places, key, ok := strings.Cut(string(b), ":")
	from, to, both := strings.Cut(places, ",")
	if !ok || !both {
		return t, errPageToken
	}
	for i, place := range []*seen{&t.from, &t.to} {
		number, id, _ := strings.Cut([]string{from, to}[i], "-")
		rev, err := strconv.ParseUint(number, 10, 64)
		if err != nil {
			return t, errPageToken
		}
		place.revision = ledger.Revision(rev)
		if place.id, err = hex.DecodeString(id); err != nil || len(place.id) != 0 && len(place.id) != shortID {
			return t, errPageToken
		}
	}
	if t.to.revision == 0 || t.from.revision > t.to.revision {
		return t, errPageToken
	}
	if _, err := ledger.ParsePrefix(key); err != nil {
		return t, errPageToken
	}
	t.key = key
	return t, nil
}

// sameHistory compares the commits that a page token names with the ledger's.
func (g *Gateway) sameHistory(ctx context.Context, t pageToken) error {
	tenant := callerOf(ctx).Tenant
	return cmp.Or(g.wait(ctx, tenant, t.to), g.wait(ctx, tenant, t.from))
}

// commits yields commits of a tenant, once the replica holds the revision atLeast.
func (g *Gateway) commits(ctx context.Context, t ledger.Tenant, revisions []uint64, atLeast uint64, yield func(*ledger.Commit) error) error {
	if err := g.wait(ctx, t, seen{revision: ledger.Revision(atLeast)}); err != nil {
		return err
	}
	v, err := g.cfg.Replica.View(t, replica.At{})
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
