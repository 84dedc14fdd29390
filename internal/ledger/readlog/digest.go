// Package readlog binds the recorded reads to the history of the ledger. A read is recorded
// in a stream of its own, which no commit covers. From time to time a process commits a
// digest of all records so far to the ledger's own tenant, so that the signed checkpoints
// cover it: a record that is changed, removed, inserted or moved afterwards contradicts
// the history.
package readlog

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"

	"github.com/go-json-experiment/json"
	"github.com/stelehq/stele/internal/ledger"
)

// Digest identifies the first Count records of the stream: Sum is
// SHA-256(Sum of the records before || the newest record), beginning with 32 zeros.
type Digest struct {
	Count uint64
	Sum   [sha256.Size]byte
}

// Add appends a record.
func (d *Digest) Add(record []byte) {
	h := sha256.New()
	h.Write(d.Sum[:])
	h.Write(record)
	h.Sum(d.Sum[:0])
	d.Count++
}

// document is a digest as the value of ledger.ReadsDigest.
type document struct {
	Count  uint64 `json:"count"`
	Digest string `json:"digest"`
}

// Value is the digest as the value of ledger.ReadsDigest.
func (d Digest) Value() (ledger.Value, error) {
	text, err := json.Marshal(document{d.Count, hex.EncodeToString(d.Sum[:])})
	return ledger.Value(text), err
}

// ParseDigest reads the value of ledger.ReadsDigest.
func ParseDigest(v ledger.Value) (d Digest, err error) {
	var doc document
	if err := json.Unmarshal([]byte(v), &doc, json.RejectUnknownMembers(true)); err != nil {
		return d, fmt.Errorf("read a digest of recorded reads: %w", err)
	}
	sum, err := hex.DecodeString(doc.Digest)
	if err != nil || len(sum) != len(d.Sum) {
		return d, fmt.Errorf("read a digest of recorded reads: %.80q is not %d bytes in hex", doc.Digest, len(d.Sum))
	}
	return Digest{doc.Count, [sha256.Size]byte(sum)}, nil
}
