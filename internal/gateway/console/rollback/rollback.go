// Package rollback has the page that previews a rollback, and does it.
package rollback

import (
	"cmp"
	"context"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/stelehq/stele/internal/gateway/console/diff"
	"github.com/stelehq/stele/internal/gateway/console/form"
	"github.com/stelehq/stele/internal/gateway/console/format"
	"github.com/stelehq/stele/internal/gateway/console/page"
	"github.com/stelehq/stele/internal/gateway/console/review"
	"github.com/stelehq/stele/internal/gateway/reason"
	"github.com/stelehq/stele/internal/ledger"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// view is what a rollback would change.
type view struct {
	to, prefix, message string // as the form has them
	form                string // names it: sent twice, it is written once

	preview *stelev1.RollbackResponse // nil before a state is chosen
	effects review.Effects
	changes []diff.Change // those on the page
	from    int
	problem string
	since   []*stelev1.CommitInfo // what came after an earlier preview
	done    *stelev1.CommitInfo   // the commit that has rolled back
}

func (r *view) total() int { return len(r.preview.GetChanges()) }

// choosable reports whether some of the keys can be chosen.
func (r *view) choosable(v *page.View) bool {
	return r.preview.GetToRevision() > 0 && v.MayUnder("write", r.prefix)
}

// page is the same preview from a change on.
func (r *view) page(v *page.View, from int) string {
	q := url.Values{"to": {r.to}, "prefix": {r.prefix}, "from": {strconv.Itoa(from)}}
	return v.ToNewest("rollback", "") + "?" + q.Encode()
}

// Show previews a rollback to the state of the URL, or of the form.
func Show(v *page.View) error {
	if n := v.QueryInt("done"); n > 0 {
		return showRolledBack(v, uint64(n))
	}
	r := &view{to: v.Query("to"), prefix: v.Query("prefix"), from: v.QueryInt("from")}
	if r.to == "" && v.At != 0 {
		r.to = v.At.String()
	}
	return previewRollback(v, http.StatusOK, r)
}

func previewRollback(v *page.View, code int, r *view) error {
	r.form = cmp.Or(r.form, form.NewName())
	err := v.Load(func(ctx context.Context) error {
		if r.to == "" {
			return nil
		}
		to, err := v.ParseAsOf(ctx, "to", r.to)
		if err == nil {
			r.preview, err = v.Ledger.Rollback(ctx, &stelev1.RollbackRequest{To: to, Prefix: r.prefix, DryRun: true})
		}
		if err == nil {
			r.from = min(max(r.from, 0), max(r.total()-1, 0)) / diff.OnPage * diff.OnPage
			r.effects = review.EffectsOf(ctx, v, r.preview)
			r.changes, err = diff.Preview(ctx, v, r.preview.Changes[r.from:min(r.from+diff.OnPage, r.total())], r.preview.Head)
			if err == nil && r.total() == 0 {
				if err = v.CheckPrefix(ctx, r.prefix, r.preview.Head, r.preview.ToRevision); err != nil {
					r.preview = nil
				}
			}
		}
		if page.BadField(err) {
			code, r.problem, err = http.StatusBadRequest, page.Message(err), nil
		}
		return err
	})
	if err != nil {
		return err
	}
	return v.Show(code, "Roll back", r.command(v), rollbackPage(v, r))
}

// command is the equivalent on the command line.
func (r *view) command(v *page.View) page.Command {
	return v.Command("rollback", "--to", cmp.Or(page.CommandAsOf(r.to), "@REVISION"), r.prefix, "-m", cmp.Or(r.message, "REASON"))
}

// RollBack rolls back, if the head is still the one of the preview.
func RollBack(v *page.View) error {
	revision, err := strconv.ParseUint(v.R.PostFormValue("revision"), 10, 64)
	if err != nil {
		return status.Error(codes.InvalidArgument, "the form names no revision: load the page again")
	}
	f := form.Parse(v.R)
	r := &view{to: ledger.Revision(revision).String(), prefix: v.Query("prefix"), message: f.Message, form: f.Name}
	resp, err := v.Ledger.Rollback(v.Ctx, &stelev1.RollbackRequest{
		To: page.Revision(revision), Prefix: r.prefix, Message: r.message,
		ExpectedHead: &f.Expected, ExpectedHeadId: f.Commit, RequestId: f.RequestID("rollback " + r.to + " " + r.prefix),
	})
	switch rejection, shown := page.RejectionOf(err); {
	case err == nil && resp.Commit == nil:
		return previewRollback(v, http.StatusOK, r)
	case err == nil:
		return v.Redirect(v.ToNewest("rollback", "") + "?done=" + format.Number(resp.Commit.Revision))
	case reason.Of(err) == reason.HistoryChanged:
		r.form = ""
		return previewRollback(v, http.StatusConflict, r)
	case reason.Of(err) == reason.PreconditionFailed:
		since, err := v.Ledger.ListCommits(v.Ctx, &stelev1.ListCommitsRequest{
			Since: page.Revision(f.Expected + 1), PageSize: 20, OmitValues: true,
		})
		if err != nil {
			return err
		}
		r.since, r.form = since.Commits, ""
		return previewRollback(v, http.StatusConflict, r)
	case shown && status.Code(err) != codes.PermissionDenied:
		r.problem = rejection.Text()
		return previewRollback(v, rejection.Status, r)
	}
	return err
}

// showRolledBack shows the result, and how to undo it.
func showRolledBack(v *page.View, revision uint64) error {
	r := &view{}
	err := v.Load(func(ctx context.Context) error {
		got, err := v.Ledger.GetCommit(ctx, &stelev1.GetCommitRequest{Commit: &stelev1.GetCommitRequest_Revision{Revision: revision}, MinRevision: revision})
		r.done = got.GetInfo()
		return err
	})
	if err != nil {
		return err
	}
	if r.done.GetCommit().GetOrigin().GetRollback() == nil {
		return page.ErrNotFound
	}
	return v.Show(http.StatusOK, "Rolled back", v.ReadCommand("revert", ledger.Revision(revision).String()), rolledBackPage(v, r))
}

// Path is the preview of a rollback to a revision.
func Path(t ledger.Tenant, revision uint64, prefix string) string {
	return page.Address{Tenant: t}.To("rollback", "") + "?" + url.Values{"to": {ledger.Revision(revision).String()}, "prefix": {prefix}}.Encode()
}

// effectOf describes how many keys a rollback sets and deletes.
func effectOf(preview *stelev1.RollbackResponse) string {
	var parts []string
	if n := int(preview.Sets); n > 0 {
		parts = append(parts, "set "+format.Plural(n, "key"))
	}
	if n := int(preview.Deletes); n > 0 {
		parts = append(parts, "delete "+format.Plural(n, "key"))
	}
	return strings.Join(parts, " and ")
}

// counted describes how many keys a commit sets and deletes.
func counted(c *stelev1.Commit) string {
	deleted := 0
	for _, ch := range c.Changes {
		if ch.Delete {
			deleted++
		}
	}
	text := format.Plural(len(c.Changes)-deleted, "key") + " set"
	if deleted > 0 {
		text += ", " + format.Plural(deleted, "key") + " deleted"
	}
	return text
}
