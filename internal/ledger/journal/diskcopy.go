package journal

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/journal/blockfile"
)

// diskCopy is the folder of the embedded server, which runs. Its files are read, and the
// server is not asked: see blockfile.
type diskCopy struct{ dir string }

func (c diskCopy) Server() string { return "" }

// Read reads the journal and then, for damage only, the other streams.
func (c diskCopy) Read(ctx context.Context, to ledger.Sequence, handle func(Message) error, damaged func(Damage)) error {
	if err := c.readAll(ctx, streamName, subject, to, handle, damaged); err != nil {
		return err
	}
	for _, kind := range auxStreams {
		if err := c.readAll(ctx, kind.stream, kind.subject, toEnd, skip, damaged); err != nil {
			return err
		}
	}
	for _, kind := range buckets {
		if err := c.readBucket(ctx, kind, damaged); err != nil {
			return err
		}
	}
	return nil
}

func skip(Message) error { return nil }

// toEnd is for readAll to read all that there is.
const toEnd = ^ledger.Sequence(0)

// readAll reads a stream that keeps everything, up to the message at to.
func (c diskCopy) readAll(ctx context.Context, stream, subject string, to ledger.Sequence, handle func(Message) error, damaged func(Damage)) error {
	last := ledger.Sequence(0)
	until := func(next ledger.Sequence, where string) {
		if next > last+1 {
			damaged(Damage{Stream: stream, First: last + 1, Last: next - 1, What: "cannot be read" + where})
		}
	}
	blocks, err := c.blocks(stream)
	if err != nil {
		return err
	}
	missing := ", and no file in " + c.folder(stream) + " has it"
	before := missing // where the messages before the first of a block are lost
	for i, path := range blocks {
		b, err := readBlock(ctx, path, stream, subject)
		if err != nil {
			return err
		}
		where, here := before, ": "+path+" is damaged"
		if b.damaged && before == missing {
			where = here
		}
		if before = missing; b.cut {
			before = here
		}
		for _, r := range b.records {
			seq := ledger.Sequence(r.Sequence)
			if seq > to {
				until(to+1, where)
				return nil
			}
			until(seq, where)
			last, where = seq, here
			if err := handle(Message{Sequence: seq, Time: r.Time, Record: r.Body}); err != nil {
				return err
			}
			if err := ctx.Err(); err != nil {
				return err
			}
		}
		if to == toEnd && i == len(blocks)-1 && b.cut {
			damaged(Damage{Stream: stream, First: last + 1, What: "cannot be read" + here})
		}
	}
	if to != toEnd {
		until(to+1, before)
	}
	return nil
}

// readBucket reads a stream of which messages are removed: a part of a file that is not
// a record is damage; a missing sequence is not.
func (c diskCopy) readBucket(ctx context.Context, kind AuxKind, damaged func(Damage)) error {
	blocks, err := c.blocks(kind.stream)
	if err != nil {
		return err
	}
	for _, path := range blocks {
		b, err := readBlock(ctx, path, kind.stream, kind.subject)
		if err != nil {
			return err
		}
		if b.damaged {
			damaged(Damage{Stream: kind.stream, What: "messages cannot be read: " + path + " is damaged"})
		}
	}
	return nil
}

func (c diskCopy) folder(stream string) string {
	return filepath.Join(c.dir, filepath.FromSlash(streamsDir), stream, "msgs")
}

// blocks are the files of a stream, in the order of their messages.
func (c diskCopy) blocks(stream string) ([]string, error) {
	entries, err := os.ReadDir(c.folder(stream))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil // the stream is made when it is first needed
	}
	var paths []string
	for _, e := range entries {
		if _, ok := blockNumber(e.Name()); ok {
			paths = append(paths, filepath.Join(c.folder(stream), e.Name()))
		}
	}
	slices.SortFunc(paths, func(a, b string) int {
		x, _ := blockNumber(a)
		y, _ := blockNumber(b)
		return cmp.Compare(x, y)
	})
	return paths, err
}

// blockNumber is the number in the name of a block's file.
func blockNumber(path string) (int, bool) {
	name, ok := strings.CutSuffix(filepath.Base(path), ".blk")
	n, err := strconv.Atoi(name)
	return n, ok && err == nil
}

// block is what a file has.
type block struct {
	records []blockfile.Record
	damaged bool
	cut     bool // it ends with damage
}

// readAgain is when a file that seems to be damaged is read again: the server may have
// been writing to it.
const readAgain = 20 * time.Millisecond

// readBlock reads a file. A server that has no more messages in it may have removed it.
func readBlock(ctx context.Context, path, stream, subject string) (b block, err error) {
	for range 2 {
		data, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			return block{}, nil
		}
		if err != nil {
			return block{}, fmt.Errorf("read the journal: %w", err)
		}
		number, _ := blockNumber(path)
		b = block{}
		for r, err := range blockfile.Records(data, stream, number) {
			if err != nil || !strings.HasPrefix(r.Subject, subject) {
				b.damaged, b.cut = true, true
				continue
			}
			b.cut = false
			b.records = append(b.records, r)
		}
		if !b.damaged {
			return b, nil
		}
		select {
		case <-time.After(readAgain):
		case <-ctx.Done():
			return b, ctx.Err()
		}
	}
	return b, nil
}
