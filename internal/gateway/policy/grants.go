package policy

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/stelehq/stele/internal/gateway/identity"
	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/strictjson"
)

// grants are a tenant's policy on permissions, the value of policy/<tenant>/grants:
//
//	{"grants":[
//	  {"roles":["writer"],"prefixes":["tenantconfig/checkout/"]},
//	  {"subjects":["ci-*"],"prefixes":["tenantconfig/"],"operations":["read","write"]}
//	]}
//
// If a tenant has grants, only operations that one of them grants are allowed. Grants do not
// apply to operators, who write them.
type grants []grant

// grant gives its holders operations on keys.
type grant struct {
	// A holder has one of the roles, if the grant names roles, and is one of the
	// subjects, if it names subjects. A "*" at the end of a subject stands for any ending.
	roles    []identity.Role
	subjects subjects
	// prefixes select the keys.
	prefixes Scope
	// operations are the operations that it grants; empty for the operations of the
	// holder's roles.
	operations []Operation
	// text is the grant as the policy has it.
	text string
}

// maxGrants bounds the grants that every call of a tenant has to search.
const maxGrants = 1000

type grantsDocument struct {
	Grants *[]jsontext.Value `json:"grants"`
}

type grantDocument struct {
	Roles      names `json:"roles"`
	Subjects   names `json:"subjects"`
	Prefixes   names `json:"prefixes"`
	Operations names `json:"operations"`
}

// names is a list that is absent or not empty: an empty list could mean nothing or
// everything.
type names []string

func (n *names) UnmarshalJSON(text []byte) error {
	var list []string
	if err := json.Unmarshal(text, &list); err != nil {
		return err
	}
	if *n = list; len(list) == 0 {
		return errors.New("it is empty: name some, or leave it out")
	}
	return nil
}

// parseGrants reads the grants. Unknown fields are errors, because they may be
// misspelled limits.
func parseGrants(value ledger.Value) (grants, error) {
	var doc grantsDocument
	if err := strictjson.Unmarshal([]byte(value), &doc, `it must be an object with "grants"`); err != nil {
		return nil, err
	}
	switch {
	case doc.Grants == nil:
		return nil, errors.New(`it has no "grants"`)
	case len(*doc.Grants) > maxGrants:
		return nil, fmt.Errorf("%d grants are more than %d", len(*doc.Grants), maxGrants)
	}
	gs := make(grants, len(*doc.Grants))
	for i, text := range *doc.Grants {
		var err error
		if gs[i], err = parseGrant(text); err != nil {
			return nil, fmt.Errorf("grants[%d]: %w", i, err)
		}
	}
	return gs, nil
}

func parseGrant(text jsontext.Value) (g grant, err error) {
	var doc grantDocument
	if err := strictjson.Unmarshal(text, &doc, "it must be an object"); err != nil {
		return g, err
	}
	if doc.Roles == nil && doc.Subjects == nil {
		return g, errors.New(`it has no grantee: name "roles" or "subjects"`)
	}
	g = grant{subjects: subjects(doc.Subjects), prefixes: everywhere, text: string(text)}
	for _, name := range doc.Roles {
		r, err := identity.ParseRole(name)
		if err != nil {
			return g, err
		}
		if r == identity.Operator {
			return g, errors.New("grants do not bind operators: leave the role out")
		}
		g.roles = append(g.roles, r)
	}
	for _, s := range doc.Subjects {
		if i := strings.IndexByte(s, '*'); s == "" || len(s) > ledger.MaxAuthor || i >= 0 && i < len(s)-1 {
			return g, fmt.Errorf("subject %q is not 1 to %d bytes with at most one \"*\", at the end", s, ledger.MaxAuthor)
		}
	}
	if doc.Prefixes != nil {
		g.prefixes = nil // and not everywhere
	}
	for _, s := range doc.Prefixes {
		p, err := ledger.ParsePattern(s)
		if err != nil {
			return g, err
		}
		g.prefixes = append(g.prefixes, p)
	}
	for _, s := range doc.Operations {
		op, err := parseOperation(s)
		if err != nil {
			return g, err
		}
		g.operations = append(g.operations, op)
	}
	return g, nil
}

// holds reports whether the principal holds the grant.
func (g *grant) holds(p *identity.Principal) bool {
	if len(g.roles) > 0 && !slices.ContainsFunc(g.roles, p.Has) {
		return false
	}
	return len(g.subjects) == 0 || g.subjects.match(p.Subject)
}

// gives reports whether the grant gives the principal the operation.
func (g *grant) gives(p *identity.Principal, op Operation) bool {
	switch {
	case !g.holds(p):
		return false
	case len(g.operations) > 0:
		return slices.Contains(g.operations, op)
	}
	return slices.ContainsFunc(rolesWith[op], func(r identity.Role) bool {
		return p.Has(r) && (len(g.roles) == 0 || slices.Contains(g.roles, r))
	})
}

// scope is the scope in which the grants give the principal the operation.
func (gs grants) scope(p *identity.Principal, op Operation) Scope {
	var s Scope
	for i := range gs {
		if gs[i].gives(p, op) {
			s = append(s, gs[i].prefixes...)
		}
	}
	return s.tidy()
}

// one is the first grant that gives the principal the operation on all keys that the
// prefix, a ledger.Pattern, selects; nil if none does.
func (gs grants) one(p *identity.Principal, op Operation, prefix string) *grant {
	for i := range gs {
		if gs[i].gives(p, op) && gs[i].prefixes.Prefix(prefix) {
			return &gs[i]
		}
	}
	return nil
}
