package identity

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// RolesMap gives the roles that a provider's own names stand for, e.g. of its groups. A
// token's names that are not in it give nothing, so that a group that happens to be
// called "operator" makes no caller one. A nil RolesMap takes roles by their own names.
type RolesMap map[string][]Role

// ParseRolesMap reads pairs like Admins=admin. A name may come more than once, with
// another role each time.
func ParseRolesMap(pairs []string) (RolesMap, error) {
	if len(pairs) == 0 {
		return nil, nil
	}
	m := make(RolesMap)
	for _, pair := range pairs {
		name, text, ok := strings.Cut(pair, "=")
		if name = strings.TrimSpace(name); !ok || name == "" {
			return nil, fmt.Errorf("%q is not a pair like Admins=admin", pair)
		}
		role, err := ParseRole(strings.TrimSpace(text))
		if err != nil {
			return nil, fmt.Errorf("%q: %w", pair, err)
		}
		m[name] = append(m[name], role)
	}
	return m, nil
}

// String lists the pairs in the order of the names.
func (m RolesMap) String() string {
	var pairs []string
	for _, name := range slices.Sorted(maps.Keys(m)) {
		for _, role := range m[name] {
			pairs = append(pairs, name+"="+string(role))
		}
	}
	return strings.Join(pairs, ",")
}

// read reads a roles claim: a list of strings, or one string with spaces between names.
// A string that is a name of the map as a whole is that name, with its spaces. Each role
// is returned once; false means that the claim is neither.
func (m RolesMap) read(claim any) ([]Role, bool) {
	if whole, ok := claim.(string); ok && m[whole] != nil {
		claim = []any{whole}
	}
	names, ok := readNames(claim)
	if !ok {
		return nil, false
	}
	has := make(map[Role]bool)
	for _, name := range names {
		if m == nil {
			has[Role(name)] = true
		}
		for _, role := range m[name] {
			has[role] = true
		}
	}
	var known []Role
	for _, r := range allRoles {
		if has[r] {
			known = append(known, r)
		}
	}
	return known, true
}
