// Package access has the page of a user's identity and permissions.
package access

import (
	"net/http"
	"strings"

	"github.com/stelehq/stele/internal/gateway/console/page"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"golang.org/x/sync/errgroup"
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
	group, ctx := errgroup.WithContext(v.Ctx)
	group.Go(func() (err error) {
		if v.Status, err = v.Ledger.GetStatus(ctx, &stelev1.GetStatusRequest{}); err == nil {
			v.Principal = v.Status.Principal
		}
		return err
	})
	asked := q.operation != "" && v.Tenant != ""
	if asked {
		group.Go(func() (err error) {
			q.answer, err = v.Ledger.CheckAccess(ctx, q.request())
			if page.BadField(err) {
				q.problem, err = page.Message(err), nil
			}
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	if v.Tenant == "" && v.Principal.Tenant != "" {
		return v.Redirect("/" + v.Principal.Tenant + "/access")
	}
	v.Head, _ = v.Ledger.GetHead(v.Ctx, &stelev1.GetHeadRequest{}) // the slider is for users with permission to read
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
