package watch

import (
	"github.com/stelehq/stele/internal/ledger"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// Frame is an encoded message in two parts, so that streams can share one body under
// heads of their own. Fields of a protobuf message can be in any order: the two parts
// in a row are the message.
type Frame struct {
	Head []byte
	Body *Body
}

func (f Frame) size() int { return len(f.Head) + len(f.Body.data) }

// Field numbers of WatchResponse.
const (
	fieldIDs    = 1
	fieldCommit = 4
)

// EncodeIDs is the part of a WatchResponse that names its watches.
func EncodeIDs(watches []*Watch) []byte {
	size := 0
	for _, w := range watches {
		size += protowire.SizeVarint(w.ID)
	}
	b := protowire.AppendTag(nil, fieldIDs, protowire.BytesType)
	b = protowire.AppendVarint(b, uint64(size))
	for _, w := range watches {
		b = protowire.AppendVarint(b, w.ID)
	}
	return b
}

// encodeCommit is the part of a WatchResponse that holds a commit, or a part of one after which
// more follows.
func encodeCommit(c *ledger.Commit, changes []ledger.Change, more bool) []byte {
	m := &stelev1.WatchCommit{
		Revision: uint64(c.Revision),
		Id:       c.ID[:],
		Time:     timestamppb.New(c.Time),
		Author:   c.Author,
		Message:  c.Message,
		Changes:  ledger.ChangesProto(changes),
		More:     more,
	}
	size := proto.Size(m)
	b := protowire.AppendTag(make([]byte, 0, size+8), fieldCommit, protowire.BytesType)
	b = protowire.AppendVarint(b, uint64(size))
	// Fails only for invalid UTF-8, which a commit cannot hold.
	b, _ = proto.MarshalOptions{UseCachedSize: true}.MarshalAppend(b, m)
	return b
}

// encodeEvent is a whole WatchResponse.
func encodeEvent(m *stelev1.WatchResponse) []byte {
	b, _ := proto.Marshal(m) // fails only for invalid UTF-8, which no key or value holds
	return b
}
