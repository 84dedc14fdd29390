// Package access has the page of a user's identity and permissions.
package access

import (
	"context"
	"net/http"
	"strings"

	"github.com/stelehq/stele/internal/gateway/console/page"
	"github.com/stelehq/stele/internal/gateway/identity"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
)

// Pages are the pages about access.
type Pages struct {
	// mint signs a token with the local identity; nil without one.
	mint func(identity.Claims) (string, error)
}

// New returns the pages. Mint signs tokens; nil for a gateway whose tokens come from an identity
// provider.
func New(mint func(identity.Claims) (string, error)) *Pages { return &Pages{mint} }

// tab is a page about access.
type tab struct{ path, title string }

// tabsOf are those that the user may open.
func tabsOf(v *page.View) []tab {
	tabs := []tab{{"", "Your permissions"}}
	if v.Operator() {
		tabs = append(tabs, tab{"grants", "Grants"}, tab{"tokens", "Tokens"})
	}
	if v.MayUnder("audit", "") {
		tabs = append(tabs, tab{"reads", "Recorded reads"})
	}
	return tabs
}

// Show shows a page about access.
func (h *Pages) Show(v *page.View) error {
	switch v.Rest {
	case "":
		return Show(v)
	case "reads":
		return showReads(v)
	case "grants":
		return showGrants(v, http.StatusOK, &grantsView{})
	case "tokens":
		return h.showTokens(v, http.StatusOK, &tokensView{})
	}
	return page.ErrNotFound
}

// Post changes grants and tokens.
func (h *Pages) Post(v *page.View) error {
	switch v.Rest {
	case "grants":
		return postGrants(v)
	case "tokens":
		return h.postTokens(v)
	}
	return page.ErrMethod
}

// operation is an operation on keys, in words.
type operation struct{ name, does string }

var operations = []operation{
	{"read", "see keys, values and their history"},
	{"write", "set and delete keys, revert commits, roll back"},
	{"audit", "list recorded reads"},
	{"administer", "decide about projections, import"},
	{"reveal", "see what is secret"},
}

// question asks for a permission of the user, with the answer.
type question struct {
	operation, what string
	answer          *stelev1.CheckAccessResponse // nil while nothing was asked
	problem         string
}

// request asks for a prefix where a key cannot end, as the command line does.
func (q question) request() *stelev1.CheckAccessRequest {
	req := &stelev1.CheckAccessRequest{Operation: q.operation, On: &stelev1.CheckAccessRequest_Prefix{Prefix: q.what}}
	if q.what != "" && !strings.HasSuffix(q.what, "/") {
		req.On = &stelev1.CheckAccessRequest_Key{Key: q.what}
	}
	return req
}

// Show shows the user's identity and permissions, and answers a question about
// one of them. It is also available to users without any permission.
func Show(v *page.View) error {
	q := question{operation: v.R.FormValue("operation"), what: v.Query("what")}
	calls := []func(context.Context) error{v.LoadUser}
	asked := q.operation != "" && v.Tenant != ""
	if asked {
		calls = append(calls, func(ctx context.Context) (err error) {
			q.answer, err = v.Ledger.CheckAccess(ctx, q.request())
			if page.BadField(err) {
				q.problem, err = page.Message(err), nil
			}
			return err
		})
	}
	if err := page.Together(v.Ctx, calls...); err != nil {
		return err
	}
	if v.Tenant == "" && v.Principal.Tenant != "" {
		return v.Redirect("/" + v.Principal.Tenant + "/access")
	}
	_ = v.LoadHead(v.Ctx) // the slider is for users with permission to read
	cmd := page.Command{"whoami"}
	if v.Tenant != "" {
		cmd = v.ReadCommand("whoami")
	}
	if asked {
		cmd = v.ReadCommand("can", q.operation, q.what)
	}
	code := http.StatusOK
	if q.problem != "" {
		code = http.StatusBadRequest
	}
	return v.Show(code, "Access", cmd, accessPage(v, q))
}

func orEverything(what string) string {
	if what == "" {
		return "everything"
	}
	return what
}
