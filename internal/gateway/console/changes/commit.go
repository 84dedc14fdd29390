package changes

import (
	"context"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"

	"github.com/stelehq/stele/internal/gateway/console/format"
	"github.com/stelehq/stele/internal/gateway/console/page"
	"github.com/stelehq/stele/internal/gateway/console/review"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// showReview shows what the change set would do.
func showReview(v *page.View, s *set) error {
	if len(s.rows) == 0 {
		s.problem = "The change set is empty: add a key."
		return showForm(v, http.StatusUnprocessableEntity, s)
	}
	if err := s.expect(v.Ctx, v, false); err != nil {
		return err
	}
	plan, err := review.Plan(v.Ctx, v, s.request())
	if page.MovedOn(err) {
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
	return s.show(v, code, "Review "+format.Plural(len(s.rows), "change"), reviewPage)
}

// expect sets the revisions that the keys must still have to their current ones: of rows
// that were typed, or of all.
func (s *set) expect(ctx context.Context, v *page.View, all bool) error {
	req := &stelev1.BatchGetRequest{}
	for _, r := range s.rows {
		if r.key != "" && (all || r.expected == "") {
			req.Keys = append(req.Keys, r.key)
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
	for i := range s.rows {
		r := &s.rows[i]
		now, found := current[r.key]
		if !found {
			now = "0"
		}
		switch {
		case r.expected == "":
			r.expected = now
		case all && r.expected != now:
			s.moved = append(s.moved, r.key)
			r.expected, r.commit = now, ""
		case all:
			r.commit = ""
		}
	}
	return nil
}

// commit commits the change set, and redirects to its commit.
func commit(v *page.View, s *set) error {
	if len(s.rows) == 0 {
		return showReview(v, s)
	}
	resp, err := v.Ledger.Commit(v.Ctx, s.request())
	if page.MovedOn(err) {
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
	r, shown := page.RejectionOf(err)
	if !shown {
		return err
	}
	ofForm := r
	ofForm.Fields = nil
	for _, f := range r.Fields {
		if m := ofRow.FindStringSubmatch(f.Field); m != nil {
			if i, _ := strconv.Atoi(m[1]); i < len(s.rows) {
				s.rows[i].problem = strings.TrimPrefix(s.rows[i].problem+"\n"+strings.TrimPrefix(f.Description, s.rows[i].key+": "), "\n")
				continue
			}
		}
		ofForm.Fields = append(ofForm.Fields, f)
	}
	s.problem = ofForm.Text()
	if status.Code(err) == codes.PermissionDenied {
		s.why = page.AccessPath(v.Tenant, "write", "")
	}
	return showForm(v, r.Status, s)
}
