// Package promote has the page that applies what has changed in another tenant: the plan of
// the promotion, with a decision for each conflict, its review, and the commit.
package promote

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/a-h/templ"
	"github.com/stelehq/stele/internal/gateway/console/diff"
	"github.com/stelehq/stele/internal/gateway/console/form"
	"github.com/stelehq/stele/internal/gateway/console/format"
	"github.com/stelehq/stele/internal/gateway/console/page"
	"github.com/stelehq/stele/internal/gateway/console/review"
	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/promotion"
	"github.com/stelehq/stele/internal/wire"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// maxConflicts is how many conflicts have a decision of their own on the page.
const maxConflicts = 200

// promoting is the state of the page. The form holds all of it.
type promoting struct {
	from, at, prefix, message string
	name                      string // the form's own
	head                      uint64 // of the target when the plan was shown; 0 before that
	secrets                   bool   // compare and promote them
	// all is decided for conflicts without a decision of their own.
	all       string
	decisions map[ledger.Key]string

	plan    *promotion.Promotion
	review  *review.Review
	problem string
	why     string // the page that explains a denial
	moved   bool   // the target has changed since the plan was shown
}

// The decisions of the form.
const (
	leave  = "leave"
	theirs = "theirs"
	ours   = "ours"
)

// decide is the decision about a conflict.
func (s *promoting) decide(k ledger.Key) promotion.Decision {
	choice := s.decisions[k]
	if choice == "" {
		choice = s.all
	}
	return map[string]promotion.Decision{theirs: promotion.Theirs, ours: promotion.Ours}[choice]
}

// parse reads the form or the address.
func parse(v *page.View) *promoting {
	s := &promoting{
		from: v.Query("from"), at: v.Query("at"), prefix: v.Query("prefix"), message: v.Query("message"), name: v.Query("form"), secrets: v.Query("secrets") != "",
		all: v.Query("all"), decisions: make(map[ledger.Key]string),
	}
	if s.name == "" {
		s.name = form.NewName()
	}
	s.head, _ = strconv.ParseUint(v.R.PostFormValue("head"), 10, 64) // 0 if it is not a number
	keys, choices := v.R.PostForm["conflict"], v.R.PostForm["decision"]
	for i := range min(len(keys), len(choices)) {
		s.decisions[ledger.Key(keys[i])] = choices[i]
	}
	return s
}

// Show asks for the source, and shows the plan. It reveals no secrets: a link could be from
// another site.
func Show(v *page.View) error {
	s := parse(v)
	s.secrets = false
	if s.from == "" {
		return s.show(v, http.StatusOK, "Promote", planPage)
	}
	return s.showPlan(v, http.StatusOK)
}

// Post shows the plan again, reviews it, or commits it.
func Post(v *page.View) error {
	s := parse(v)
	if v.R.PostFormValue("do") == "plan" {
		return s.showPlan(v, http.StatusOK)
	}
	err := s.prepare(v, s.decide)
	if err != nil {
		return s.reject(v, err)
	}
	if s.moved = s.head != uint64(s.plan.TargetRevision()); s.moved {
		return s.showPlan(v, http.StatusConflict)
	}
	cs := s.plan.ChangeSet()
	if _, err := s.plan.Preview(cs); err != nil {
		return s.reject(v, err)
	}
	if len(cs.Changes) == 0 {
		s.problem = "There is nothing to promote: every conflict is left or keeps the value of " + string(v.Tenant) + "."
		return s.showPlan(v, http.StatusOK)
	}
	if v.R.PostFormValue("do") == "commit" {
		return s.commit(v, cs)
	}
	if s.review, err = review.Plan(v.Ctx, v, wire.CommitRequest(cs)); err != nil {
		return s.reject(v, err)
	}
	return s.show(v, http.StatusOK, "Review the promotion", reviewPage)
}

// commit commits the promotion, and redirects to its commit.
func (s *promoting) commit(v *page.View, cs *ledger.ChangeSet) error {
	content := fmt.Sprint(s.from, s.at, s.prefix, s.secrets, s.all, s.decisions)
	cs.RequestID = form.Write{Name: s.name, Value: content, Message: s.message, Expected: s.head}.RequestID("promote")
	resp, err := v.Ledger.Commit(v.Ctx, wire.CommitRequest(cs))
	if page.MovedOn(err) {
		s.moved = true
		return s.showPlan(v, http.StatusConflict)
	}
	if err != nil {
		return s.reject(v, err)
	}
	return v.Redirect(page.CommitPath(v.Tenant, resp.Revision))
}

// prepare reads both tenants and makes the plan.
func (s *promoting) prepare(v *page.View, decide func(ledger.Key) promotion.Decision) error {
	source, err := ledger.ParseTenant(s.from)
	if err != nil {
		return status.Error(codes.InvalidArgument, "from: "+err.Error())
	}
	if source == v.Tenant {
		return status.Errorf(codes.InvalidArgument, "from: choose another tenant than %s", source)
	}
	prefix, err := ledger.ParsePattern(s.prefix)
	if err == nil && ledger.Key(prefix).Reserved() {
		err = errors.New("the ledger's own settings are not promoted by themselves; name a prefix of keys, which promotes their schemas as well")
	}
	if err != nil {
		return status.Error(codes.InvalidArgument, "prefix: "+err.Error())
	}
	ctx := page.WithToken(v.R.Context(), v.Cookies.Token(v.R), source)
	at, err := v.ParseAsOf(ctx, "at", s.at)
	if err != nil {
		return err
	}
	s.plan, err = promotion.Prepare(promotion.Request{
		From: promotion.Side{Tenant: source, Ctx: ctx, Config: v.Config, Ledger: v.Ledger},
		To:   promotion.Side{Tenant: v.Tenant, Ctx: v.Ctx, Config: v.Config, Ledger: v.Ledger},
		At:   at, Prefix: prefix, Decide: decide, Message: s.message, KeepSecrets: !s.secrets,
	})
	if errors.Is(err, promotion.ErrNoCommits) {
		return status.Errorf(codes.NotFound, "from: the tenant %s does not exist: it has no commit", source)
	}
	return err
}

// showPlan makes the plan and shows it, with all conflicts.
func (s *promoting) showPlan(v *page.View, code int) error {
	undecided := func(ledger.Key) promotion.Decision { return promotion.Leave }
	if err := s.prepare(v, undecided); err != nil {
		return s.reject(v, err)
	}
	s.at, s.head = s.plan.SourceRevision().String(), uint64(s.plan.TargetRevision())
	return s.show(v, code, "Promote", planPage)
}

// reject shows an error that the user can fix, with the plan if there was one.
func (s *promoting) reject(v *page.View, err error) error {
	var size *promotion.SizeError
	var left *promotion.LeftError
	switch {
	case errors.As(err, &size):
		err = status.Error(codes.FailedPrecondition, size.Error()+": promote one prefix after the other")
	case errors.As(err, &left):
		err = status.Error(codes.FailedPrecondition, left.Error()+": decide them, or promote fewer keys")
	}
	switch status.Code(err) {
	case codes.PermissionDenied:
		s.why = page.AccessPath(v.Tenant, "write", s.prefix)
	case codes.InvalidArgument, codes.NotFound, codes.OutOfRange, codes.FailedPrecondition, codes.ResourceExhausted, codes.Unavailable, codes.DeadlineExceeded, codes.Aborted:
	default:
		return err
	}
	planned := s.plan != nil
	s.problem, s.plan = page.Message(err), nil
	code := page.ProblemOf(err).Status
	if s.why != "" {
		code = http.StatusForbidden
	}
	if planned {
		return s.showPlan(v, code)
	}
	return s.show(v, code, "Promote", planPage)
}

func (s *promoting) show(v *page.View, code int, title string, content func(*page.View, *promoting) templ.Component) error {
	if err := v.Load(); err != nil {
		return err
	}
	from := s.from
	if from == "" {
		from = "TENANT"
	}
	words := []string{"promote", "--from", from + page.CommandAsOf(s.at), "--to", string(v.Tenant)}
	if s.prefix != "" {
		words = append(words, s.prefix)
	}
	return v.Show(code, title, page.Command(words), content(v, s))
}

// changes are those of the plan, as the page shows them.
func (s *promoting) changes() []diff.Change {
	var all []diff.Change
	for _, d := range s.plan.Diffs() {
		all = append(all, diff.OfKey(d))
	}
	return all
}

// conflicts are those that have a decision of their own.
func (s *promoting) conflicts() []promotion.Conflict {
	all := s.plan.Conflicts()
	return all[:min(len(all), maxConflicts)]
}

// hidden are the secrets that are left, and decided the conflicts with decisions of their own.
func (s *promoting) hidden() []ledger.Key  { return slices.Sorted(maps.Keys(s.plan.Hidden)) }
func (s *promoting) decided() []ledger.Key { return slices.Sorted(maps.Keys(s.decisions)) }

// value is one side of a conflict.
func value(v ledger.Value) string {
	if v == "" {
		return "not set"
	}
	return format.Pretty(string(v))
}

// defaultMessage is the reason that the form suggests.
func (s *promoting) defaultMessage() string {
	if s.message != "" {
		return s.message
	}
	return "Promote " + s.plan.Source()
}

// summary counts what the plan does.
func (s *promoting) summary() string {
	parts := []string{diff.Tally(s.changes())}
	if parts[0] == "" {
		parts[0] = "no changes"
	}
	if n := len(s.plan.Plan.Conflicts); n > 0 {
		parts = append(parts, format.Plural(n, "conflict"))
	}
	if n := len(s.plan.Plan.Kept); n > 0 {
		parts = append(parts, format.Thousands(uint64(n))+" kept")
	}
	if n := len(s.plan.Hidden); n > 0 {
		parts = append(parts, format.Plural(n, "secret")+" left")
	}
	return strings.Join(parts, " · ")
}
