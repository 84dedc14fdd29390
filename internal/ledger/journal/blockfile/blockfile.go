// Package blockfile reads the files in which JetStream stores the messages of a stream,
// streams/NAME/msgs/N.blk, without a server.
//
// A server repairs what it cannot read: it skips a message whose checksum is wrong, and
// cuts a file off at a record whose length is wrong, with every message after it. So a
// reader that looks for damage must not ask the server.
//
// A record is
//
//	length of all of it   4 bytes; the highest bit is set if it has a header
//	sequence              8 bytes
//	time                  8 bytes, Unix nanoseconds
//	length of subject     2 bytes
//	subject
//	length of header      4 bytes, only with a header
//	header, body
//	checksum              8 bytes: HighwayHash of sequence, time, subject, header and body
//
// The checksum covers none of the lengths. If one of them is wrong, a server may hand
// out another subject, header or body than was stored.
package blockfile

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash"
	"iter"
	"time"

	"github.com/minio/highwayhash"
)

const (
	fixedBytes    = 22
	checksumBytes = 8
	// longest is the length above which a record cannot be right.
	longest = 32 << 20

	hasHeader = 1 << 31 // of a length
	erased    = 1 << 63 // of a sequence: the message was overwritten
	tombstone = 1 << 62 // of a sequence: the record says that the message was deleted
)

// Record is a message as it is stored. It refers to the block that it was read from.
type Record struct {
	Sequence uint64
	Time     time.Time
	Subject  string
	Body     []byte
}

// Damage is a part of a block that does not contain what was written.
type Damage struct{ From, To int }

func (d *Damage) Error() string { return fmt.Sprintf("bytes %d to %d are damaged", d.From, d.To-1) }

// Records yields the messages of a block that can be read, in their order, and a *Damage
// for each part that cannot. The number is in the name of the block's file.
func Records(block []byte, stream string, number int) iter.Seq2[Record, error] {
	key := sha256.Sum256(fmt.Appendf(nil, "%s-%d", stream, number))
	sum, err := highwayhash.New64(key[:])
	if err != nil {
		panic(err) // the key has the right length
	}
	r := reader{block: block, sum: sum}
	return func(yield func(Record, error) bool) {
		for at := 0; at < len(block); {
			rec, size := r.record(at)
			if size == 0 {
				from := at
				for at++; at < len(block) && size == 0; at++ {
					rec, size = r.record(at)
				}
				if size > 0 {
					at--
				}
				if !yield(Record{}, &Damage{from, at}) {
					return
				}
			}
			at += size
			if size == 0 || rec.Sequence == 0 {
				continue
			}
			r.last = rec.Sequence
			if !yield(rec, nil) {
				return
			}
		}
	}
}

type reader struct {
	block []byte
	sum   hash.Hash64
	last  uint64 // the sequence that was read last
}

// record reads the record at an offset. Its size is 0 if none begins there that is valid,
// and its sequence is 0 if it does not have a message.
func (r *reader) record(at int) (rec Record, size int) {
	b := r.block[at:]
	if len(b) < fixedBytes+checksumBytes {
		return rec, 0
	}
	length := binary.LittleEndian.Uint32(b)
	headed := length&hasHeader != 0
	size = int(length &^ hasHeader)
	seq := binary.LittleEndian.Uint64(b[4:])
	nanos := int64(binary.LittleEndian.Uint64(b[12:]))
	subject := int(binary.LittleEndian.Uint16(b[20:]))
	prefix := subject
	if headed {
		prefix += 4
	}
	switch number := seq &^ (erased | tombstone); {
	case size < fixedBytes+prefix+checksumBytes, size > len(b), size > longest:
		return rec, 0
	case seq&tombstone != 0 && size != fixedBytes+checksumBytes:
		return rec, 0
	// Cheap, so that the search for the next record seldom computes a checksum.
	case seq&tombstone == 0 && number != 0 && (number <= r.last || r.last > 0 && number-r.last > 1<<32):
		return rec, 0
	}
	data := b[fixedBytes : size-checksumBytes]
	r.sum.Reset()
	r.sum.Write(b[4:20])
	r.sum.Write(data[:subject])
	r.sum.Write(data[prefix:])
	if !bytes.Equal(r.sum.Sum(nil), b[size-checksumBytes:size]) {
		return rec, 0
	}
	if seq&(erased|tombstone) != 0 {
		return rec, size
	}
	body := data[prefix:]
	if headed {
		last := bytes.Index(body, endOfHeader)
		end := last + len(endOfHeader)
		if last < 0 || !bytes.HasPrefix(body, beginOfHeader) || binary.LittleEndian.Uint32(data[subject:]) != uint32(end) {
			return rec, 0
		}
		body = body[end:]
	}
	return Record{Sequence: seq, Time: time.Unix(0, nanos).UTC(), Subject: string(data[:subject]), Body: body}, size
}

var beginOfHeader, endOfHeader = []byte("NATS/1.0\r\n"), []byte("\r\n\r\n")
