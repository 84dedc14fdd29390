package proof

import (
	"fmt"

	"github.com/stelehq/stele/internal/ledger"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// Header is the part of a commit that its chain uses.
type Header struct {
	Epoch    ledger.Epoch
	Tenant   ledger.Tenant
	Revision ledger.Revision
	Parent   ledger.CommitID // zero for revision 1
	// Time in nanoseconds since 1970 UTC.
	Time int64
	// ResetsClock marks a commit whose time may be before its parent's.
	ResetsClock bool
}

// The numbers of the fields of a Record, of a Commit, and of a Timestamp.
const (
	fieldCommits  protowire.Number = 1
	fieldEpoch    protowire.Number = 1
	fieldTenant   protowire.Number = 2
	fieldRevision protowire.Number = 3
	fieldParent   protowire.Number = 4
	fieldTime     protowire.Number = 5
	fieldOrigin   protowire.Number = 9
	fieldSeconds  protowire.Number = 1
	fieldNanos    protowire.Number = 2
)

// ReadHeader reads a commit's bytes without its changes.
func ReadHeader(commit []byte) (h Header, err error) {
	var epoch, parent []byte
	var seconds, nanos int64
	var origin stelev1.Origin
	err = fields(commit, func(n protowire.Number, b []byte, v uint64) error {
		switch {
		case n == fieldEpoch && b != nil:
			epoch = b
		case n == fieldTenant && b != nil:
			h.Tenant = ledger.Tenant(b)
		case n == fieldRevision && b == nil:
			h.Revision = ledger.Revision(v)
		case n == fieldParent && b != nil:
			parent = b
		case n == fieldTime && b != nil:
			return fields(b, func(n protowire.Number, _ []byte, v uint64) error {
				switch n {
				case fieldSeconds:
					seconds = int64(v)
				case fieldNanos:
					nanos = int64(v)
				}
				return nil
			})
		case n == fieldOrigin && b != nil: // fields that come twice are merged
			return proto.UnmarshalOptions{Merge: true}.Unmarshal(b, &origin)
		}
		return nil
	})
	copy(h.Epoch[:], epoch)
	copy(h.Parent[:], parent)
	h.Time = seconds*1e9 + nanos
	h.ResetsClock = origin.GetClock() != nil
	switch {
	case err != nil:
		return h, fmt.Errorf("a commit that cannot be read: %w", err)
	case len(epoch) != len(h.Epoch):
		return h, fmt.Errorf("a commit whose epoch has %d bytes", len(epoch))
	case h.Revision == 0, h.Revision > 1 && len(parent) != len(h.Parent), h.Revision == 1 && len(parent) > 0:
		return h, fmt.Errorf("a commit %s%s whose parent has %d bytes", h.Tenant, h.Revision, len(parent))
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
