package console

import (
	"net/http"
	"net/url"

	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
)

// tenantsOnPage is how many tenants a page of them has.
const tenantsOnPage = 200

// showTenants redirects a tenant's own users to it, and lets an operator choose.
func (c *Console) showTenants(v *visit) error {
	if err := v.load(); err != nil {
		return err
	}
	if t := v.principal.Tenant; t != "" && !v.operator() {
		return v.redirect("/" + t + "/")
	}
	list, err := c.ledger.ListTenants(v.ctx, &stelev1.ListTenantsRequest{PageSize: tenantsOnPage, PageToken: v.r.FormValue("page")})
	if err != nil {
		return err
	}
	return v.show(http.StatusOK, "Tenants", nil, tenantsPage(list.Tenants, list.NextPageToken))
}

// showFirst is the first page of a tenant: its keys.
func (c *Console) showFirst(v *visit) error {
	v.page = "keys"
	return c.showKeys(v)
}

func queryEscape(s string) string { return url.QueryEscape(s) }
