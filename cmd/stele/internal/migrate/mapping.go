package migrate

import (
	"fmt"
	"strings"

	"github.com/stelehq/stele/ledger"
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
}

// NewMapping reads a prefix, which is cut off the names that begin with it; other
// names are left alone. What is left follows into. A prefix like
// /config/{tenant}/ takes the tenant from the name, any other takes the one given.
func NewMapping(prefix, into string, tenant ledger.Tenant) (Mapping, error) {
	m := Mapping{before: prefix, tenant: tenant}
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

// TenantInName says whether names have the tenant.
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
	k, err = ledger.ParseKey(string(m.into) + rest)
	return t, k, true, err
}

// from is the prefix of one tenant's names.
func (m Mapping) from(t ledger.Tenant) string {
	if !m.inName {
		return m.before
	}
	return m.before + string(t) + m.after
}
