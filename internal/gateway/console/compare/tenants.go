package compare

import (
	"context"
	"strconv"

	"github.com/stelehq/stele/internal/gateway/console/diff"
	"github.com/stelehq/stele/internal/gateway/console/page"
	"github.com/stelehq/stele/internal/ledger"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// maxCompared keys of each of two tenants are compared; a prefix narrows them.
const maxCompared = 20_000

// compareTenants walks through the keys of two tenants in parallel.
func (q *comparison) compareTenants(ctx context.Context, v *page.View) error {
	other, err := ledger.ParseTenant(q.with)
	if err != nil {
		return status.Error(codes.InvalidArgument, "with: "+err.Error())
	}
	from, err := v.ParseAsOf(ctx, "from", q.from)
	if err != nil {
		return err
	}
	theirs := page.WithToken(v.R.Context(), v.Cookies.Token(v.R), other)
	if head, err := v.Ledger.GetHead(theirs, &stelev1.GetHeadRequest{}); err != nil {
		return err
	} else if head.Snapshot.GetHead() == 0 {
		return status.Errorf(codes.NotFound, "with: the tenant %s does not exist: it has no commit", other)
	}
	to, err := v.ParseAsOf(theirs, "to", q.to)
	if err != nil {
		return err
	}
	a := &keyWalk{config: v.Config, ctx: ctx, req: &stelev1.ListRequest{Prefix: q.prefix, At: from, PageSize: 5000}}
	b := &keyWalk{config: v.Config, ctx: theirs, req: &stelev1.ListRequest{Prefix: q.prefix, At: to, PageSize: 5000}}
	skip := max(v.QueryInt("skip"), 0) // differences on earlier pages
	found := 0
	for {
		x, err := a.peek()
		if err != nil {
			return err
		}
		y, err := b.peek()
		if err != nil {
			return err
		}
		q.fromRevision, q.toRevision = a.revision, b.revision
		switch {
		case x == nil && y == nil:
			if q.prefix != "" && a.passed+b.passed == 0 {
				return page.UnknownPrefix(q.prefix)
			}
			return nil
		case a.passed >= maxCompared || b.passed >= maxCompared:
			q.more = true
			return nil
		}
		d := difference{}
		switch {
		case y == nil || x != nil && x.Key < y.Key:
			d = difference{diff.Of(x.Key, x.Value, ""), x.Revision, 0}
			a.pass()
		case x == nil || y.Key < x.Key:
			d = difference{diff.Of(y.Key, "", y.Value), 0, y.Revision}
			b.pass()
		default:
			a.pass()
			b.pass()
			if x.Value == y.Value {
				continue
			}
			d = difference{diff.Of(x.Key, x.Value, y.Value), x.Revision, y.Revision}
		}
		if d.Same {
			continue
		}
		if found++; found > skip+differencesOnPage {
			q.nextPage(v, "skip", strconv.Itoa(skip+differencesOnPage))
			return nil
		}
		if found > skip {
			q.differences = append(q.differences, d)
		}
	}
}

// keyWalk goes through a state's keys in their order.
type keyWalk struct {
	config   stelev1.ConfigClient
	ctx      context.Context // of the state's tenant
	req      *stelev1.ListRequest
	page     []*stelev1.Entry
	begun    bool
	passed   int
	revision uint64
}

// peek returns the next entry; nil after the last.
func (w *keyWalk) peek() (*stelev1.Entry, error) {
	for len(w.page) == 0 && (!w.begun || w.req.PageToken != "") {
		resp, err := w.config.List(w.ctx, w.req)
		if err != nil {
			return nil, err
		}
		w.begun, w.page, w.req.PageToken, w.revision = true, resp.Entries, resp.NextPageToken, resp.Snapshot.GetRevision()
	}
	if len(w.page) == 0 {
		return nil, nil
	}
	return w.page[0], nil
}

func (w *keyWalk) pass() { w.page, w.passed = w.page[1:], w.passed+1 }
