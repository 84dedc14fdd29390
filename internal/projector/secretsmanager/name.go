package secretsmanager

import (
	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/projector"
	"github.com/stelehq/stele/internal/projector/internal/naming"
)

// maxName is how many characters a secret's name has at most.
const maxName = 512

// nameOf is a *projector.RefusedError for a key that no secret can be named for.
func nameOf(l naming.Layout, t ledger.Tenant, key ledger.Key) (string, error) {
	name, err := l.Name(t, key)
	if err == nil && len(name) > maxName {
		return "", projector.Refuse("the secret's name would have %d characters, and AWS allows %d: rename the key, or use a shorter prefix", len(name), maxName)
	}
	return name, err
}
