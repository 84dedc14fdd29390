package console

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"strconv"
	"strings"

	"github.com/google/uuid"
	"github.com/stelehq/stele/internal/ledger"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// setWords are the equivalent command of the form.
var setWords = []string{"set", "KEY", "VALUE", "-m", "REASON"}

// showNew is the form of a key that is not set.
func (c *Console) showNew(v *visit) error {
	if err := v.load(); err != nil {
		return err
	}
	f := writeForm{key: v.rest, name: uuid.NewString()}
	return v.show(http.StatusOK, "New key", v.command(setWords...), newKeyPage(v, f))
}

// create sets a key that is not set.
func (c *Console) create(v *visit) error {
	f := formOf(v.r)
	f.key = strings.TrimSpace(v.r.FormValue("key"))
	return c.write(v, f, true)
}

// save sets a key to another value.
func (c *Console) save(v *visit) error {
	f := formOf(v.r)
	f.key = v.rest
	return c.write(v, f, false)
}

func formOf(r *http.Request) writeForm {
	expected, _ := strconv.ParseUint(r.FormValue("expected"), 10, 64)
	return writeForm{
		value: strings.ReplaceAll(r.FormValue("value"), "\r\n", "\n"), message: strings.TrimSpace(r.FormValue("message")),
		expected: expected, commit: commitOf(r), name: r.FormValue("form"),
	}
}

// commitOf is the id of the commit that a form was made at; nil if it names none.
func commitOf(r *http.Request) []byte {
	id, err := hex.DecodeString(r.FormValue("commit"))
	if err != nil {
		return nil
	}
	return id
}

// precondition is what must be true of the key for the form to be written.
func (f writeForm) precondition() *stelev1.Precondition {
	return &stelev1.Precondition{Key: f.key, Revision: f.expected, CommitId: f.commit}
}

// requestID names what the form holds: sent twice it is written once, and changed in
// between, as by going back to it, it is another request.
func (f writeForm) requestID(what string) string {
	h := sha256.New()
	for _, part := range []string{f.name, what, f.key, f.value, f.message, strconv.FormatUint(f.expected, 10)} {
		h.Write([]byte(part))
		h.Write([]byte{0})
	}
	return "console:" + hex.EncodeToString(h.Sum(nil)[:16])
}

// action is where the form goes.
func (f writeForm) action(t ledger.Tenant, isNew bool) string {
	if isNew {
		return place{tenant: t}.to("new", "")
	}
	return place{tenant: t}.to("keys", f.key)
}

// rows is how high the value's field is.
func (f writeForm) rows() string {
	return strconv.Itoa(min(max(strings.Count(f.value, "\n")+1, 3), 24))
}

// write commits the content of a form, and redirects to the key. Errors are shown in
// the form, with all input.
func (c *Console) write(v *visit, f writeForm, isNew bool) error {
	resp, err := c.ledger.Commit(v.ctx, &stelev1.CommitRequest{
		Changes:       []*stelev1.Change{{Key: f.key, Value: compact(f.value)}},
		Preconditions: []*stelev1.Precondition{f.precondition()},
		Message:       f.message, RequestId: f.requestID("set"),
	})
	code := http.StatusOK
	switch {
	case err != nil:
		var told bool
		if code, told = f.tell(err); !told {
			return err
		}
	case resp.Unchanged:
		f.valueProblem = "The key has this value already: nothing was written."
	default:
		return v.redirect(place{tenant: v.tenant, page: "keys", rest: f.key}.String() + "?written=" + revisionOf(resp.Revision))
	}
	k := &keyView{key: f.key}
	load := []func(context.Context) error{}
	if _, bad := ledger.ParseKey(f.key); bad == nil && !isNew {
		load = append(load, c.readKey(v, k, false))
	}
	if err := v.load(load...); err != nil {
		return err
	}
	if movedOn(err) {
		if err := c.tellConflict(v, &f); err != nil {
			return err
		}
	}
	if isNew {
		return v.show(code, "New key", v.command(setWords...), newKeyPage(v, f))
	}
	k.form, k.editing = f, true
	return v.showKeyView(code, k)
}

// tell puts the gateway's errors about a change set next to their fields in the form;
// false if the form has no such field.
func (f *writeForm) tell(err error) (code int, told bool) {
	switch status.Code(err) {
	case codes.InvalidArgument:
		bad, _ := detail[*errdetails.BadRequest](err)
		for _, v := range bad.GetFieldViolations() {
			switch {
			case strings.HasSuffix(v.Field, ".key"):
				f.keyProblem = also(f.keyProblem, v.Description)
			case strings.HasSuffix(v.Field, ".value") || v.Field == "changes[0]":
				f.valueProblem = also(f.valueProblem, strings.TrimPrefix(v.Description, f.key+": "))
			case v.Field == "message":
				f.messageProblem = also(f.messageProblem, v.Description)
			default:
				f.problem = also(f.problem, v.Field+": "+v.Description)
			}
		}
		if len(bad.GetFieldViolations()) == 0 {
			f.problem = statusMessage(err)
		}
		return http.StatusUnprocessableEntity, true
	case codes.FailedPrecondition:
		if reasonOf(err) != "PRECONDITION_FAILED" {
			f.problem = statusMessage(err)
		}
		return http.StatusConflict, true
	case codes.Unavailable, codes.DeadlineExceeded, codes.ResourceExhausted, codes.Aborted:
		f.problem = statusMessage(err) + ". Send it again: it is never written twice."
		return troubleOf(err).status, true
	}
	return 0, false
}

// also appends an error to earlier ones, on a line of its own.
func also(problem, next string) string {
	if problem == "" {
		return next
	}
	return problem + "\n" + next
}

// tellConflict finds the changes of the form's key since it was loaded, and makes the
// form one that would overwrite them.
func (c *Console) tellConflict(v *visit, f *writeForm) error {
	var was, is *stelev1.GetResponse
	var list *stelev1.ListCommitsResponse
	err := together(v.ctx, func(ctx context.Context) (err error) {
		is, err = c.config.Get(ctx, &stelev1.GetRequest{Key: f.key})
		return unlessNotFound(err)
	}, func(ctx context.Context) (err error) {
		if f.expected != 0 {
			was, err = c.config.Get(ctx, &stelev1.GetRequest{Key: f.key, At: &stelev1.At{Point: &stelev1.At_Revision{Revision: f.expected}}})
		}
		return unlessNotFound(err)
	}, func(ctx context.Context) (err error) {
		list, err = c.ledger.ListCommits(ctx, &stelev1.ListCommitsRequest{Keys: &stelev1.ListCommitsRequest_Key{Key: f.key}, PageSize: 1, OmitValues: true})
		return err
	})
	if err != nil {
		return err
	}
	theirs := is.GetEntry()
	f.conflict = &conflict{theirs: theirs, between: changeOf(f.key, was.GetEntry().GetValue(), theirs.GetValue())}
	if len(list.Commits) > 0 {
		f.conflict.commit = list.Commits[0]
	}
	mine, err := ledger.ParseValue(compact(f.value))
	if err != nil {
		f.valueProblem = err.Error()
	} else {
		f.conflict.mine = changeOf(f.key, theirs.GetValue(), string(mine))
		f.conflict.identity = f.conflict.mine.same && theirs != nil
	}
	f.expected, f.commit = theirs.GetRevision(), is.GetCommitId()
	return nil
}

// movedOn reports whether something was committed since a form was made, or the ledger was
// restored from a backup.
func movedOn(err error) bool {
	r := reasonOf(err)
	return r == "PRECONDITION_FAILED" || r == "HISTORY_CHANGED"
}

func unlessNotFound(err error) error {
	if status.Code(err) == codes.NotFound {
		return nil
	}
	return err
}

// showDelete asks for confirmation of a deletion.
func (c *Console) showDelete(v *visit) error { return c.askDelete(v, http.StatusOK, "") }

func (c *Console) askDelete(v *visit, code int, problem string) error {
	if _, err := ledger.ParseKey(v.rest); err != nil {
		return errNoPlace
	}
	k := &keyView{key: v.rest}
	if err := v.load(c.readKey(v, k, false)); err != nil {
		return err
	}
	if k.entry == nil {
		return errNoPlace
	}
	k.form = k.newForm()
	k.form.message = v.r.FormValue("message")
	return v.show(code, "Delete "+k.key, v.command("delete", k.key, "-m", "REASON"), deletePage(v, k, problem))
}

// remove deletes a key.
func (c *Console) remove(v *visit) error {
	f := formOf(v.r)
	f.key = v.rest
	resp, err := c.ledger.Commit(v.ctx, &stelev1.CommitRequest{
		Changes:       []*stelev1.Change{{Key: f.key, Delete: true}},
		Preconditions: []*stelev1.Precondition{f.precondition()},
		Message:       f.message, RequestId: f.requestID("delete"),
	})
	if err == nil {
		return v.redirect(place{tenant: v.tenant}.to("commits", revisionOf(resp.Revision)))
	}
	code, told := f.tell(err)
	switch {
	case !told:
		return err
	case reasonOf(err) == "PRECONDITION_FAILED":
		return c.askDelete(v, code, "Nothing was deleted: the key has changed meanwhile. This is its value now.")
	}
	return c.askDelete(v, code, statusMessage(err))
}

// raw is a key's value as it was written.
func (c *Console) raw(v *visit) error {
	if _, err := ledger.ParseKey(v.rest); err != nil {
		return errNoPlace
	}
	got, err := c.config.Get(v.ctx, &stelev1.GetRequest{Key: v.rest, At: v.moment()})
	if err != nil {
		return err
	}
	return v.file(lastPart(v.rest)+".json", "application/json", got.Entry.Value)
}

// file answers with something to keep.
func (v *visit) file(name, kind, body string) error {
	h := v.w.Header()
	h.Set("Content-Type", kind)
	h.Set("Content-Disposition", `attachment; filename="`+name+`"`)
	h.Set("Content-Length", strconv.Itoa(len(body)))
	v.w.Write([]byte(body)) // the user may have left
	return nil
}
