package secret

import (
	"time"

	"github.com/stelehq/stele/internal/ledger"
)

// Live changes how long keys stay in memory.
func (k *Keyring) Live(d time.Duration) { k.life = d }

// Reread is what this version writes of an encrypted value.
func Reread(s string) (string, error) {
	v, err := parse(ledger.Value(s))
	return string(v.value()), err
}
