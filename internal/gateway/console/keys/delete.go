package keys

import (
	"net/http"

	"github.com/stelehq/stele/internal/gateway/console/form"
	"github.com/stelehq/stele/internal/gateway/console/page"
	"github.com/stelehq/stele/internal/gateway/console/review"
	"github.com/stelehq/stele/internal/gateway/reason"
	"github.com/stelehq/stele/internal/ledger"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// ShowDelete asks for confirmation of a deletion.
func ShowDelete(v *page.View) error { return askDelete(v, http.StatusOK, "") }

func askDelete(v *page.View, code int, problem string) error {
	if _, err := ledger.ParseKey(v.Rest); err != nil {
		return page.ErrNotFound
	}
	k := &keyView{key: v.Rest}
	if err := v.Load(readEntry(v, k, false), readLayers(v, k)); err != nil {
		return err
	}
	if !v.May("write", k.key) {
		return status.Error(codes.PermissionDenied, "to delete this key, you need the permission write")
	}
	if k.entry == nil || k.inherited() { // the tenant has no value of its own
		return page.ErrNotFound
	}
	k.form = k.newForm()
	k.form.Message = v.R.FormValue("message")
	plan, err := review.Plan(v.Ctx, v, deletion(k.form))
	if _, shown := k.form.explain(err); err != nil && !shown {
		return err
	}
	return v.Show(code, k.deleteLabel()+": "+k.key, v.ReadCommand("delete", k.key, "-m", "REASON"), deletePage(v, k, plan, also(k.form.problem, problem)))
}

// deletion is the change set that deletes the form's key.
func deletion(f writeForm) *stelev1.CommitRequest {
	return &stelev1.CommitRequest{
		Changes:       []*stelev1.Change{{Key: f.Key, Delete: true}},
		Preconditions: []*stelev1.Precondition{f.Precondition()},
		Message:       f.Message, RequestId: f.RequestID("delete"),
	}
}

// Delete deletes a key.
func Delete(v *page.View) error {
	f := writeForm{Write: form.Parse(v.R)}
	f.Key = v.Rest
	resp, err := v.Ledger.Commit(v.Ctx, deletion(f))
	if err == nil {
		return v.Redirect(page.CommitPath(v.Tenant, resp.Revision))
	}
	code, shown := f.explain(err)
	switch {
	case !shown:
		return err
	case status.Code(err) == codes.PermissionDenied:
		return err
	case reason.Of(err) == reason.PreconditionFailed:
		return askDelete(v, code, "Nothing was deleted: the key has changed meanwhile. This is its value now.")
	}
	return askDelete(v, code, page.Message(err))
}
