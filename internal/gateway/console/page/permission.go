package page

import (
	"net/url"
	"slices"
	"strings"

	"github.com/stelehq/stele/internal/ledger"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
)

// User is the user of a view, as the layout's calls show. The gateway decides what the user
// may do; this is for what the page offers.
type User struct {
	Principal *stelev1.Principal // nil if the call failed
}

// May reports whether the user has a permission on a key, or on all keys under a
// prefix.
func (v *User) May(operation, prefix string) bool {
	return slices.ContainsFunc(v.Allowed(operation), func(p string) bool {
		return ledger.Pattern(p).Covers(ledger.Pattern(prefix))
	})
}

// MayUnder reports whether the user has a permission on some keys under a prefix, or on
// the key.
func (v *User) MayUnder(operation, prefix string) bool {
	return slices.ContainsFunc(v.Allowed(operation), func(p string) bool {
		return ledger.Pattern(p).Covers(ledger.Pattern(prefix)) || ledger.Pattern(prefix).Covers(ledger.Pattern(p))
	})
}

// Allowed returns the prefixes on which the user has a permission.
func (v *User) Allowed(operation string) []string {
	for _, a := range v.Principal.GetAllowed() {
		if a.Operation == operation {
			return a.Prefixes
		}
	}
	return nil
}

// Operator reports whether the user may act for any tenant.
func (v *User) Operator() bool { return slices.Contains(v.Principal.GetRoles(), "operator") }

// Roles lists a user's roles.
func Roles(p *stelev1.Principal) string {
	return strings.Join(slices.Sorted(slices.Values(p.GetRoles())), ", ")
}

// AccessPath is the page that explains whether the user has a permission, and why.
func AccessPath(t ledger.Tenant, operation, what string) string {
	return Address{Tenant: t}.To("access", "") + "?" + url.Values{"operation": {operation}, "what": {what}}.Encode() + "#ask"
}
