// Package history has the pages of commits: the history of a tenant, one commit with
// its proof, and its revert.
package history

import (
	"context"
	"net/http"

	"github.com/stelehq/stele/internal/gateway/console/page"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
)

const (
	// commitsOnPage is how many commits a page of the history has.
	commitsOnPage = 50
	// keysShown is how many of a commit's keys its line in the history names.
	keysShown = 3
)

// list is a page of the history.
type list struct {
	Filters
	commits []*stelev1.CommitInfo
	next    string // the next page's address; empty on the last
	problem string
}

// Show shows commits, newest first.
func Show(v *page.View) error {
	l := &list{Filters: parseFilters(v)}
	code := http.StatusOK
	err := v.Load(func(ctx context.Context) error {
		req, err := l.request(ctx, v)
		if err == nil {
			err = l.read(ctx, v, req)
		}
		if page.BadField(err) {
			code, l.problem, err = http.StatusBadRequest, page.Message(err), nil
		}
		return err
	})
	if err != nil {
		return err
	}
	return v.Show(code, "History", l.Command(v), historyPage(v, l))
}

func (l *list) read(ctx context.Context, v *page.View, req *stelev1.ListCommitsRequest) error {
	got, err := v.Ledger.ListCommits(ctx, req)
	l.commits = got.GetCommits()
	if token := got.GetNextPageToken(); token != "" {
		q := l.query()
		q.Set("page", token)
		l.next = v.To("history", "") + "?" + q.Encode()
	}
	return err
}

// namedChanges are the changes that a commit's line in the history names.
func namedChanges(c *stelev1.Commit) []*stelev1.Change {
	return c.Changes[:min(len(c.Changes), keysShown)]
}
