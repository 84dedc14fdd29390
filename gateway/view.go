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
)

func stack() string { return string(debug.Stack()) }

// behindTimeout bounds how long a read waits for its min_revision.
const behindTimeout = 5 * time.Second

// view opens the caller's tenant at a moment, once the replica holds the
// revision that the caller has seen.
func (g *Gateway) view(ctx context.Context, at replica.At, atLeast uint64) (*replica.View, error) {
	t := callerOf(ctx).tenant
	if atLeast > 0 {
		if err := g.wait(ctx, t, ledger.Revision(atLeast)); err != nil {
			return nil, err
		}
	}
	return g.cfg.Replica.View(t, at)
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
		if err := p.Time.CheckValid(); err != nil {
			return replica.At{}, ledger.Invalid("at.time", err.Error())
		}
		return replica.At{Time: p.Time.AsTime()}, nil
	}
	return replica.At{}, ledger.Invalid("at", "name a revision or a time")
}

func snapshotOf(v *replica.View) *stelev1.Snapshot {
	s := v.State()
	return &stelev1.Snapshot{
		Revision: uint64(s.Revision),
		Head:     uint64(s.Head),
		Age:      durationpb.New(s.Age),
		Stale:    s.Stale,
	}
}

// pageToken says where a listing goes on: at which revision, and from which key.
type pageToken struct {
	revision ledger.Revision
	key      string
}

func (t pageToken) String() string {
	return base64.RawURLEncoding.EncodeToString([]byte(strconv.FormatUint(uint64(t.revision), 10) + ":" + t.key))
}

func parsePageToken(s string) (pageToken, error) {
	bad := ledger.Invalid("page_token", "it is not one that this call has given: start again without it")
	b, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil {
		return pageToken{}, bad
	}
	number, key, ok := strings.Cut(string(b), ":")
	if !ok {
		return pageToken{}, bad
	}
	rev, err := strconv.ParseUint(number, 10, 64)
	if err != nil || rev == 0 {
		return pageToken{}, bad
	}
	if _, err := ledger.ParsePrefix(key); err != nil {
		return pageToken{}, bad
	}
	return pageToken{ledger.Revision(rev), key}, nil
}
