// Package changes has the page of a change set: several keys that are set and deleted by
// one commit. The page's form holds the whole change set, so the console keeps no state;
// scripts collect its rows over the pages of keys.
package changes

import (
	"cmp"
	"encoding/hex"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/a-h/templ"
	"github.com/stelehq/stele/internal/gateway/console/form"
	"github.com/stelehq/stele/internal/gateway/console/format"
	"github.com/stelehq/stele/internal/gateway/console/page"
	"github.com/stelehq/stele/internal/gateway/console/review"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// maxRows is the longest change set that the page takes.
const maxRows = 1000

// row is one change of the form.
type row struct {
	key, value string
	delete     bool
	// expected is the revision that the key must still have, as text; empty if the row was
	// typed, and then the revision at the review.
	expected string
	commit   string // the id of the commit expected in hexadecimal; empty for not known
	problem  string
}

// set is a change set as its form has it.
type set struct {
	rows    []row
	message string
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
	return showForm(v, http.StatusOK, &set{name: form.NewName(), collected: true, kept: true, rows: []row{{}}})
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
	if at, err := strconv.Atoi(v.R.PostFormValue("drop")); err == nil && at >= 0 && at < len(s.rows) {
		s.rows = append(s.rows[:at], s.rows[at+1:]...)
		return showForm(v, http.StatusOK, s)
	}
	switch v.R.PostFormValue("do") {
	case "add":
		s.rows = append(s.rows, row{})
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
	f := v.R.PostForm
	s := &set{message: strings.TrimSpace(f.Get("message")), name: f.Get("form"), collected: f.Get("collected") != ""}
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
			key: strings.TrimSpace(key), value: strings.ReplaceAll(at("value", i), "\r\n", "\n"), delete: at("action", i) == "delete",
			expected: at("expected", i), commit: at("commit", i),
		}
		if r.key != "" || r.value != "" {
			s.rows = append(s.rows, r)
		}
	}
	if len(s.rows) > maxRows {
		return nil, status.Errorf(codes.InvalidArgument, "the change set has more than %d keys: commit it in parts", maxRows)
	}
	return s, nil
}

// request is the change set.
func (s *set) request() *stelev1.CommitRequest {
	var content strings.Builder
	req := &stelev1.CommitRequest{Message: s.message}
	for _, r := range s.rows {
		c := &stelev1.Change{Key: r.key, Delete: r.delete}
		if !r.delete {
			c.Value = format.Compact(r.value)
		}
		fmt.Fprintf(&content, "%q %q %t %s %s\n", r.key, r.value, r.delete, r.expected, r.commit)
		expected, _ := strconv.ParseUint(r.expected, 10, 64)
		id, _ := hex.DecodeString(r.commit)
		req.Changes = append(req.Changes, c)
		req.Preconditions = append(req.Preconditions, &stelev1.Precondition{Key: r.key, Revision: expected, CommitId: id})
	}
	req.RequestId = form.Write{Name: s.name, Value: content.String(), Message: s.message}.RequestID("changes")
	return req
}

func showForm(v *page.View, code int, s *set) error {
	return s.show(v, code, "Change set", formPage)
}

// show shows a page of the change set.
func (s *set) show(v *page.View, code int, title string, content func(*page.View, *set) templ.Component) error {
	if err := v.Load(); err != nil {
		return err
	}
	return v.Show(code, title, v.Command("apply", "-f", "FILE", "-m", cmp.Or(s.message, "REASON")), content(v, s))
}
