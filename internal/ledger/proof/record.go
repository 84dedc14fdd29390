package proof

import (
	"errors"
	"fmt"

	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/internal/follower"
	"github.com/stelehq/stele/internal/ledger/journal"
	"golang.org/x/mod/sumdb/tlog"
	"google.golang.org/protobuf/encoding/protowire"
)

// record is a message's commits, as far as the tree needs to know them.
type record struct {
	sequence ledger.Sequence
	runs     []run
}

// run is the commits of one tenant that stand next to each other in a record.
type run struct {
	tenant ledger.Tenant
	first  ledger.Revision
	parent ledger.CommitID // of the first commit; zero for revision 1
	leaves []tlog.Hash
}

// commits is how many there are.
func (r record) commits() (n int) {
	for _, run := range r.runs {
		n += len(run.leaves)
	}
	return n
}

// recordOf takes a message apart.
func recordOf(m journal.Message, epoch ledger.Epoch) (record, error) {
	runs, err := readRecord(m.Record, epoch)
	if err != nil {
		return record{}, fmt.Errorf("message %d: %w: %w", m.Sequence, follower.ErrContradiction, err)
	}
	return record{m.Sequence, runs}, nil
}

// readRecord splits a record without decoding its changes. Its commits must be of the
// ledger, and commits of one tenant must continue each other; the tree checks whether
// they continue the commits before the record.
func readRecord(body []byte, epoch ledger.Epoch) (runs []run, err error) {
	seen := make(map[ledger.Tenant]bool)
	err = fields(body, func(n protowire.Number, commit []byte, _ uint64) error {
		if n != fieldCommits || commit == nil {
			return nil
		}
		h, err := ReadHeader(commit)
		switch {
		case err != nil:
			return err
		case h.Epoch != epoch:
			return fmt.Errorf("it holds a commit of the ledger %s, not %s", h.Epoch, epoch)
		}
		if len(runs) == 0 || runs[len(runs)-1].tenant != h.Tenant {
			if seen[h.Tenant] {
				return fmt.Errorf("it holds the commits of %s in two places", h.Tenant)
			}
			seen[h.Tenant] = true
			runs = append(runs, run{tenant: h.Tenant, first: h.Revision, parent: h.Parent})
		}
		r := &runs[len(runs)-1]
		if n := len(r.leaves); n > 0 {
			if next := r.first + ledger.Revision(n); h.Revision != next {
				return fmt.Errorf("%s%s follows %s in it", h.Tenant, h.Revision, next-1)
			}
			if tlog.Hash(h.Parent) != r.leaves[n-1] {
				return fmt.Errorf("the parent of %s%s is not the commit before it", h.Tenant, h.Revision)
			}
		}
		r.leaves = append(r.leaves, tlog.Hash(ledger.IDOf(commit)))
		return nil
	})
	if err == nil && len(runs) == 0 {
		err = errors.New("it holds no commit")
	}
	return runs, err
}
