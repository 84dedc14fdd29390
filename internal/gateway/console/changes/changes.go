// Package changes has the page of a change set: several keys that are set and deleted by
// one commit. The page's form holds the whole change set, so the console keeps no state;
// scripts collect its rows over the pages of keys.
package changes

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"

	"github.com/stelehq/stele/internal/gateway/console/form"
	"github.com/stelehq/stele/internal/gateway/console/format"
	"github.com/stelehq/stele/internal/gateway/console/page"
	"github.com/stelehq/stele/internal/gateway/console/review"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// maxRows is the longest change set that the page takes.
const maxRows = 1000

// row is one change of the form.
type row struct {
	Key, Value string
	Delete     bool
	// Expected is the revision that the key must still have, as text; empty if the row was
	// typed, and then the revision at the review.
	Expected string
	Commit   string // the id of the commit Expected in hexadecimal; empty for not known
	problem  string
}

// set is a change set as its form has it.
type set struct {
	Rows    []row
	Message string
	name    string // the form's own
	// collected: the rows are those that the browser collected, and it forgets them once
	// they are committed.
	collected bool
	kept      bool // the browser's rows are not in the form yet

	note    string   // where the rows are from
	problem string   // an error that is not of a row
	why     string   // the page that explains a denial
	moved   []string // keys that have changed since they were collected
	plan    *review.Review
}

// Show shows the form, which scripts fill with the rows that were collected.
func Show(v *page.View) error {
	return showForm(v, http.StatusOK, &set{name: form.NewName(), collected: true, kept: true, Rows: []row{{}}})
}

// Post does what the form's button says: it shows the form again, reviews the change set,
// or commits it.
func Post(v *page.View) error {
	if v.R.PostFormValue("do") == "copy" {
		return copyRows(v)
	}
	s, err := parse(v)
	if err != nil {
		return err
	}
	if at, err := strconv.Atoi(v.R.PostFormValue("drop")); err == nil && at >= 0 && at < len(s.Rows) {
		s.Rows = append(s.Rows[:at], s.Rows[at+1:]...)
		return showForm(v, http.StatusOK, s)
	}
	switch v.R.PostFormValue("do") {
	case "add":
		s.Rows = append(s.Rows, row{})
		return showForm(v, http.StatusOK, s)
	case "edit":
		return showForm(v, http.StatusOK, s)
	case "commit":
		return commit(v, s)
	}
	return showReview(v, s)
}

// parse reads the form. Rows without a key and value are left out.
func parse(v *page.View) (*set, error) {
	if err := v.R.ParseForm(); err != nil {
		return nil, status.Error(codes.InvalidArgument, "the form cannot be read")
	}
	f := v.R.PostForm
	s := &set{Message: strings.TrimSpace(f.Get("message")), name: f.Get("form"), collected: f.Get("collected") != ""}
	if s.name == "" {
		s.name = form.NewName()
	}
	at := func(name string, i int) string {
		if i < len(f[name]) {
			return f[name][i]
		}
		return ""
	}
	for i, key := range f["key"] {
		r := row{
			Key: strings.TrimSpace(key), Value: strings.ReplaceAll(at("value", i), "\r\n", "\n"), Delete: at("action", i) == "delete",
			Expected: at("expected", i), Commit: at("commit", i),
		}
		if r.Key != "" || r.Value != "" {
			s.Rows = append(s.Rows, r)
		}
	}
	if len(s.Rows) > maxRows {
		return nil, status.Errorf(codes.InvalidArgument, "the change set has more than %d keys: commit it in parts", maxRows)
	}
	return s, nil
}

// request is the change set.
func (s *set) request() *stelev1.CommitRequest {
	content, _ := json.Marshal(s) // strings and booleans
	req := &stelev1.CommitRequest{Message: s.Message, RequestId: form.Write{Name: s.name, Value: string(content)}.RequestID("changes")}
	for _, r := range s.Rows {
		c := &stelev1.Change{Key: r.Key, Delete: r.Delete}
		if !r.Delete {
			c.Value = format.Compact(r.Value)
		}
		expected, _ := strconv.ParseUint(r.Expected, 10, 64)
		id, _ := hex.DecodeString(r.Commit)
		req.Changes = append(req.Changes, c)
		req.Preconditions = append(req.Preconditions, &stelev1.Precondition{Key: r.Key, Revision: expected, CommitId: id})
	}
	return req
}

// showReview shows what the change set would do.
func showReview(v *page.View, s *set) error {
	if len(s.Rows) == 0 {
		s.problem = "The change set is empty: add a key."
		return showForm(v, http.StatusUnprocessableEntity, s)
	}
	if err := s.expect(v.Ctx, v, false); err != nil {
		return err
	}
	plan, err := review.Plan(v.Ctx, v, s.request())
	if reason := page.Reason(err); reason == "PRECONDITION_FAILED" || reason == "HISTORY_CHANGED" {
		if err := s.expect(v.Ctx, v, true); err != nil {
			return err
		}
		plan, err = review.Plan(v.Ctx, v, s.request())
	}
	if err != nil {
		return reject(v, s, err)
	}
	if plan.Total == 0 {
		s.problem = "The keys have these values already: there is nothing to commit."
		return showForm(v, http.StatusOK, s)
	}
	s.plan = plan
	code := http.StatusOK
	if len(s.moved) > 0 {
		code = http.StatusConflict
	}
	return s.show(v, code, "Review "+format.Plural(len(s.Rows), "change"), reviewPage)
}

// expect sets the revisions that the keys must still have to their current ones: of rows
// that were typed, or of all.
func (s *set) expect(ctx context.Context, v *page.View, all bool) error {
	req := &stelev1.BatchGetRequest{}
	for _, r := range s.Rows {
		if r.Key != "" && (all || r.Expected == "") {
			req.Keys = append(req.Keys, r.Key)
		}
	}
	if len(req.Keys) == 0 {
		return nil
	}
	got, err := v.Config.BatchGet(ctx, req)
	if status.Code(err) == codes.InvalidArgument || status.Code(err) == codes.PermissionDenied {
		return nil // the plan says which key
	}
	if err != nil {
		return err
	}
	current := map[string]string{}
	for _, e := range got.Entries {
		current[e.Key] = format.Number(e.Revision)
	}
	for i := range s.Rows {
		r := &s.Rows[i]
		now, set := current[r.Key]
		if !set {
			now = "0"
		}
		switch {
		case r.Expected == "":
			r.Expected = now
		case all && r.Expected != now:
			s.moved = append(s.moved, r.Key)
			r.Expected, r.Commit = now, ""
		case all:
			r.Commit = ""
		}
	}
	return nil
}

// commit commits the change set, and redirects to its commit.
func commit(v *page.View, s *set) error {
	if len(s.Rows) == 0 {
		return showReview(v, s)
	}
	resp, err := v.Ledger.Commit(v.Ctx, s.request())
	if reason := page.Reason(err); reason == "PRECONDITION_FAILED" || reason == "HISTORY_CHANGED" {
		return showReview(v, s)
	}
	if err != nil {
		return reject(v, s, err)
	}
	if resp.Unchanged {
		return showReview(v, s)
	}
	path := page.CommitPath(v.Tenant, resp.Revision)
	if s.collected {
		path += "?committed=" + url.QueryEscape(s.name)
	}
	return v.Redirect(path)
}

// ofRow finds the row that a field of the request is of.
var ofRow = regexp.MustCompile(`^(?:changes|preconditions)\[(\d+)\]`)

// reject shows the form with the error that its change set was rejected for.
func reject(v *page.View, s *set, err error) error {
	switch status.Code(err) {
	case codes.InvalidArgument:
		bad, _ := page.Detail[*errdetails.BadRequest](err)
		for _, f := range bad.GetFieldViolations() {
			text := f.Description
			if m := ofRow.FindStringSubmatch(f.Field); m != nil {
				if i, _ := strconv.Atoi(m[1]); i < len(s.Rows) {
					s.Rows[i].problem = strings.TrimPrefix(s.Rows[i].problem+"\n"+strings.TrimPrefix(text, s.Rows[i].Key+": "), "\n")
					continue
				}
			}
			s.problem = strings.TrimPrefix(s.problem+"\n"+f.Field+": "+text, "\n")
		}
		if len(bad.GetFieldViolations()) == 0 {
			s.problem = page.Message(err)
		}
		return showForm(v, http.StatusUnprocessableEntity, s)
	case codes.PermissionDenied:
		s.problem, s.why = page.Message(err), page.AccessPath(v.Tenant, "write", "")
		return showForm(v, http.StatusForbidden, s)
	case codes.FailedPrecondition, codes.AlreadyExists, codes.Unavailable, codes.DeadlineExceeded, codes.ResourceExhausted, codes.Aborted:
		s.problem = page.Message(err)
		return showForm(v, page.ProblemOf(err).Status, s)
	}
	return err
}

func showForm(v *page.View, code int, s *set) error {
	return s.show(v, code, "Change set", formPage)
}
