// Package tenants has the page on which operators choose a tenant.
package tenants

import (
	"net/http"

	"github.com/stelehq/stele/internal/gateway/console/page"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
)

// tenantsOnPage is how many tenants a page of them has.
const tenantsOnPage = 200

// Show lists the tenants for operators, and redirects other users to their own tenant.
func Show(v *page.View) error {
	if err := v.Load(); err != nil {
		return err
	}
	if t := v.Principal.Tenant; t != "" && !v.Operator() {
		return v.Redirect("/" + t + "/")
	}
	list, err := v.Ledger.ListTenants(v.Ctx, &stelev1.ListTenantsRequest{PageSize: tenantsOnPage, PageToken: v.R.FormValue("page")})
	if err != nil {
		return err
	}
	return v.Show(http.StatusOK, "Tenants", nil, tenantsPage(list.Tenants, list.NextPageToken))
}
