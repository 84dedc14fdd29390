package proof

import (
	"fmt"

	"github.com/stelehq/stele/ledger"
	"google.golang.org/protobuf/encoding/protowire"
)

// Header is what a commit's chain needs of it.
type Header struct {
	Epoch    ledger.Epoch
	Tenant   ledger.Tenant
	Revision ledger.Revision
	Parent   ledger.CommitID // zero for revision 1
	// Time in nanoseconds since 1970 UTC.
	Time int64
}

const fieldTime protowire.Number = 5

// ReadHeader reads a commit's bytes without its changes.
func ReadHeader(commit []byte) (h Header, err error) {
	parent, epoch := 0, 0
	var seconds, nanos int64
	err = fields(commit, func(n protowire.Number, b []byte, v uint64) error {
		switch {
		case n == fieldEpoch && b != nil:
			epoch = len(b)
			copy(h.Epoch[:], b)
		case n == fieldTenant && b != nil:
			h.Tenant = ledger.Tenant(b)
		case n == fieldRevision && b == nil:
			h.Revision = ledger.Revision(v)
		case n == fieldParent && b != nil:
			parent = len(b)
			copy(h.Parent[:], b)
		case n == fieldTime && b != nil:
			return fields(b, func(n protowire.Number, _ []byte, v uint64) error {
				switch n {
				case 1:
					seconds = int64(v)
				case 2:
					nanos = int64(v)
				}
				return nil
			})
		}
		return nil
	})
	h.Time = seconds*1e9 + nanos
	switch {
	case err != nil:
		return h, fmt.Errorf("a commit that cannot be read: %w", err)
	case epoch != len(h.Epoch):
		return h, fmt.Errorf("a commit whose epoch has %d bytes", epoch)
	case h.Revision == 0, h.Revision > 1 && parent != len(h.Parent), h.Revision == 1 && parent > 0:
		return h, fmt.Errorf("a commit %s%s whose parent has %d bytes", h.Tenant, h.Revision, parent)
	}
	return h, nil
}

// Commits calls f for the bytes of each commit of a journal's record, in order.
func Commits(record []byte, f func(commit []byte) error) error {
	return fields(record, func(n protowire.Number, b []byte, _ uint64) error {
		if n != fieldCommits || b == nil {
			return fmt.Errorf("a record with the field %d", n)
		}
		return f(b)
	})
}
