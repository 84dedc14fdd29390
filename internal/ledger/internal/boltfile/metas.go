package boltfile

import (
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"os"
)

// The head of bbolt's two meta pages, after the page's own.
const (
	metaPage  = 0x04
	metaMagic = 0xED0CDAED
	metaSum   = 56 // the offset of the checksum of the bytes before it

	metaFreelist = 32 // the offset of the free list's page number
)

// checkMetas checks both meta pages of a file that no process writes to. bbolt needs
// only one of them: if the newest is damaged, it uses the other one, and so an older
// state.
func checkMetas(path string) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	b := make([]byte, pageHead+metaSum+8)
	size := int64(0)
	for id := range uint64(2) {
		if _, err := file.ReadAt(b, int64(id)*size); err != nil {
			return fmt.Errorf("meta page %d: %w", id, err)
		}
		meta := b[pageHead:]
		sum := fnv.New64a()
		sum.Write(meta[:metaSum])
		if binary.LittleEndian.Uint64(b) != id || binary.LittleEndian.Uint64(b[8:]) != metaPage ||
			binary.LittleEndian.Uint32(meta) != metaMagic || binary.LittleEndian.Uint64(meta[metaSum:]) != sum.Sum64() {
			return damaged("meta page %d", id)
		}
		size = int64(binary.LittleEndian.Uint32(meta[8:]))
	}
	return nil
}
