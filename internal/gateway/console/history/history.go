// Package history has the pages of commits: the history of a tenant, one commit with
// its proof, and its revert.
package history

import (
	"cmp"
	"context"
	"net/http"
	"time"

	"github.com/stelehq/stele/internal/gateway/console/format"
	"github.com/stelehq/stele/internal/gateway/console/page"
	"github.com/stelehq/stele/internal/wire"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
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
		if err == nil && len(l.commits) == 0 && l.next == "" && req.Keys != nil {
			err = checkKeys(ctx, v, req)
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

// checkKeys returns an error if no commit has changed the keys of a request, whatever its other
// filters: then they are mistyped.
func checkKeys(ctx context.Context, v *page.View, req *stelev1.ListCommitsRequest) error {
	got, err := v.Ledger.ListCommits(ctx, &stelev1.ListCommitsRequest{Keys: req.Keys, PageSize: 1, OmitValues: true})
	if err == nil && len(got.Commits) == 0 && got.NextPageToken == "" {
		err = status.Errorf(codes.NotFound, "no commit has changed a key under %q: check the spelling", cmp.Or(req.GetKey(), req.GetPrefix()))
	}
	return err
}

// dayOf is the day of a commit, in UTC, under which the history lists it.
func dayOf(info *stelev1.CommitInfo) string {
	return wire.EffectiveTime(info).Format(time.DateOnly)
}

// namedChanges are the changes that a commit's line in the history names.
func namedChanges(c *stelev1.Commit) []*stelev1.Change {
	return c.Changes[:min(len(c.Changes), keysShown)]
}

// moreKeys counts the keys that a commit's line does not name; empty if it names all.
func moreKeys(info *stelev1.CommitInfo) string {
	more := len(info.Commit.Changes) - keysShown
	switch {
	case info.MoreChanges:
		return "and more than " + format.Plural(max(more, 0), "other key")
	case more > 0:
		return "and " + format.Plural(more, "more key")
	}
	return ""
}
