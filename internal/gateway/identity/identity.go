// Package identity says who a caller is. A Verifier turns a signed token into a
// Principal: subject, tenant, roles, prefixes. Nothing else that a caller sends has a say
// in whose configuration it sees.
//
// Tokens are JWTs signed with RS256, ES256 or EdDSA by an identity provider,
// which publishes its keys as a JWKS (RFC 7517). A Keyring follows that set from
// an endpoint or a file, so that keys change without a restart. Without a
// provider, a Signer is a local one: a key pair in a folder that signs tokens for
// this ledger.
package identity

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/stelehq/stele/internal/ledger"
)

// ErrUnauthenticated is in every error of Verify. The error's text describes how to fix
// the token and contains no part of it.
var ErrUnauthenticated = errors.New("unauthenticated")

// refusal is an ErrUnauthenticated with its reason.
type refusal struct{ reason string }

func refuse(format string, args ...any) *refusal {
	return &refusal{fmt.Sprintf(format, args...)}
}

func (r *refusal) Error() string { return ErrUnauthenticated.Error() + ": " + r.reason }

func (r *refusal) Unwrap() error { return ErrUnauthenticated }

// Role is a set of permissions of a principal.
type Role string

const (
	Reader  Role = "reader"
	Writer  Role = "writer"
	Admin   Role = "admin"
	Auditor Role = "auditor"
	// Revealer may reveal the secrets among the keys that another role may read.
	Revealer Role = "revealer"
	// Operator runs the ledger and may act for any tenant, the ledger's own too.
	Operator Role = "operator"
)

var allRoles = []Role{Reader, Writer, Admin, Auditor, Revealer, Operator}

// ParseRole checks a role's name.
func ParseRole(s string) (Role, error) {
	if r := Role(s); slices.Contains(allRoles, r) {
		return r, nil
	}
	return "", fmt.Errorf("unknown role %q: the roles are %q", s, allRoles)
}

// Principal is a verified caller. Calls share it: do not change it.
type Principal struct {
	// Subject names the caller, 1 to ledger.MaxAuthor bytes.
	Subject string
	// Tenant is empty for an operator that has not said for whom it acts.
	Tenant ledger.Tenant
	Roles  []Role
	// Prefixes select the keys that the token limits its holder to; nil if it does not.
	// They limit the roles, and grant nothing.
	Prefixes []ledger.Pattern
	// Minters are the subjects that have minted the token of a local identity: olga for olga/kim.
	// In the subjects of other issuers, such as repo:acme/config, "/" has no meaning.
	Minters []string
	// Replicates are the tenants whose commits an edge gateway with the token may copy,
	// by name, or AllTenants; none for a token that is not an edge's.
	Replicates []string
	// ID is the token's own name (jti), by which it can be revoked; empty without one.
	ID string
	// Issued is when the token was issued; zero if it does not say.
	Issued time.Time
	// Expires is when the token does; a stream ends then.
	Expires time.Time
}

// minters are the parts of a subject in front of each "/".
func minters(subject string) (all []string) {
	for i, c := range []byte(subject) {
		if c == '/' {
			all = append(all, subject[:i])
		}
	}
	return all
}

// Has reports whether the principal has the role. No role includes another.
func (p *Principal) Has(r Role) bool { return slices.Contains(p.Roles, r) }

// Owner is whom the principal's use of what all callers share counts for: its tenant or, without
// one, itself. No tenant has the name of such an owner.
func (p *Principal) Owner() string { return cmp.Or(string(p.Tenant), "/"+p.Subject) }

// AllTenants stands for every tenant in Principal.Replicates.
const AllTenants = "*"

// MayReplicate reports whether the token lets an edge gateway copy the tenant's commits.
func (p *Principal) MayReplicate(t ledger.Tenant) bool {
	return slices.Contains(p.Replicates, AllTenants) || slices.Contains(p.Replicates, string(t))
}

func parseReplicates(names []string) ([]string, error) {
	for _, name := range names {
		if name == AllTenants {
			continue
		}
		t, err := ledger.ParseTenant(name)
		if err != nil {
			return nil, err
		}
		if t.Reserved() {
			return nil, fmt.Errorf("%s comes along with any other tenant: leave it out", t)
		}
	}
	return names, nil
}

// checkTenant reports whether a token with these roles is allowed to have the tenant.
func checkTenant(t ledger.Tenant, roles []Role, replicates []string) error {
	operator := slices.Contains(roles, Operator)
	if t == "" {
		if operator || len(replicates) > 0 {
			return nil
		}
		return errors.New("a tenant is required, except for operators and edge gateways")
	}
	if _, err := ledger.ParseTenant(string(t)); err != nil {
		return err
	}
	if t.Reserved() && !operator {
		return errors.New("tenants that begin with \"_\" are for operators")
	}
	return nil
}
