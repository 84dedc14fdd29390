package boltfile

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"

	bolt "go.etcd.io/bbolt"
)

// errPage is in the chain of every error that means that a page differs from what was
// written.
var errPage = errors.New("damaged page")

func damaged(format string, args ...any) error {
	return fmt.Errorf("%w: %s", errPage, fmt.Sprintf(format, args...))
}

// CheckPages walks the trees of the file. bbolt trusts them: a flipped bit in a branch
// page hides entries or leads in a circle, and one in a page's length or in the free
// list makes the next write overwrite others. After this walk a write uses only free
// pages, and, if leaves are read as well, every entry is found by its key. The walk
// does not read the content of entries; they have checksums.
//
// Without the leaves it checks a hundredth of the file, so it is done before the file is
// used; the scrub reads the leaves while the file is in use. It still needs the heads of
// all pages, and reads the file for them from the beginning to the end, because a disk reads a
// file in order faster than page by page: to fault in each page by itself took 14 s for a
// file of 450 MB that was not in the page cache.
func (k *Kind) CheckPages(tx *bolt.Tx, leaves bool) error {
	file, err := os.Open(tx.DB().Path())
	if err != nil {
		return err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return err
	}
	if info.Size() < tx.Size() {
		return k.Damaged("it has %d of its %d bytes", info.Size(), tx.Size())
	}
	size := tx.DB().Info().PageSize
	w := &pageWalk{tx: tx, file: file, size: size, leaves: leaves, used: make([]bool, int(tx.Size())/size)}
	if !leaves {
		w.heads, err = readHeads(file, size, len(w.used))
	}
	if err == nil {
		err = w.check()
	}
	if errors.Is(err, errPage) {
		return k.Damaged("%v", err)
	}
	return err
}

type pageWalk struct {
	tx   *bolt.Tx
	file *os.File
	size int
	// leaves reports whether the leaves of the buckets are read.
	leaves bool
	used   []bool // by page
	// heads are the heads of all pages; nil if the leaves are read.
	heads []head
}

func (w *pageWalk) check() error {
	w.used[0], w.used[1] = true, true // bbolt checks its meta pages itself
	if err := w.tree(uint64(w.tx.Cursor().Bucket().Root()), true, nil, nil); err != nil || w.leaves {
		return err
	}
	return w.rest()
}

// The layout of bbolt's pages, which is fixed by its file format, version 2.
const (
	pageHead   = 16 // id 8, flags 2, count 2, overflow 4
	branchPage = 0x01
	leafPage   = 0x02
	elementLen = 16 // leaf: flags 4, pos 4, ksize 4, vsize 4; branch: pos 4, ksize 4, page 8
	subBucket  = 0x01
	bucketHead = 16 // root 8, sequence 8; without a root, its one page follows
)

// tree checks a page and all that it leads to: its first key is least and all are
// before limit, where these are set.
func (w *pageWalk) tree(id uint64, top bool, least, limit []byte) error {
	kind, pages, err := w.take(id)
	if err != nil {
		return err
	}
	if kind == leafPage && !top && !w.leaves {
		return nil
	}
	page := make([]byte, pages*w.size)
	if _, err := w.file.ReadAt(page, int64(id)*int64(w.size)); err != nil {
		return damaged("page %d: %v", id, err)
	}
	if got := binary.LittleEndian.Uint64(page); got != id {
		return damaged("page %d says that it is %d", id, got)
	}
	if kind == leafPage {
		return w.leaf(id, page, top, least, limit)
	}
	return w.branch(id, page, top, least, limit)
}

// take marks a page, and those that it runs over into, as used by one tree.
func (w *pageWalk) take(id uint64) (kind, pages int, err error) {
	if id >= uint64(len(w.used)) {
		return 0, 0, damaged("page %d is after the last", id)
	}
	if kind, pages, err = w.head(id); err != nil {
		return 0, 0, err
	}
	if kind != leafPage && kind != branchPage {
		return 0, 0, damaged("page %d is neither branch nor leaf", id)
	}
	if pages > len(w.used)-int(id) {
		return 0, 0, damaged("page %d says that it is %d long", id, pages)
	}
	for i := id; i < id+uint64(pages); i++ {
		if w.used[i] {
			return 0, 0, damaged("page %d is used twice", i)
		}
		w.used[i] = true
	}
	return kind, pages, nil
}

// head reads the kind of a page, and how many pages it spans.
func (w *pageWalk) head(id uint64) (kind, pages int, err error) {
	if w.heads != nil {
		h := w.heads[id]
		return int(h.kind), 1 + int(h.overflow), nil
	}
	b := make([]byte, pageHead)
	if _, err := w.file.ReadAt(b, int64(id)*int64(w.size)); err != nil {
		return 0, 0, damaged("page %d: %v", id, err)
	}
	h := parseHead(b)
	return int(h.kind), 1 + int(h.overflow), nil
}

func (w *pageWalk) branch(id uint64, page []byte, top bool, least, limit []byte) error {
	count := int(binary.LittleEndian.Uint16(page[10:]))
	type child struct {
		key []byte
		id  uint64
	}
	children := make([]child, count)
	for i := range children {
		at := pageHead + i*elementLen
		if at+elementLen > len(page) {
			return damaged("page %d has no room for %d elements", id, count)
		}
		e := page[at:]
		key, _, ok := cut(e, binary.LittleEndian.Uint32(e), binary.LittleEndian.Uint32(e[4:]), 0)
		if !ok || !inOrder(least, key, limit, i == 0) {
			return damaged("page %d: element %d is out of place", id, i)
		}
		children[i] = child{key, binary.LittleEndian.Uint64(e[8:])}
		least = key
	}
	if count == 0 {
		return damaged("page %d is an empty branch", id)
	}
	for i, c := range children {
		end := limit
		if i+1 < count {
			end = children[i+1].key
		}
		if err := w.tree(c.id, top, c.key, end); err != nil {
			return err
		}
	}
	return nil
}

func (w *pageWalk) leaf(id uint64, page []byte, top bool, least, limit []byte) error {
	count := int(binary.LittleEndian.Uint16(page[10:]))
	for i := range count {
		at := pageHead + i*elementLen
		if at+elementLen > len(page) {
			return damaged("page %d has no room for %d elements", id, count)
		}
		e := page[at:]
		flags := binary.LittleEndian.Uint32(e)
		key, value, ok := cut(e, binary.LittleEndian.Uint32(e[4:]), binary.LittleEndian.Uint32(e[8:]), binary.LittleEndian.Uint32(e[12:]))
		if !ok || !inOrder(least, key, limit, i == 0) || (flags == subBucket) != top || flags > subBucket {
			return damaged("page %d: element %d is out of place", id, i)
		}
		least = key
		if !top {
			continue
		}
		if len(value) < bucketHead {
			return damaged("bucket %q is cut", key)
		}
		var err error
		switch root := binary.LittleEndian.Uint64(value); {
		case root != 0:
			err = w.tree(root, false, nil, nil)
		case len(value) < bucketHead+pageHead || binary.LittleEndian.Uint16(value[bucketHead+8:]) != leafPage:
			err = damaged("bucket %q has no page", key)
		default: // a small bucket is stored inline, in place of its root page
			err = w.leaf(id, value[bucketHead:], false, nil, nil)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// cut takes an element's key and value out of its page; pos counts from the
// element.
func cut(e []byte, pos, key, value uint32) (k, v []byte, ok bool) {
	from, mid := uint64(pos), uint64(pos)+uint64(key)
	if mid+uint64(value) > uint64(len(e)) {
		return nil, nil, false
	}
	return e[from:mid], e[mid : mid+uint64(value)], true
}

// inOrder reports whether a key is in order here. A page's first key is the one that
// leads to it: bbolt finds the place of a page that it has written by that.
func inOrder(least, key, limit []byte, first bool) bool {
	if first && least != nil {
		return bytes.Equal(least, key)
	}
	return bytes.Compare(least, key) < 0 && (limit == nil || bytes.Compare(key, limit) < 0)
}

// rest checks that the pages that no tree uses are exactly the free ones and the list
// of them. This is true only without concurrent writers.
func (w *pageWalk) rest() error {
	list, free, err := w.freePages()
	if err != nil {
		return err
	}
	for id := list; id <= list+uint64(w.heads[list].overflow); id++ {
		if id >= uint64(len(w.used)) || w.used[id] {
			return damaged("page %d is used by the free list too", id)
		}
		w.used[id] = true
	}
	for _, id := range free {
		if id >= uint64(len(w.used)) || w.used[id] {
			return damaged("page %d is used and free", id)
		}
		w.used[id] = true
	}
	for id, used := range w.used {
		if !used {
			return damaged("page %d is neither used nor free", id)
		}
	}
	return nil
}
