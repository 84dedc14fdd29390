package node

import (
	"path/filepath"

	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/proof"
	"github.com/stelehq/stele/internal/ledger/replica"
)

// knownEpoch is the identity of the ledger that the files of replica and tree are of; zero if
// there is none. It opens them, so it must be called before the node does.
func (c Config) knownEpoch() (ledger.Epoch, error) {
	r, err := replica.Open(replica.Config{Path: filepath.Join(c.Data, "replica.db"), Tenants: held(c.Tenants), History: c.history(), Log: c.Log})
	if err != nil {
		return ledger.Epoch{}, err
	}
	epoch := r.Epoch()
	if err := r.Close(); err != nil || epoch != (ledger.Epoch{}) {
		return epoch, err
	}
	t, err := proof.OpenTree(proof.Config{Path: filepath.Join(c.Data, "tree.db"), Log: c.Log})
	if err != nil {
		return ledger.Epoch{}, err
	}
	return t.Epoch(), t.Close()
}
