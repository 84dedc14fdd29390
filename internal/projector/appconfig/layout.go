package appconfig

import (
	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/projector"
	"github.com/stelehq/stele/internal/projector/internal/naming"
)

// maxName is how long the names of applications, environments and profiles may be.
// https://docs.aws.amazon.com/appconfig/2019-10-09/APIReference/API_CreateApplication.html
const maxName = 64

// memberOf is the name of a key in its tenant's document, and a *projector.RefusedError for
// a key or tenant that it cannot hold.
func memberOf(l naming.PerTenant, t ledger.Tenant, key ledger.Key) (string, error) {
	name, err := l.Member(key)
	if err != nil {
		return "", err
	}
	if n := len(l.Container(t)); n > maxName {
		return "", projector.Refuse("the application's name would have %d characters, and AppConfig allows %d: use a shorter \"application\" in the sink's settings", n, maxName)
	}
	return name, nil
}
