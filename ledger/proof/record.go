package proof

import (
	"bytes"
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

// The numbers of the fields of a Record and of a Commit.
const (
	fieldCommits  protowire.Number = 1
	fieldEpoch    protowire.Number = 1
	fieldTenant   protowire.Number = 2
	fieldRevision protowire.Number = 3
	fieldParent   protowire.Number = 4
)

// readRecord takes a record of the tenant apart without decoding its changes. Its
// commits must be of the ledger and stand in order; whether they chain to what
// was before the record is for the tree to see.
func readRecord(body []byte, epoch ledger.Epoch, tenant ledger.Tenant) (r record, err error) {
	r.tenant = tenant
	err = fields(body, func(n protowire.Number, commit []byte, _ uint64) error {
		if n != fieldCommits || commit == nil {
			return nil
		}
		h, err := readHeader(commit)
		next := r.first + ledger.Revision(len(r.leaves))
		switch {
		case err != nil:
			return err
		case !bytes.Equal(h.epoch, epoch[:]):
			return fmt.Errorf("it holds a commit of the ledger %x, not %s", h.epoch, epoch)
		case string(h.tenant) != string(tenant):
			return fmt.Errorf("it is on the subject of %s and holds a commit of %.80q", tenant, h.tenant)
		case len(r.leaves) > 0 && h.revision != next:
			return fmt.Errorf("%s follows %s in it", h.revision, next-1)
		case h.revision == 0, h.revision > 1 && len(h.parent) != len(r.parent), h.revision == 1 && len(h.parent) > 0:
			return fmt.Errorf("%s has a parent of %d bytes", h.revision, len(h.parent))
		}
		if len(r.leaves) == 0 {
			r.first = h.revision
			copy(r.parent[:], h.parent)
		} else if tlog.Hash(h.parent) != r.leaves[len(r.leaves)-1] {
			return fmt.Errorf("the parent of %s is not the commit before it", h.revision)
		}
		r.leaves = append(r.leaves, tlog.Hash(ledger.IDOf(commit)))
		return nil
	})
	if err == nil && len(r.leaves) == 0 {
		err = errors.New("it holds no commit")
	}
	return r, err
}

// header is a commit without its changes.
type header struct {
	epoch, tenant, parent []byte
	revision              ledger.Revision
}

func readHeader(commit []byte) (h header, err error) {
	err = fields(commit, func(n protowire.Number, b []byte, v uint64) error {
		switch {
		case n == fieldEpoch && b != nil:
			h.epoch = b
		case n == fieldTenant && b != nil:
			h.tenant = b
		case n == fieldRevision && b == nil:
			h.revision = ledger.Revision(v)
		case n == fieldParent && b != nil:
			h.parent = b
		}
		return nil
	})
	return h, err
}

// fields yields a message's fields of the types that we use: bytes, or a number
// when b is nil. As in every decoder of protobuf, a field that comes twice counts
// as it came last.
func fields(message []byte, yield func(n protowire.Number, b []byte, v uint64) error) error {
	for len(message) > 0 {
		number, kind, n := protowire.ConsumeTag(message)
		if n < 0 {
			return protowire.ParseError(n)
		}
		message = message[n:]
		var b []byte
		var v uint64
		switch kind {
		case protowire.BytesType:
			if b, n = protowire.ConsumeBytes(message); b == nil {
				b = []byte{}
			}
		case protowire.VarintType:
			v, n = protowire.ConsumeVarint(message)
		default:
			if n = protowire.ConsumeFieldValue(number, kind, message); n >= 0 {
				message = message[n:]
				continue
			}
		}
		if n < 0 {
			return protowire.ParseError(n)
		}
		message = message[n:]
		if err := yield(number, b, v); err != nil {
			return err
		}
	}
	return nil
}
