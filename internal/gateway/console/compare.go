package console

import (
	"cmp"
	"context"
	"net/http"
	"strings"

	"github.com/stelehq/stele/internal/ledger"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

const (
	// differencesOnPage is how many differences of two states a page shows.
	differencesOnPage = 100
	// maxCompared keys of each of two tenants are compared; more are to be narrowed by
	// a prefix.
	maxCompared = 20_000
)

// comparison is two states, and what differs.
type comparison struct {
	// As the form has them; with is another tenant, whose state is the newer side.
	from, to, prefix, with string

	differences []difference
	// The revisions of the two states, once they are known.
	fromRevision, toRevision uint64
	next                     string // the next page's query; empty on the last
	more                     bool   // more differs than is shown
	problem                  string
}

// difference is one key in the two states, and the revisions that made it so.
type difference struct {
	keyChange
	fromRevision, toRevision uint64
}

// asked says whether there is something to compare.
func (q *comparison) asked() bool { return q.from != "" || q.with != "" }

// newer is the newer state's tenant.
func (q *comparison) newer(v *visit) ledger.Tenant {
	return cmp.Or(ledger.Tenant(q.with), v.tenant)
}

// showCompare shows the differences between two states of a tenant, or between two
// tenants, for users with access to both.
func (c *Console) showCompare(v *visit) error {
	get := func(name string) string { return strings.TrimSpace(v.r.FormValue(name)) }
	q := &comparison{from: get("from"), to: get("to"), prefix: get("prefix"), with: get("with")}
	if q.with == string(v.tenant) {
		q.with = ""
	}
	err := v.load(func(ctx context.Context) (err error) {
		switch {
		case q.with != "":
			err = c.compareTenants(ctx, v, q)
		case q.asked():
			err = c.compareMoments(ctx, v, q)
		}
		switch status.Code(err) {
		case codes.InvalidArgument, codes.OutOfRange:
			q.problem, err = statusMessage(err), nil
		}
		return err
	})
	if err != nil {
		return err
	}
	code := http.StatusOK
	if q.problem != "" {
		code = http.StatusBadRequest
	}
	return v.show(code, "Compare", q.command(v), comparePage(v, q))
}

func (q *comparison) command(v *visit) command {
	if q.with != "" {
		return nil // no one command does it
	}
	words := []string{"diff", cmp.Or(commandMoment(q.from), "@1")}
	if q.to != "" {
		words = append(words, commandMoment(q.to))
	}
	if q.prefix != "" {
		words = append(words, q.prefix)
	}
	return append(command{"-t", string(v.tenant)}, words...)
}

// commandMoment is a moment as the command line has it.
func commandMoment(s string) string {
	if s == "" || strings.HasPrefix(s, "@") {
		return s
	}
	return "@" + s
}

func (c *Console) compareMoments(ctx context.Context, v *visit, q *comparison) error {
	req := &stelev1.DiffRequest{Prefix: q.prefix, PageSize: differencesOnPage, PageToken: v.r.FormValue("page")}
	var err error
	if req.From, err = momentOf("from", q.from); err != nil {
		return err
	}
	if req.To, err = momentOf("to", q.to); err != nil {
		return err
	}
	resp, err := c.ledger.Diff(ctx, req)
	if err != nil {
		return err
	}
	q.fromRevision, q.toRevision = resp.FromRevision, resp.ToRevision
	for _, d := range resp.Diffs {
		q.differences = append(q.differences, difference{changeOf(d.Key, d.FromValue, d.ToValue), d.FromRevision, d.ToRevision})
	}
	if resp.NextPageToken != "" {
		form := v.r.URL.Query()
		form.Set("page", resp.NextPageToken)
		q.next = v.r.URL.Path + "?" + form.Encode()
	}
	return nil
}

// compareTenants walks through the keys of two tenants side by side.
func (c *Console) compareTenants(ctx context.Context, v *visit, q *comparison) error {
	other, err := ledger.ParseTenant(q.with)
	if err != nil {
		return status.Error(codes.InvalidArgument, "with: "+err.Error())
	}
	from, err := momentOf("from", q.from)
	if err != nil {
		return err
	}
	to, err := momentOf("to", q.to)
	if err != nil {
		return err
	}
	a := &keyWalk{c: c, ctx: ctx, req: &stelev1.ListRequest{Prefix: q.prefix, At: from, PageSize: 5000}}
	token := v.cookies().Token(v.r)
	b := &keyWalk{c: c, ctx: withToken(v.r.Context(), token, other), req: &stelev1.ListRequest{Prefix: q.prefix, At: to, PageSize: 5000}}
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
			return nil
		case a.passed >= maxCompared || b.passed >= maxCompared || len(q.differences) >= differencesOnPage:
			q.more = true
			return nil
		}
		d := difference{}
		switch {
		case y == nil || x != nil && x.Key < y.Key:
			d = difference{changeOf(x.Key, x.Value, ""), x.Revision, 0}
			a.pass()
		case x == nil || y.Key < x.Key:
			d = difference{changeOf(y.Key, "", y.Value), 0, y.Revision}
			b.pass()
		default:
			a.pass()
			b.pass()
			if x.Value == y.Value {
				continue
			}
			d = difference{changeOf(x.Key, x.Value, y.Value), x.Revision, y.Revision}
		}
		if !d.same {
			q.differences = append(q.differences, d)
		}
	}
}

// keyWalk goes through a state's keys in their order.
type keyWalk struct {
	c        *Console
	ctx      context.Context // the holder's of the state
	req      *stelev1.ListRequest
	page     []*stelev1.Entry
	begun    bool
	passed   int
	revision uint64
}

// peek returns the next entry; nil after the last.
func (w *keyWalk) peek() (*stelev1.Entry, error) {
	for len(w.page) == 0 && (!w.begun || w.req.PageToken != "") {
		resp, err := w.c.config.List(w.ctx, w.req)
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

// stateOf is the state after a revision.
func stateOf(t ledger.Tenant, revision uint64) place {
	return place{tenant: t, at: ledger.Revision(revision)}
}

func changesOfAll(list []difference) []keyChange {
	out := make([]keyChange, len(list))
	for i, d := range list {
		out[i] = d.keyChange
	}
	return out
}

func emptyFrom(q *comparison) string {
	if q.with != "" {
		return "the newest"
	}
	return "@42 or 2026-01-31T17:45"
}
