package history

import (
	"context"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/stelehq/stele/internal/gateway/console/diff"
	"github.com/stelehq/stele/internal/gateway/console/form"
	"github.com/stelehq/stele/internal/gateway/console/format"
	"github.com/stelehq/stele/internal/gateway/console/page"
	"github.com/stelehq/stele/internal/gateway/console/review"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// revertView is what a revert would change.
type revertView struct {
	revision uint64
	changes  []diff.Change
	effects  review.Effects
	more     int        // changes that are not shown
	form     form.Write // Expected is the head of the preview
	problem  string
	later    []laterCommit // that block it
}

// laterCommit changed a key after the commit that was to be reverted.
type laterCommit struct {
	key      string
	revision uint64
}

// laterCommits returns the commits in an error that block a revert.
func laterCommits(err error) []laterCommit {
	failed, _ := page.Detail[*errdetails.PreconditionFailure](err)
	info, _ := page.Detail[*errdetails.ErrorInfo](err)
	later := strings.Split(info.GetMetadata()["later"], ",") // one for each violation
	var out []laterCommit
	for i, v := range failed.GetViolations() {
		if v.Type != "LATER_COMMIT" || i >= len(later) {
			continue
		}
		if revision, err := strconv.ParseUint(later[i], 10, 64); err == nil {
			out = append(out, laterCommit{v.Subject, revision})
		}
	}
	return out
}

// mayRevert reports whether the user may write all keys that a commit changed.
func mayRevert(v *page.View, info *stelev1.CommitInfo) bool {
	return len(info.Commit.Changes) > 0 && !info.Partial && !slices.ContainsFunc(info.Commit.Changes, func(c *stelev1.Change) bool {
		return !v.May("write", c.Key)
	})
}

// showRevert previews what a revert would change.
func showRevert(v *page.View, code int, revision uint64, problem string) error {
	view := &revertView{revision: revision, form: form.Write{Name: form.NewName(), Message: v.R.FormValue("message")}, problem: problem}
	err := v.Load(func(ctx context.Context) error {
		preview, err := v.Ledger.Revert(ctx, &stelev1.RevertRequest{Revisions: []uint64{revision}, DryRun: true})
		if status.Code(err) == codes.FailedPrecondition {
			code, view.later, view.problem = http.StatusConflict, laterCommits(err), page.Message(err)
			return nil
		}
		if err != nil {
			return err
		}
		view.form.Expected, view.form.Commit, view.more = preview.Head, preview.HeadId, max(len(preview.Changes)-diff.OnPage, 0)
		view.effects = review.EffectsOf(ctx, v, preview)
		view.changes, err = diff.Preview(ctx, v, preview.Changes[:len(preview.Changes)-view.more], preview.Head)
		return err
	})
	if err != nil {
		return err
	}
	return v.Show(code, "Revert "+format.Revision(revision), v.Command("revert", format.Revision(revision)), revertPage(v, view))
}

// revert reverts a commit, as it was previewed.
func revert(v *page.View, revision uint64) error {
	f := form.Parse(v.R)
	resp, err := v.Ledger.Revert(v.Ctx, &stelev1.RevertRequest{
		Revisions: []uint64{revision}, Message: f.Message, ExpectedHead: &f.Expected, ExpectedHeadId: f.Commit, RequestId: f.RequestID("revert " + format.Number(revision)),
	})
	switch rejection, shown := page.RejectionOf(err); {
	case status.Code(err) == codes.FailedPrecondition:
		return showRevert(v, http.StatusConflict, revision, "Nothing was written: there is a newer commit than this was previewed at. Look at it again.")
	case shown && status.Code(err) != codes.PermissionDenied:
		return showRevert(v, rejection.Status, revision, rejection.Text())
	case err != nil:
		return err
	case resp.Commit == nil:
		return showRevert(v, http.StatusOK, revision, "")
	}
	return v.Redirect(page.CommitPath(v.Tenant, resp.Commit.Revision))
}
