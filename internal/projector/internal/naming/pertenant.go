package naming

import (
	"fmt"
	"strings"

	"github.com/stelehq/stele/internal/ledger"
)

// PerTenant names the containers of sinks that keep one per tenant, and the members in them:
// CONTAINER:MEMBER is an item.
type PerTenant struct {
	before, after string // of the tenant, in the name of its container
	strip         Strip
}

const placeholder = "{tenant}"

// NewPerTenant checks the template of the containers' names, which the settings have in a
// field.
func NewPerTenant(field, template string, strip Strip) (l PerTenant, err error) {
	before, after, ok := strings.Cut(template, placeholder)
	switch {
	case !ok || strings.Contains(after, placeholder):
		return l, fmt.Errorf("%s is %q: it has {tenant} in it once, so that each tenant has its own", field, template)
	case strings.Contains(template, ":"):
		return l, fmt.Errorf("%s is %q: it has no colon", field, template)
	}
	return PerTenant{before, after, strip}, strip.Check()
}

// Container is the name of a tenant's container.
func (l PerTenant) Container(t ledger.Tenant) string { return l.before + string(t) + l.after }

// Member is the name of a key in its container, and a *projector.RefusedError for a key that
// does not begin with the prefix to strip.
func (l PerTenant) Member(key ledger.Key) (string, error) { return l.strip.Cut(key) }

// Key is the key of a member; empty if it is not of a key.
func (l PerTenant) Key(member string) ledger.Key { return l.strip.Key(member) }

// Item is the sink's name of a member.
func (l PerTenant) Item(t ledger.Tenant, member string) string { return l.Container(t) + ":" + member }

// Parse reads an item's name; ok is false if it names no member of a tenant's container.
func (l PerTenant) Parse(item string) (t ledger.Tenant, member string, ok bool) {
	container, member, ok := strings.Cut(item, ":")
	tenant, begins := strings.CutPrefix(container, l.before)
	tenant, ends := strings.CutSuffix(tenant, l.after)
	if !ok || !begins || !ends || member == "" {
		return "", "", false
	}
	t, err := ledger.ParseTenant(tenant)
	return t, member, err == nil
}
