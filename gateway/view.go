package gateway

import (
	"context"
	"encoding/base64"
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

// view opens the caller's tenant at a moment, once the replica holds the
// revision that the caller has seen.
func (g *Gateway) view(ctx context.Context, at replica.At, atLeast uint64) (*replica.View, error) {
	t := callerOf(ctx).Tenant
	if atLeast > 0 {
		if err := g.wait(ctx, t, ledger.Revision(atLeast)); err != nil {
			return nil, err
		}
	}
	return g.cfg.Replica.View(t, at)
}

// page opens the state of a listing, and returns the key to continue from: all its
// pages are of the revision of the first, whatever is written meanwhile.
func (g *Gateway) page(ctx context.Context, point *stelev1.At, token string, atLeast uint64) (v *replica.View, from string, err error) {
	at, err := moment(point)
	if err != nil {
		return nil, "", err
	}
	if token != "" {
		t, err := parsePageToken(token)
		if err != nil {
			return nil, "", err
		}
		at, from = replica.At{Revision: t.revision}, t.key
	}
	v, err = g.view(ctx, at, atLeast)
	return v, from, err
}

func (g *Gateway) wait(ctx context.Context, t ledger.Tenant, rev ledger.Revision) error {
	if g.cfg.Replica.Head(t).Revision >= rev {
		return nil
	}
	bounded, cancel := context.WithTimeout(ctx, behindTimeout)
	defer cancel()
	if err := g.cfg.Replica.Wait(bounded, t, rev); err != nil && ctx.Err() == nil {
		return fmt.Errorf("%w: it holds %s%s and has waited for %s; try again, or another gateway",
			errBehind, t, g.cfg.Replica.Head(t).Revision, rev)
	}
	return ctx.Err()
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
}

func (s *snapshot) of(v *replica.View) *stelev1.Snapshot {
	state := v.State()
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

// pageToken is where a listing continues: at which revision, or between which two, and
// from which key.
type pageToken struct {
	from, revision ledger.Revision
	key            string
}

func (t pageToken) String() string {
	return base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, "%d,%d:%s", t.from, t.revision, t.key))
}

var errPageToken = ledger.Invalid("page_token", "it is not one that this call has given: start again without it")

func parsePageToken(s string) (pageToken, error) {
	b, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil {
		return pageToken{}, errPageToken
	}
	numbers, key, ok := strings.Cut(string(b), ":")
	if !ok {
		return pageToken{}, errPageToken
	}
	from, at, _ := strings.Cut(numbers, ",")
	first, err := strconv.ParseUint(from, 10, 64)
	if err != nil {
		return pageToken{}, errPageToken
	}
	rev, err := strconv.ParseUint(at, 10, 64)
	if err != nil || rev == 0 || first > rev {
		return pageToken{}, errPageToken
	}
	if _, err := ledger.ParsePrefix(key); err != nil {
		return pageToken{}, errPageToken
	}
	return pageToken{ledger.Revision(first), ledger.Revision(rev), key}, nil
}

// commits yields commits of a tenant, once the replica holds the revision atLeast.
func (g *Gateway) commits(ctx context.Context, t ledger.Tenant, revisions []uint64, atLeast uint64, yield func(*ledger.Commit) error) error {
	if atLeast > 0 {
		if err := g.wait(ctx, t, ledger.Revision(atLeast)); err != nil {
			return err
		}
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
