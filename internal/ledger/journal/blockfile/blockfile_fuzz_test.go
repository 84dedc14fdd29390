package blockfile

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/minio/highwayhash"
)

// encode writes a record as a server does.
func encode(stream string, number int, seq uint64, subject, header string, body []byte) []byte {
	key := sha256.Sum256(fmt.Appendf(nil, "%s-%d", stream, number))
	sum, err := highwayhash.New64(key[:])
	if err != nil {
		panic(err)
	}
	length := uint32(fixedBytes + len(subject) + len(body) + checksumBytes)
	if header != "" {
		length = length + 4 + uint32(len(header)) | hasHeader
	}
	b := binary.LittleEndian.AppendUint32(nil, length)
	b = binary.LittleEndian.AppendUint64(b, seq)
	b = binary.LittleEndian.AppendUint64(b, 1_700_000_000_000_000_000)
	sum.Write(b[4:])
	b = binary.LittleEndian.AppendUint16(b, uint16(len(subject)))
	b = append(b, subject...)
	if header != "" {
		b = append(binary.LittleEndian.AppendUint32(b, uint32(len(header))), header...)
	}
	b = append(b, body...)
	sum.Write([]byte(subject + header))
	sum.Write(body)
	return sum.Sum(b)
}

// FuzzRecords reads blocks that were damaged in any way. Records and damage are in their order and
// within the block, and intact records are read, whatever follows them.
func FuzzRecords(f *testing.F) {
	const stream, header = "STELE", "NATS/1.0\r\nA: b\r\n\r\n"
	one, two := encode(stream, 1, 7, "ledger", header, []byte("body")), encode(stream, 1, 8, "ledger", "", []byte("x"))
	deleted := encode(stream, 1, 9|tombstone, "", "", nil)
	f.Add(bytes.Join([][]byte{one, two, deleted}, nil))
	f.Add(append(one[:len(one):len(one)], one[:20]...))
	f.Add(encode(stream, 1, 7, "ledger", "NATS/1.0\r\nwithout an end", nil))
	f.Add(encode(stream, 1, 7|erased, "ledger", "", []byte("x")))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, damaged []byte) {
		if len(damaged) > 4<<10 {
			return
		}
		read := func(block []byte) (records []Record) {
			end, last := 0, uint64(0)
			for rec, err := range Records(block, stream, 1) {
				var damage *Damage
				switch {
				case errors.As(err, &damage):
					if damage.From < end || damage.To <= damage.From || damage.To > len(block) {
						t.Errorf("damage from %d to %d of %d bytes, after %d", damage.From, damage.To, len(block), end)
					}
					end = damage.To
				case err != nil:
					t.Fatal(err)
				default:
					if rec.Sequence <= last || len(rec.Body) > len(block) {
						t.Errorf("message %d of %d bytes after %d", rec.Sequence, len(rec.Body), last)
					}
					last = rec.Sequence
					records = append(records, rec)
				}
			}
			return records
		}
		read(damaged)
		before, after := encode(stream, 1, 1, "ledger", header, damaged), encode(stream, 1, 2, "ledger", "", damaged)
		got := read(bytes.Join([][]byte{before, damaged, after}, nil))
		if len(got) == 0 || got[0].Sequence != 1 || !bytes.Equal(got[0].Body, damaged) || got[0].Subject != "ledger" || !got[0].Time.Equal(time.Unix(1_700_000_000, 0)) {
			t.Errorf("the record before it is read as %+v", got)
		}
		if got := read(append(before[:len(before):len(before)], after...)); len(got) != 2 || !bytes.Equal(got[1].Body, damaged) {
			t.Errorf("two records are read as %+v", got)
		}
	})
}
