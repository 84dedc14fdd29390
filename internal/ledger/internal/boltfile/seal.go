package boltfile

import (
	"encoding/binary"
	"hash/crc32"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Checksum covers the entry's key too: an entry in the wrong place is as visible
// as a flipped bit.
func Checksum(key, body []byte) uint32 {
	return crc32.Update(crc32.Checksum(key, castagnoli), castagnoli, body)
}

// Seal puts the checksum before the body.
func Seal(key, body []byte) []byte {
	return append(binary.BigEndian.AppendUint32(make([]byte, 0, 4+len(body)), Checksum(key, body)), body...)
}

// Unseal returns the body, a part of sealed; ok reports whether it is the one that was
// sealed with the key.
func Unseal(key, sealed []byte) (body []byte, ok bool) {
	if len(sealed) < 4 || binary.BigEndian.Uint32(sealed) != Checksum(key, sealed[4:]) {
		return nil, false
	}
	return sealed[4:], true
}
