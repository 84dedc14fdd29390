// Package tenants has the page on which operators choose a tenant.
package tenants

import (
	"context"
	"net/http"
	"net/url"
	"strings"

	"github.com/stelehq/stele/internal/gateway/console/page"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
)

const (
	// tenantsOnPage is how many tenants a page of them has.
	tenantsOnPage = 200
	// tenantsInAnswer is how many tenants a call returns, at most.
	tenantsInAnswer = 10_000
)

// Show lists the tenants for operators, and redirects other users to their own tenant. Its
// links keep the page and the time in the address.
func Show(v *page.View) error {
	if err := v.Load(); err != nil {
		return err
	}
	if t := v.Principal.Tenant; t != "" && !v.Operator() {
		return v.Redirect("/" + t + "/")
	}
	filter := v.Query("filter")
	if filter != "" {
		found, err := Find(v.Ctx, v, filter, tenantsOnPage)
		if err != nil {
			return err
		}
		return v.Show(http.StatusOK, "Tenants", nil, tenantsPage(v, found, ""))
	}
	list, err := v.Ledger.ListTenants(v.Ctx, &stelev1.ListTenantsRequest{PageSize: tenantsOnPage, PageToken: v.R.FormValue("page")})
	if err != nil {
		return err
	}
	return v.Show(http.StatusOK, "Tenants", nil, tenantsPage(v, list.Tenants, list.NextPageToken))
}

// Find returns the tenants whose names contain a text, at most so many.
func Find(ctx context.Context, v *page.View, text string, most int) ([]*stelev1.TenantHead, error) {
	req := &stelev1.ListTenantsRequest{PageSize: tenantsInAnswer}
	var found []*stelev1.TenantHead
	for {
		list, err := v.Ledger.ListTenants(ctx, req)
		if err != nil {
			return nil, err
		}
		for _, t := range list.Tenants {
			if strings.Contains(t.Tenant, strings.ToLower(text)) && len(found) < most {
				found = append(found, t)
			}
		}
		if req.PageToken = list.NextPageToken; req.PageToken == "" || len(found) == most {
			return found, nil
		}
	}
}

// Path is a tenant's page that keeps what the request's address says: the page below the
// tenant, and the time of a past state.
func Path(v *page.View, tenant string) string {
	below, at := v.R.FormValue("keep"), v.R.FormValue("time")
	if at != "" {
		return "/" + tenant + "/at?" + url.Values{"page": {below}, "by": {"time"}, "time": {at}}.Encode()
	}
	return (&url.URL{Path: "/" + tenant + "/"}).String() + below
}

// kept are the parameters of the address that its pages keep.
func kept(v *page.View, q url.Values) string {
	for _, name := range []string{"keep", "time"} {
		if value := v.R.FormValue(name); value != "" {
			q.Set(name, value)
		}
	}
	if len(q) == 0 {
		return "/"
	}
	return "/?" + q.Encode()
}
