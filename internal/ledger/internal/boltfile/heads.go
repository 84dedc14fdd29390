package boltfile

import (
	"encoding/binary"
	"io"
	"os"
)

// head is the head of a page: its kind and how many pages it runs over into.
type head struct {
	kind     uint16
	overflow uint32
}

func parseHead(b []byte) head {
	return head{binary.LittleEndian.Uint16(b[8:]), binary.LittleEndian.Uint32(b[12:])}
}

// readBuffer is how many bytes are read at a time.
const readBuffer = 1 << 20

// readHeads reads the heads of the first pages of a file, in the file's order. The head of
// a page that is free, or that another page extends into, is meaningless.
func readHeads(file *os.File, size, pages int) ([]head, error) {
	heads := make([]head, 0, pages)
	buffer := make([]byte, max(readBuffer/size, 1)*size)
	for len(heads) < pages {
		from := len(heads)
		chunk := buffer[:min(len(buffer), (pages-from)*size)]
		if _, err := io.ReadFull(io.NewSectionReader(file, int64(from)*int64(size), int64(len(chunk))), chunk); err != nil {
			return nil, damaged("page %d: %v", from, err)
		}
		for ; len(chunk) > 0; chunk = chunk[size:] {
			heads = append(heads, parseHead(chunk))
		}
	}
	return heads, nil
}

// freelistPage is the kind of the first page of the list of free pages.
const freelistPage = 0x10

// manyFree in a list's count says that the count is the list's first element.
const manyFree = 0xffff

// freePages returns where the list of free pages begins, and the pages in it.
func (w *pageWalk) freePages() (list uint64, free []uint64, err error) {
	// A transaction's meta page is the one with its number modulo two.
	meta := make([]byte, pageHead+metaSum)
	if _, err := w.file.ReadAt(meta, int64(w.tx.ID()%2)*int64(w.size)); err != nil {
		return 0, nil, damaged("page %d: %v", w.tx.ID()%2, err)
	}
	list = binary.LittleEndian.Uint64(meta[pageHead+metaFreelist:])
	if list >= uint64(len(w.used)) {
		return 0, nil, damaged("the free list begins at page %d, after the last", list)
	}
	h := w.heads[list]
	if h.kind != freelistPage || uint64(h.overflow) >= uint64(len(w.used))-list {
		return 0, nil, damaged("page %d is not a free list", list)
	}
	page := make([]byte, (1+int(h.overflow))*w.size)
	if _, err := w.file.ReadAt(page, int64(list)*int64(w.size)); err != nil {
		return 0, nil, damaged("page %d: %v", list, err)
	}
	ids, n := page[pageHead:], uint64(binary.LittleEndian.Uint16(page[10:]))
	if n == manyFree {
		n, ids = binary.LittleEndian.Uint64(ids), ids[8:]
	}
	if n > uint64(len(ids)/8) {
		return 0, nil, damaged("the free list has no room for %d pages", n)
	}
	for ; n > 0; n-- {
		free = append(free, binary.LittleEndian.Uint64(ids))
		ids = ids[8:]
	}
	return list, free, nil
}
