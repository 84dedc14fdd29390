package access

import (
	"context"
	"net/http"

	"github.com/a-h/templ"
	"github.com/stelehq/stele/internal/gateway/console/form"
	"github.com/stelehq/stele/internal/gateway/console/format"
	"github.com/stelehq/stele/internal/gateway/console/page"
	"github.com/stelehq/stele/internal/gateway/console/review"
	"github.com/stelehq/stele/internal/ledger"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// setting is a policy in the ledger's own tenant that a page shows and changes.
type setting struct {
	value    string // empty if it is not set
	revision uint64
	commitID []byte
	message  string
	problem  string
}

// system is the view for calls about the ledger's own tenant, which has the policies.
func system(v *page.View) *page.View {
	s := *v
	s.Tenant, s.Ctx = ledger.System, systemContext(v)
	return &s
}

func systemContext(v *page.View) context.Context {
	return page.WithToken(v.R.Context(), v.Cookies.Token(v.R), ledger.System)
}

// read may run while the view loads.
func (s *setting) read(v *page.View, key string) error {
	got, err := v.Config.Get(systemContext(v), &stelev1.GetRequest{Key: key})
	s.value, s.revision, s.commitID = got.GetEntry().GetValue(), got.GetEntry().GetRevision(), got.GetCommitId()
	if status.Code(err) == codes.NotFound {
		return nil
	}
	return err
}

// review shows what another value of the setting would do. If the value is refused, it shows the form
// again.
func (s *setting) review(v *page.View, key, value, path, title string, again func() error, effects templ.Component) error {
	sys := system(v)
	w := form.Write{Key: key, Value: value, Message: s.message, Expected: s.revision, Commit: s.commitID, Name: form.NewName()}
	plan, err := review.Plan(sys.Ctx, sys, change(w))
	if rejection, shown := page.RejectionOf(err); shown {
		s.problem = rejection.Text()
		return again()
	}
	if err != nil {
		return err
	}
	if plan.Total == 0 {
		s.problem = "That is so already: there is nothing to change."
		return again()
	}
	if err := v.Load(); err != nil {
		return err
	}
	return v.Show(http.StatusOK, title, page.Command{"-t", string(ledger.System), "set", key, value, "-m", "REASON"}, settingReview(v, sys, w, path, title, plan, effects))
}

// commit writes the setting as it was reviewed, and shows the page again.
func (s *setting) commit(v *page.View, key, path string, again func(code int) error) error {
	f := form.Parse(v.R)
	f.Key = key
	done, err := v.Ledger.Commit(systemContext(v), change(f))
	switch rejection, shown := page.RejectionOf(err); {
	case err == nil:
		return v.Redirect(v.ToNewest("access", path) + "?written=" + format.Number(done.Revision))
	case shown:
		s.problem = rejection.Text()
		switch status.Code(err) {
		case codes.FailedPrecondition:
			s.problem = "Nothing was written: " + s.problem
		case codes.Unavailable, codes.DeadlineExceeded, codes.ResourceExhausted, codes.Aborted: // the page has no form to send again
			s.problem = page.Message(err) + ". Check the list before you repeat the change: it may be written already."
		}
		return again(rejection.Status)
	}
	return err
}

// change is the change set of a setting.
func change(f form.Write) *stelev1.CommitRequest {
	return &stelev1.CommitRequest{
		Changes:       []*stelev1.Change{{Key: f.Key, Value: f.Value}},
		Preconditions: []*stelev1.Precondition{f.Precondition()},
		Message:       f.Message, RequestId: f.RequestID("access"),
	}
}
