package keys

import (
	"cmp"
	"context"
	"net/http"
	"strings"

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

// setWords are the equivalent command of the form.
var setWords = []string{"set", "KEY", "VALUE", "-m", "REASON"}

// ShowNew is the form of a key that is not set.
func ShowNew(v *page.View) error {
	if err := v.Load(); err != nil {
		return err
	}
	if v.Head.GetSnapshot().GetHead() == 0 && v.Operator() {
		return v.Show(http.StatusNotFound, "No such tenant", nil, noTenantPage(v))
	}
	if !v.MayUnder("write", v.Rest) {
		return status.Error(codes.PermissionDenied, "to set a key here, you need the permission write")
	}
	f := writeForm{Write: form.Write{Key: v.Rest, Name: form.NewName()}}
	return v.Show(http.StatusOK, "New key", v.ReadCommand(setWords...), newKeyPage(v, f))
}

// Create sets a key that is not set.
func Create(v *page.View) error {
	f := writeForm{Write: form.Parse(v.R)}
	f.Key = v.Query("key")
	return write(v, f, true)
}

// Save sets a key to another value.
func Save(v *page.View) error {
	f := writeForm{Write: form.Parse(v.R)}
	f.Key = v.Rest
	return write(v, f, false)
}

// action is the address that the form is submitted to.
func (f writeForm) action(t ledger.Tenant, isNew bool) string {
	if isNew {
		return page.Address{Tenant: t}.To("new", "")
	}
	return page.Address{Tenant: t}.To("keys", f.Key)
}

// writeForm is a form that writes a key, and its errors.
type writeForm struct {
	form.Write

	kept                                              bool // it returned from its review
	keyProblem, valueProblem, messageProblem, problem string
	why                                               string // the page that explains a denial
	conflict                                          *conflict
	schemas                                           []*stelev1.Schema // of the key, if it is known
}

// checked is the key whose schemas the form asks for. The key of a form for a new one is typed.
func (f writeForm) checked(isNew bool) string {
	if isNew {
		return ""
	}
	return f.Key
}

// rejected reports whether the form holds text that was not written.
func (f writeForm) rejected() bool {
	return f.kept || f.keyProblem+f.valueProblem+f.messageProblem+f.problem != "" || f.conflict != nil
}

// request is the change set of the form.
func (f writeForm) request() *stelev1.CommitRequest {
	return &stelev1.CommitRequest{
		Changes:       []*stelev1.Change{{Key: f.Key, Value: f.JSON()}},
		Preconditions: []*stelev1.Precondition{f.Precondition()},
		Message:       f.Message, RequestId: f.RequestID("set"),
	}
}

// write shows a form's review or commits its content, and then redirects to the key.
// Errors are shown in the form, with all input.
func write(v *page.View, f writeForm, isNew bool) error {
	switch v.R.PostFormValue("do") {
	case "review":
		return reviewWrite(v, f, isNew)
	case "merge":
		return merge(v, f, isNew)
	case "edit":
		f.kept = true
		return showForm(v, http.StatusOK, f, isNew)
	}
	resp, err := v.Ledger.Commit(v.Ctx, f.request())
	switch {
	case err != nil:
		return rejectWrite(v, f, isNew, err)
	case resp.Unchanged:
		return showUnchanged(v, f, isNew)
	}
	return v.Redirect(v.ToNewest("keys", f.Key) + "?written=" + format.Number(resp.Revision))
}

// reviewWrite shows what the form would change.
func reviewWrite(v *page.View, f writeForm, isNew bool) error {
	plan, err := review.Plan(v.Ctx, v, f.request())
	switch {
	case err != nil:
		return rejectWrite(v, f, isNew, err)
	case plan.Total == 0:
		return showUnchanged(v, f, isNew)
	}
	if err := v.Load(); err != nil {
		return err
	}
	return v.Show(http.StatusOK, "Review "+f.Key, v.ReadCommand("set", f.Key, "VALUE", "-m", cmp.Or(f.Message, "REASON")), reviewPage(v, f, isNew, plan))
}

func showUnchanged(v *page.View, f writeForm, isNew bool) error {
	f.valueProblem = "The key has this value already: nothing was written."
	return showForm(v, http.StatusOK, f, isNew)
}

// rejectWrite shows the form with the error that it was rejected for.
func rejectWrite(v *page.View, f writeForm, isNew bool, err error) error {
	code, shown := f.explain(err)
	if !shown {
		return err
	}
	if status.Code(err) == codes.PermissionDenied {
		f.why = page.AccessPath(v.Tenant, "write", f.Key)
	}
	if page.MovedOn(err) {
		if err := findConflict(v, &f); err != nil {
			return err
		}
	}
	return showForm(v, code, f, isNew)
}

// showForm shows the form again, with its errors and all input.
func showForm(v *page.View, code int, f writeForm, isNew bool) error {
	k := &keyView{key: f.Key}
	load := []func(context.Context) error{}
	if _, bad := ledger.ParseKey(f.Key); bad == nil && !isNew {
		load = append(load, readKey(v, k, false))
	}
	if err := v.Load(load...); err != nil {
		return err
	}
	if isNew {
		return v.Show(code, "New key", v.ReadCommand(setWords...), newKeyPage(v, f))
	}
	k.form, k.editing = f, true
	return showKeyView(v, code, k)
}

// explain puts the gateway's errors next to their fields in the form. It reports false
// for an error that is not about the form.
func (f *writeForm) explain(err error) (code int, shown bool) {
	r, shown := page.RejectionOf(err)
	if reason.Of(err) != reason.PreconditionFailed { // the form shows the conflict itself
		f.problem = r.Problem
	}
	for _, v := range r.Fields {
		what := format.Visible(v.Description)
		switch {
		case strings.HasSuffix(v.Field, ".key"):
			f.keyProblem = also(f.keyProblem, what)
		case strings.HasSuffix(v.Field, ".value") || v.Field == "changes[0]":
			f.valueProblem = also(f.valueProblem, strings.TrimPrefix(what, f.Key+": "))
		case v.Field == "message":
			f.messageProblem = also(f.messageProblem, what)
		default:
			f.problem = also(f.problem, v.Field+": "+what)
		}
	}
	return r.Status, shown
}

// also appends an error to earlier ones, on a line of its own.
func also(problem, next string) string {
	if problem == "" {
		return next
	}
	return problem + "\n" + next
}

// Raw downloads a key's value as it was written.
func Raw(v *page.View) error {
	if _, err := ledger.ParseKey(v.Rest); err != nil {
		return page.ErrNotFound
	}
	got, err := v.Config.Get(v.Ctx, &stelev1.GetRequest{Key: v.Rest, At: v.AsOf()})
	if err != nil {
		return err
	}
	return v.Download(lastPart(v.Rest)+".json", "application/json", got.Entry.Value)
}
