// Package compare has the page that compares two states of a tenant, or two tenants.
package compare

import (
	"cmp"
	"context"
	"net/http"
	"net/url"

	"github.com/stelehq/stele/internal/gateway/console/changes"
	"github.com/stelehq/stele/internal/gateway/console/diff"
	"github.com/stelehq/stele/internal/gateway/console/page"
	"github.com/stelehq/stele/internal/ledger"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
)

// differencesOnPage is how many differences of two states a page shows.
const differencesOnPage = 100

// comparison is two states, and what differs.
type comparison struct {
	// As the form has them; with is another tenant, whose state is the newer side.
	from, to, prefix, with string

	differences []difference
	// The revisions of the two states, once they are known.
	fromRevision, toRevision uint64
	next                     string // the next page's query; empty on the last
	more                     bool   // not all keys were compared
	problem                  string
}

// difference is one key in the two states, and the revisions that made it so.
type difference struct {
	diff.Change
	fromRevision, toRevision uint64
}

// asked reports whether there is something to compare.
func (q *comparison) asked() bool { return q.from != "" || q.with != "" }

// newer is the tenant of the newer state.
func (q *comparison) newer(v *page.View) ledger.Tenant {
	return cmp.Or(ledger.Tenant(q.with), v.Tenant)
}

// Show shows the differences between two states of a tenant, or between two tenants,
// for users with access to both.
func Show(v *page.View) error {
	q := &comparison{from: v.Query("from"), to: v.Query("to"), prefix: v.Query("prefix"), with: v.Query("with")}
	if q.with == string(v.Tenant) {
		q.with = ""
	}
	err := v.Load(func(ctx context.Context) (err error) {
		switch {
		case q.with != "":
			err = q.compareTenants(ctx, v)
		case q.asked():
			err = q.compareStates(ctx, v)
		}
		if page.BadField(err) {
			q.problem, err = page.Message(err), nil
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
	return v.Show(code, "Compare", q.command(v), comparePage(v, q))
}

// command is the equivalent on the command line.
func (q *comparison) command(v *page.View) page.Command {
	if q.with != "" {
		return nil // no single command compares tenants
	}
	return v.Command("diff", cmp.Or(page.CommandAsOf(q.from), "@1"), page.CommandAsOf(q.to), q.prefix)
}

func (q *comparison) compareStates(ctx context.Context, v *page.View) error {
	req := &stelev1.DiffRequest{Prefix: q.prefix, PageSize: differencesOnPage, PageToken: v.R.FormValue("page")}
	var err error
	if req.From, err = v.ParseAsOf(ctx, "from", q.from); err != nil {
		return err
	}
	if req.To, err = v.ParseAsOf(ctx, "to", q.to); err != nil {
		return err
	}
	resp, err := v.Ledger.Diff(ctx, req)
	if err != nil {
		return err
	}
	q.fromRevision, q.toRevision = resp.FromRevision, resp.ToRevision
	for _, d := range resp.Diffs {
		q.differences = append(q.differences, difference{diff.OfKey(d), d.FromRevision, d.ToRevision})
	}
	if resp.NextPageToken != "" {
		q.nextPage(v, "page", resp.NextPageToken)
	} else if len(q.differences) == 0 {
		return v.CheckPrefix(ctx, q.prefix, q.fromRevision, q.toRevision)
	}
	return nil
}

// nextPage sets the address of the next page: the one of this page, with another parameter.
func (q *comparison) nextPage(v *page.View, name, value string) {
	form := v.R.URL.Query()
	form.Set(name, value)
	q.next = v.R.URL.Path + "?" + form.Encode()
}

// swapped is the address of a comparison of tenants with its sides exchanged.
func (q *comparison) swapped(v *page.View) string {
	form := url.Values{"from": {q.to}, "to": {q.from}, "with": {string(v.Tenant)}, "prefix": {q.prefix}}
	return page.Address{Tenant: ledger.Tenant(q.with)}.To("compare", "") + "?" + form.Encode()
}

// copyings are the change sets that the differences can be chosen for.
func (q *comparison) copyings(v *page.View) (out []changes.Copying) {
	older, newer := page.StateAt(v.Tenant, q.fromRevision), page.StateAt(q.newer(v), q.toRevision)
	add := func(to ledger.Tenant, from page.Address) {
		if from.At != 0 && (to != v.Tenant || v.MayUnder("write", q.prefix)) { // the gateway decides about the other tenant
			out = append(out, changes.Copying{To: to, From: from})
		}
	}
	switch {
	case q.with != "":
		add(v.Tenant, newer)
		add(newer.Tenant, older)
	case q.to != "":
		add(v.Tenant, older)
		add(v.Tenant, newer)
	default:
		add(v.Tenant, older)
	}
	return out
}

// chooser is the form that differences are chosen for; empty if they cannot be.
func (q *comparison) chooser(v *page.View) string {
	if len(q.differences) == 0 || len(q.copyings(v)) == 0 {
		return ""
	}
	return changes.ChoiceForm
}

// changes are the differences without their revisions.
func (q *comparison) changes() []diff.Change {
	out := make([]diff.Change, len(q.differences))
	for i, d := range q.differences {
		out[i] = d.Change
	}
	return out
}

func emptyFrom(q *comparison) string {
	if q.with != "" {
		return "the newest"
	}
	return "@42, 2h ago or 2026-01-31"
}
