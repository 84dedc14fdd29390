package console

import (
	"cmp"
	"context"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/google/uuid"
	"github.com/stelehq/stele/internal/ledger"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// rollbackView is what going back would change.
type rollbackView struct {
	to, prefix, message string // as the form has them
	form                string // names it: sent twice, it is written once

	preview *stelev1.RollbackResponse // nil before a moment is chosen
	changes []keyChange               // those on the page
	from    int
	problem string
	since   []*stelev1.CommitInfo // what came after an earlier preview
	done    *stelev1.CommitInfo   // the commit that has rolled back
}

func (r *rollbackView) total() int { return len(r.preview.GetChanges()) }

// page is the same preview from a change on.
func (r *rollbackView) page(v *visit, from int) string {
	q := url.Values{"to": {r.to}, "prefix": {r.prefix}, "from": {strconv.Itoa(from)}}
	return place{tenant: v.tenant}.to("rollback", "") + "?" + q.Encode()
}

// showRollback previews going back to the state of the URL, or of the form.
func (c *Console) showRollback(v *visit) error {
	if n := number(v.r.FormValue("done")); n > 0 {
		return c.showRolledBack(v, uint64(n))
	}
	r := &rollbackView{to: strings.TrimSpace(v.r.FormValue("to")), prefix: strings.TrimSpace(v.r.FormValue("prefix")), from: number(v.r.FormValue("from"))}
	if r.to == "" && v.at != 0 {
		r.to = v.at.String()
	}
	return c.previewRollback(v, http.StatusOK, r)
}

func (c *Console) previewRollback(v *visit, code int, r *rollbackView) error {
	r.form = cmp.Or(r.form, uuid.NewString())
	err := v.load(func(ctx context.Context) error {
		if r.to == "" {
			return nil
		}
		to, err := momentOf("to", r.to)
		if err == nil {
			r.preview, err = c.ledger.Rollback(ctx, &stelev1.RollbackRequest{To: to, Prefix: r.prefix, DryRun: true})
		}
		switch status.Code(err) {
		case codes.OK:
			r.from = min(max(r.from, 0), max(r.total()-1, 0)) / changesOnPage * changesOnPage
			r.changes, err = c.compared(ctx, r.preview.Changes[r.from:min(r.from+changesOnPage, r.total())], r.preview.Head)
		case codes.InvalidArgument, codes.OutOfRange:
			code, r.problem, err = http.StatusBadRequest, statusMessage(err), nil
		}
		return err
	})
	if err != nil {
		return err
	}
	return v.show(code, "Roll back", r.command(v), rollbackPage(v, r))
}

func (r *rollbackView) command(v *visit) command {
	words := []string{"-t", string(v.tenant), "rollback", "--to", cmp.Or(commandMoment(r.to), "@REVISION")}
	if r.prefix != "" {
		words = append(words, r.prefix)
	}
	return append(words, "-m", cmp.Or(r.message, "REASON"))
}

// rollBack goes back, if the head is still the one of the preview.
func (c *Console) rollBack(v *visit) error {
	revision, err := strconv.ParseUint(v.r.PostFormValue("revision"), 10, 64)
	head, errHead := strconv.ParseUint(v.r.PostFormValue("head"), 10, 64)
	if err != nil || errHead != nil {
		return status.Error(codes.InvalidArgument, "the form names no revision: begin again")
	}
	r := &rollbackView{
		to: ledger.Revision(revision).String(), prefix: strings.TrimSpace(v.r.PostFormValue("prefix")),
		message: strings.TrimSpace(v.r.PostFormValue("message")), form: v.r.PostFormValue("form"),
	}
	resp, err := c.ledger.Rollback(v.ctx, &stelev1.RollbackRequest{
		To: &stelev1.At{Point: &stelev1.At_Revision{Revision: revision}}, Prefix: r.prefix, Message: r.message,
		ExpectedHead: &head, ExpectedHeadId: commitOf(v.r), RequestId: writeForm{name: r.form, message: r.message, expected: head}.requestID("rollback " + r.to + " " + r.prefix),
	})
	switch {
	case err == nil && resp.Commit == nil:
		return c.previewRollback(v, http.StatusOK, r)
	case err == nil:
		return v.redirect(place{tenant: v.tenant}.to("rollback", "") + "?done=" + strconv.FormatUint(resp.Commit.Revision, 10))
	case reasonOf(err) == "HISTORY_CHANGED":
		r.form = ""
		return c.previewRollback(v, http.StatusConflict, r)
	case reasonOf(err) == "PRECONDITION_FAILED":
		since, err := c.ledger.ListCommits(v.ctx, &stelev1.ListCommitsRequest{
			Since: &stelev1.At{Point: &stelev1.At_Revision{Revision: head + 1}}, PageSize: 20, OmitValues: true,
		})
		if err != nil {
			return err
		}
		r.since, r.form = since.Commits, ""
		return c.previewRollback(v, http.StatusConflict, r)
	case status.Code(err) == codes.InvalidArgument:
		r.problem = statusMessage(err)
		return c.previewRollback(v, http.StatusBadRequest, r)
	}
	return err
}

// showRolledBack shows the result, and how to undo it.
func (c *Console) showRolledBack(v *visit, revision uint64) error {
	r := &rollbackView{}
	err := v.load(func(ctx context.Context) error {
		got, err := c.ledger.GetCommit(ctx, &stelev1.GetCommitRequest{Commit: &stelev1.GetCommitRequest_Revision{Revision: revision}, MinRevision: revision})
		r.done = got.GetInfo()
		return err
	})
	if err != nil {
		return err
	}
	if r.done.GetCommit().GetOrigin().GetRollback() == nil {
		return errNoPlace
	}
	return v.show(http.StatusOK, "Rolled back", v.command("revert", ledger.Revision(revision).String()), rolledBackPage(v, r))
}

// rollbackLink previews going back to a revision.
func rollbackLink(t ledger.Tenant, revision uint64, prefix string) string {
	return place{tenant: t}.to("rollback", "") + "?" + url.Values{"to": {ledger.Revision(revision).String()}, "prefix": {prefix}}.Encode()
}

// counted describes how many keys a commit sets and deletes.
func counted(c *stelev1.Commit) string {
	deleted := 0
	for _, ch := range c.Changes {
		if ch.Delete {
			deleted++
		}
	}
	text := plural(len(c.Changes)-deleted, "key") + " set"
	if deleted > 0 {
		text += ", " + plural(deleted, "key") + " deleted"
	}
	return text
}
