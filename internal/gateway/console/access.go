package console

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/stelehq/stele/internal/ledger"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// operation is an operation on keys, in words.
type operation struct{ name, does string }

var operations = []operation{
	{"read", "see keys, values and their history"},
	{"write", "set and delete keys, take commits back, roll back"},
	{"audit", "list recorded reads"},
	{"administer", "decide about projections, import"},
	{"reveal", "see what is secret"},
}

// question is whether the visitor may do something, and the answer.
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

// showAccess shows the user's identity and permissions, and answers a question about
// one of them. It is also available to users without any permission.
func (c *Console) showAccess(v *visit) error {
	q := question{operation: v.r.FormValue("operation"), what: strings.TrimSpace(v.r.FormValue("what"))}
	group, ctx := errgroup.WithContext(v.ctx)
	group.Go(func() (err error) {
		if v.status, err = c.ledger.GetStatus(ctx, &stelev1.GetStatusRequest{}); err == nil {
			v.principal = v.status.Principal
		}
		return err
	})
	asked := q.operation != "" && v.tenant != ""
	if asked {
		group.Go(func() (err error) {
			q.answer, err = c.ledger.CheckAccess(ctx, q.request())
			if isInvalid(err) {
				q.problem, err = statusMessage(err), nil
			}
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	if v.tenant == "" && v.principal.Tenant != "" {
		return v.redirect("/" + v.principal.Tenant + "/access")
	}
	v.head, _ = c.ledger.GetHead(v.ctx, &stelev1.GetHeadRequest{}) // the slider is for users with permission to read
	cmd := command{"whoami"}
	if v.tenant != "" {
		cmd = v.command("whoami")
	}
	if asked {
		cmd = v.command("can", q.operation)
		if q.what != "" {
			cmd = append(cmd, q.what)
		}
	}
	code := http.StatusOK
	if q.problem != "" {
		code = http.StatusBadRequest
	}
	return v.show(code, "Access", cmd, accessPage(v, q))
}

// allowed are the prefixes on which the visitor may do something.
func (v *visit) allowed(operation string) []string {
	for _, a := range v.principal.GetAllowed() {
		if a.Operation == operation {
			return a.Prefixes
		}
	}
	return nil
}

func orEverything(what string) string {
	if what == "" {
		return "everything"
	}
	return what
}

// accessLink asks whether the visitor may do something, and why.
func accessLink(t ledger.Tenant, operation, what string) string {
	return place{tenant: t}.to("access", "") + "?" + url.Values{"operation": {operation}, "what": {what}}.Encode() + "#ask"
}

func isInvalid(err error) bool { return status.Code(err) == codes.InvalidArgument }

// whyDenied asks for the reason why this visit was denied.
func (v *visit) whyDenied() string {
	operation, what := "read", strings.TrimSpace(v.r.FormValue("prefix"))
	switch {
	case v.page == "projections":
		operation, what = "administer", ""
	case v.page == "reveal":
		operation, what = "reveal", v.rest
	case v.r.Method == http.MethodPost || v.page == "delete":
		operation = "write"
	}
	if v.page == "keys" || v.page == "delete" {
		what = v.rest
	} else if v.page == "new" {
		what = strings.TrimSpace(v.r.FormValue("key"))
	}
	return accessLink(v.tenant, operation, what)
}
