package proof

import (
	"errors"
	"fmt"

	"github.com/stelehq/stele/ledger"
	"golang.org/x/mod/sumdb/tlog"
	"google.golang.org/protobuf/encoding/protowire"
)

// record is a message's commits, as far as the tree needs to know them.
type record struct {
	shard    int
	sequence ledger.Sequence
	tenant   ledger.Tenant
	first    ledger.Revision
	parent   ledger.CommitID // of the first commit; zero for revision 1
	leaves   []tlog.Hash
}

// readRecord takes a record of the tenant apart without decoding its changes. Its
// commits must be of the ledger and stand in order; whether they chain to what
// was before the record is for the tree to see.
func readRecord(body []byte, epoch ledger.Epoch, tenant ledger.Tenant) (r record, err error) {
	r.tenant = tenant
	err = fields(body, func(n protowire.Number, commit []byte, _ uint64) error {
		if n != fieldCommits || commit == nil {
			return nil
		}
		h, err := ReadHeader(commit)
		next := r.first + ledger.Revision(len(r.leaves))
		switch {
		case err != nil:
			return err
		case h.Epoch != epoch:
			return fmt.Errorf("it holds a commit of the ledger %s, not %s", h.Epoch, epoch)
		case h.Tenant != tenant:
			return fmt.Errorf("it is on the subject of %s and holds a commit of %.80q", tenant, string(h.Tenant))
		case len(r.leaves) == 0:
			r.first, r.parent = h.Revision, h.Parent
		case h.Revision != next:
			return fmt.Errorf("%s follows %s in it", h.Revision, next-1)
		case tlog.Hash(h.Parent) != r.leaves[len(r.leaves)-1]:
			return fmt.Errorf("the parent of %s is not the commit before it", h.Revision)
		}
		r.leaves = append(r.leaves, tlog.Hash(ledger.IDOf(commit)))
		return nil
	})
	if err == nil && len(r.leaves) == 0 {
		err = errors.New("it holds no commit")
	}
	return r, err
}
