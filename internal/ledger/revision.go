package ledger

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"
)

// Revision is a commit's number within its tenant: 1, 2, 3, ... without gaps.
// 0 is the state before the first commit.
type Revision uint64

// String returns the revision in its usual notation: @42.
func (r Revision) String() string { return "@" + strconv.FormatUint(uint64(r), 10) }

// Sequence is a message's place in its stream, from 1. All tenants share the
// journal's stream, so a tenant's sequences have gaps.
type Sequence uint64

// CommitID is SHA-256(0x00 || commit bytes): RFC 6962's leaf hash, so that one
// hash serves the tenant's chain and the ledger's tree.
type CommitID [sha256.Size]byte

// IDOf hashes a commit's stored bytes.
func IDOf(encoded []byte) CommitID {
	h := sha256.New()
	h.Write([]byte{0})
	h.Write(encoded)
	var id CommitID
	h.Sum(id[:0])
	return id
}

// String writes the whole id in hexadecimal.
func (id CommitID) String() string { return hex.EncodeToString(id[:]) }

// Epoch is a ledger's identity: random bytes chosen when it is created. Every
// commit carries it, so that two ledgers' histories are never mixed.
type Epoch [8]byte

// ParseEpoch reads what String wrote.
func ParseEpoch(s string) (Epoch, error) {
	var e Epoch
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != len(e) {
		return e, fmt.Errorf("epoch %q is not %d hexadecimal digits", clip(s), 2*len(e))
	}
	copy(e[:], b)
	return e, nil
}

func (e Epoch) String() string { return hex.EncodeToString(e[:]) }

// Head is a tenant's newest commit, which every write is built on. The zero Head is the
// head of a tenant without a commit.
type Head struct {
	Revision Revision
	ID       CommitID
	// Time is the commit's, in nanoseconds since 1970 UTC.
	Time int64
	// Sequence is the sequence of the message that holds the commit.
	Sequence Sequence
}
