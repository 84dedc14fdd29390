package appconfig

import (
	"fmt"
	"strings"

	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/projector"
	"github.com/stelehq/stele/internal/projector/internal/naming"
)

// maxName is how long the names of applications, environments and profiles may be.
// https://docs.aws.amazon.com/appconfig/2019-10-09/APIReference/API_CreateApplication.html
const maxName = 64

// layout names a tenant's application, and the members of its document.
type layout struct {
	before, after string // of the tenant, in the name of its application
	strip         naming.Strip
}

const placeholder = "{tenant}"

func newLayout(application string, strip naming.Strip) (l layout, err error) {
	before, after, ok := strings.Cut(application, placeholder)
	switch {
	case !ok || strings.Contains(after, placeholder):
		return l, fmt.Errorf("application is %q: it has {tenant} in it once, so that each tenant has an application of its own", application)
	case strings.Contains(application, ":"):
		return l, fmt.Errorf("application is %q: it has no colon", application)
	}
	return layout{before, after, strip}, strip.Check()
}

func (l layout) application(t ledger.Tenant) string { return l.before + string(t) + l.after }

// member is the name of a key in its tenant's document, and a *projector.RefusedError for
// a key or tenant that it cannot hold.
func (l layout) member(t ledger.Tenant, key ledger.Key) (string, error) {
	name, err := l.strip.Cut(key)
	if err != nil {
		return "", err
	}
	if n := len(l.application(t)); n > maxName {
		return "", projector.Refuse("the application's name would have %d characters, and AppConfig allows %d: use a shorter \"application\" in the sink's settings", n, maxName)
	}
	return name, nil
}

// item is the sink's name of a member.
func (l layout) item(t ledger.Tenant, member string) string { return l.application(t) + ":" + member }

// parse reads an item's name; ok is false if it names no member of a tenant's document.
// The key is empty if the member is not of a key.
func (l layout) parse(item string) (t ledger.Tenant, member string, key ledger.Key, ok bool) {
	application, member, ok := strings.Cut(item, ":")
	tenant, begins := strings.CutPrefix(application, l.before)
	tenant, ends := strings.CutSuffix(tenant, l.after)
	if !ok || !begins || !ends || member == "" {
		return "", "", "", false
	}
	t, err := ledger.ParseTenant(tenant)
	if err != nil {
		return "", "", "", false
	}
	return t, member, l.strip.Key(member), true
}
