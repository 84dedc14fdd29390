package migrate

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/stelehq/stele/internal/ledger"
)

// tenantMark stands in a prefix where names have the tenant.
const tenantMark = "{tenant}"

// Mapping says where in the ledger a source's names belong.
type Mapping struct {
	// before is what names begin with. Where the tenant is in the names it
	// follows, up to a slash, and then after.
	before, after string
	inName        bool
	tenant        ledger.Tenant
	into          ledger.Prefix
	renames       []Rename
}

// NewMapping reads a prefix, which is cut off the names that begin with it; other
// names are left alone. The rest of the name goes through the renames and follows into.
// A prefix like /config/{tenant}/ takes the tenant from the name, any other takes the one
// given.
func NewMapping(prefix, into string, tenant ledger.Tenant, renames ...Rename) (Mapping, error) {
	m := Mapping{before: prefix, tenant: tenant, renames: renames}
	var err error
	if m.into, err = ledger.ParsePrefix(into); err != nil {
		return m, err
	}
	before, after, found := strings.Cut(prefix, tenantMark)
	if !found {
		return m, nil
	}
	m.before, m.after, m.inName = before, after, true
	switch {
	case strings.Contains(after, tenantMark):
		return m, fmt.Errorf("prefix %q has %s twice", prefix, tenantMark)
	case before != "" && !strings.HasSuffix(before, "/"), !strings.HasPrefix(after, "/"):
		return m, fmt.Errorf("prefix %q: %s stands between slashes, as in /config/%s/", prefix, tenantMark, tenantMark)
	}
	return m, nil
}

// Root is what all names that the mapping takes begin with.
func (m Mapping) Root() string { return m.before }

// Into is what keys begin with in the ledger.
func (m Mapping) Into() ledger.Prefix { return m.into }

// TenantInName reports whether names have the tenant.
func (m Mapping) TenantInName() bool { return m.inName }

// Place is where a name belongs; ok is false for a name that the mapping leaves
// alone.
func (m Mapping) Place(name string) (t ledger.Tenant, k ledger.Key, ok bool, err error) {
	rest, ok := strings.CutPrefix(name, m.before)
	if !ok {
		return "", "", false, nil
	}
	t = m.tenant
	if m.inName {
		var text string
		i := strings.IndexByte(rest, '/')
		if i < 0 {
			return "", "", false, nil
		}
		if text, rest = rest[:i], rest[i:]; !strings.HasPrefix(rest, m.after) {
			return "", "", false, nil
		}
		rest = rest[len(m.after):]
		if t, err = ledger.ParseTenant(text); err != nil {
			return "", "", true, err
		}
		if t.Reserved() {
			return "", "", true, fmt.Errorf("tenant %s is the ledger's own", t)
		}
	}
	if rest == "" {
		return t, "", true, fmt.Errorf("nothing follows the prefix")
	}
	for _, r := range m.renames {
		rest = r.apply(rest)
	}
	k, err = ledger.ParseKey(string(m.into) + rest)
	return t, k, true, err
}

// Renamed reports whether a rename changes a name that the mapping takes.
func (m Mapping) Renamed(name string) bool {
	rest := strings.TrimPrefix(name, m.before)
	return slices.ContainsFunc(m.renames, func(r Rename) bool { return r.apply(rest) != rest })
}

// Rename replaces what matches in a name.
type Rename struct {
	match *regexp.Regexp
	with  string
	all   bool
}

// ParseRename reads s/REGEXP/REPLACEMENT/ as sed has it, with the flag g to replace every
// match. Any character may stand for the slash; $1 or \1 stand for a group.
func ParseRename(s string) (r Rename, err error) {
	malformed := fmt.Errorf("%q is not a rule: write s/REGEXP/REPLACEMENT/ or s/REGEXP/REPLACEMENT/g", s)
	if len(s) < 2 || s[0] != 's' {
		return r, malformed
	}
	parts := strings.Split(s[2:], s[1:2])
	if len(parts) != 3 || parts[0] == "" || parts[2] != "" && parts[2] != "g" {
		return r, malformed
	}
	if r.match, err = regexp.Compile(parts[0]); err != nil {
		return r, fmt.Errorf("%q: %w", s, err)
	}
	r.with, r.all = groups.ReplaceAllString(parts[1], "$${$1}"), parts[2] == "g"
	return r, nil
}

// groups are sed's references to groups.
var groups = regexp.MustCompile(`\\([0-9])`)

func (r Rename) apply(name string) string {
	if r.all {
		return r.match.ReplaceAllString(name, r.with)
	}
	at := r.match.FindStringSubmatchIndex(name)
	if at == nil {
		return name
	}
	return name[:at[0]] + string(r.match.ExpandString(nil, r.with, name, at)) + name[at[1]:]
}

// from is the prefix of one tenant's names.
func (m Mapping) from(t ledger.Tenant) string {
	if !m.inName {
		return m.before
	}
	return m.before + string(t) + m.after
}
