// Package search has the pages that search names, values and reasons: of one tenant, and
// for operators of all. It also has the list of the command palette.
package search

import (
	"context"
	"net/http"
	"net/url"
	"regexp"

	"github.com/stelehq/stele/internal/gateway/console/page"
	"github.com/stelehq/stele/internal/gateway/task"
	"github.com/stelehq/stele/internal/ledger"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
)

const (
	// matchesOnPage is how many keys a page shows, and matchesOfTenant how many of each
	// tenant if all are searched.
	matchesOnPage   = 100
	matchesOfTenant = 10
	// reasonsOnPage is how many commits a page shows.
	reasonsOnPage = 20
	// maxCalls continue a search whose calls find little: each looks at a bounded number of
	// keys.
	maxCalls = 5
	// tenantsOnPage are searched at once, tenantsTogether of them at a time.
	tenantsOnPage, tenantsTogether = 50, 4
	// longestReason is the longest text that reasons are searched for, in bytes.
	longestReason = 256
)

// query is what a form asks for.
type query struct {
	text, prefix, path, where string
	regex                     bool
}

func parse(v *page.View) query {
	return query{v.Query("q"), v.Query("prefix"), v.Query("path"), v.Query("where"), v.Query("regex") != ""}
}

func (q query) asked() bool { return q.text != "" || q.where != "" }

// values are the query as an address has it.
func (q query) values() url.Values {
	out := url.Values{}
	for name, value := range map[string]string{"q": q.text, "prefix": q.prefix, "path": q.path, "where": q.where} {
		if value != "" {
			out.Set(name, value)
		}
	}
	if q.regex {
		out.Set("regex", "1")
	}
	return out
}

// pattern is the text as a regular expression.
func (q query) pattern() string {
	if q.regex {
		return q.text
	}
	return regexp.QuoteMeta(q.text)
}

// request searches names and values. Text is searched in any case, a regular expression
// says itself.
func (q query) request() *stelev1.SearchRequest {
	return &stelev1.SearchRequest{Prefix: q.prefix, Pattern: q.pattern(), IgnoreCase: !q.regex, Path: q.path, Where: q.where, PageSize: matchesOnPage}
}

// searchesReasons reports whether the query can also be asked of reasons.
func (q query) searchesReasons() bool {
	return q.text != "" && len(q.text) <= longestReason && !q.regex && q.path == "" && q.where == ""
}

// match is a key that matches.
type match struct {
	tenant ledger.Tenant
	*stelev1.SearchMatch
}

// reason is a commit whose reason matches.
type reason struct {
	tenant ledger.Tenant
	*stelev1.CommitInfo
}

// results are what was found.
type results struct {
	query
	matches  []match
	reasons  []reason
	searched uint64          // keys
	skipped  uint64          // secrets, whose values are not searched
	next     string          // the address that continues the search; empty at its end
	tenants  int             // that were searched; 0 for one
	partly   []ledger.Tenant // tenants of which not all keys were searched
	problem  string
}

// Show searches a tenant.
func Show(v *page.View) error {
	r := &results{query: parse(v)}
	return show(v, r, func(ctx context.Context) error {
		return page.Together(ctx, func(ctx context.Context) error {
			return r.searchTenant(ctx, v)
		}, func(ctx context.Context) error {
			if !r.searchesReasons() || v.R.FormValue("page") != "" {
				return nil
			}
			list, err := v.Ledger.ListCommits(ctx, &stelev1.ListCommitsRequest{Grep: r.text, Until: v.AsOf(), PageSize: reasonsOnPage, OmitValues: true})
			for _, info := range list.GetCommits() {
				r.reasons = append(r.reasons, reason{v.Tenant, info})
			}
			return err
		})
	})
}

func (r *results) searchTenant(ctx context.Context, v *page.View) error {
	req := r.request()
	req.At, req.PageToken = v.AsOf(), v.R.FormValue("page")
	for range maxCalls {
		got, err := v.Config.Search(ctx, req)
		if err != nil {
			return err
		}
		r.add(v.Tenant, got)
		if req.PageToken = got.NextPageToken; req.PageToken == "" || len(r.matches) >= matchesOnPage {
			break
		}
	}
	if req.PageToken != "" {
		q := r.values()
		q.Set("page", req.PageToken)
		r.next = v.To("search", "") + "?" + q.Encode()
	}
	return nil
}

func (r *results) add(t ledger.Tenant, got *stelev1.SearchResponse) {
	for _, m := range got.Matches {
		r.matches = append(r.matches, match{t, m})
	}
	r.searched += uint64(got.Searched)
	r.skipped += uint64(got.SecretsSkipped)
}

// ShowAll searches all tenants, for operators.
func ShowAll(v *page.View) error {
	r := &results{query: parse(v)}
	return show(v, r, func(ctx context.Context) error {
		return page.Together(ctx, func(ctx context.Context) error {
			return r.searchTenants(ctx, v)
		}, func(ctx context.Context) error {
			if !r.searchesReasons() || v.R.FormValue("page") != "" {
				return nil
			}
			list, err := v.Ledger.ListAllCommits(ctx, &stelev1.ListAllCommitsRequest{Grep: r.text, PageSize: reasonsOnPage, OmitValues: true})
			for _, c := range list.GetCommits() {
				r.reasons = append(r.reasons, reason{ledger.Tenant(c.Info.Commit.Tenant), c.Info})
			}
			return err
		})
	})
}

// searchTenants searches a page of the tenants, each with a call of its own.
func (r *results) searchTenants(ctx context.Context, v *page.View) error {
	list, err := v.Ledger.ListTenants(ctx, &stelev1.ListTenantsRequest{PageSize: tenantsOnPage, PageToken: v.R.FormValue("page")})
	if err != nil {
		return err
	}
	answers := make([]*stelev1.SearchResponse, len(list.Tenants))
	group, ctx := task.WithContext(ctx)
	group.SetLimit(tenantsTogether)
	for i, t := range list.Tenants {
		group.Go(func() (err error) {
			if err := ctx.Err(); err != nil { // another search has failed, or another part of the page
				return err
			}
			req := r.request()
			req.PageSize = matchesOfTenant
			theirs := page.WithToken(v.R.Context(), v.Cookies.Token(v.R), ledger.Tenant(t.Tenant))
			answers[i], err = v.Config.Search(theirs, req)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	for i, t := range list.Tenants {
		r.add(ledger.Tenant(t.Tenant), answers[i])
		if answers[i].NextPageToken != "" {
			r.partly = append(r.partly, ledger.Tenant(t.Tenant))
		}
	}
	r.tenants = len(list.Tenants)
	if list.NextPageToken != "" {
		q := r.values()
		q.Set("page", list.NextPageToken)
		r.next = "/search?" + q.Encode()
	}
	return nil
}

// show shows the form, and the results if it asks for something.
func show(v *page.View, r *results, search func(context.Context) error) error {
	code := http.StatusOK
	err := v.Load(func(ctx context.Context) error {
		if !r.asked() {
			return nil
		}
		err := search(ctx)
		if page.BadField(err) {
			code, r.problem, err = http.StatusBadRequest, page.Message(err), nil
		}
		return err
	})
	if err != nil {
		return err
	}
	return v.Show(code, "Search", r.command(v), searchPage(v, r))
}

// command is the equivalent on the command line.
func (r *results) command(v *page.View) page.Command {
	if !r.asked() {
		return nil
	}
	words := []string{"grep"}
	if !r.regex {
		words = append(words, "-i")
	}
	if v.Tenant == "" {
		words = append(words, "--all-tenants")
	}
	if r.path != "" {
		words = append(words, "--path", r.path)
	}
	if r.where != "" {
		words = append(words, "--where", r.where)
	}
	words = append(words, r.pattern(), r.prefix)
	if v.Tenant == "" {
		var c page.Command
		for _, w := range words {
			if w != "" {
				c = append(c, w)
			}
		}
		return c
	}
	return v.ReadCommand(words...)
}
