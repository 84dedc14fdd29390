package directory

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/stelehq/stele/internal/ledger"
)

// bookName is the file in a version that holds its book. No key's file can have the
// name.
const bookName = "..stele"

// bookFormat begins a book.
const bookFormat = "stele-directory-1"

// keepDeleted is how many revisions long a book knows that a key was deleted: a
// write that is older could bring it back, of a process that has fallen behind and
// has not noticed yet that another one has taken the sink over.
const keepDeleted = 10_000

// book stores data about a version's files that the files do not contain.
type book struct {
	epoch ledger.Epoch
	// previous is the version before, which stays until the next one comes.
	previous string
	// entries by path below the tenant's folder.
	entries map[string]entry
}

// entry is the data about a file; the zero entry is for one that the ledger did not
// write.
type entry struct {
	revision ledger.Revision
	kind     kind
}

// kind says how a file's text is read.
type kind string

const (
	unknown  kind = ""
	isString kind = "string"
	isJSON   kind = "json"
	deleted  kind = "deleted" // there is no file
)

// encode writes the book: a line that says whose it is, and one a file.
func (b book) encode() []byte {
	newest := b.newest()
	var out bytes.Buffer
	fmt.Fprintf(&out, "%s %s %s\n", bookFormat, b.epoch, b.previous)
	for _, path := range slices.Sorted(maps.Keys(b.entries)) {
		e := b.entries[path]
		if e.kind == deleted && e.revision+keepDeleted < newest {
			continue
		}
		fmt.Fprintf(&out, "%d %s %s\n", e.revision, e.kind, path)
	}
	return out.Bytes()
}

func parseBook(text string) (book, error) {
	head, rest, _ := strings.Cut(text, "\n")
	fields := strings.Split(head, " ")
	if len(fields) != 3 || fields[0] != bookFormat {
		return book{}, fmt.Errorf("it begins with %.80q, not with %q", head, bookFormat)
	}
	epoch, err := ledger.ParseEpoch(fields[1])
	if err != nil {
		return book{}, err
	}
	b := book{epoch: epoch, previous: fields[2], entries: make(map[string]entry)}
	if b.previous != "" && !isVersion(b.previous) {
		return book{}, fmt.Errorf("%q is not a version", b.previous)
	}
	for line := range strings.Lines(rest) {
		fields := strings.Split(strings.TrimSuffix(line, "\n"), " ")
		if len(fields) != 3 || !strings.HasSuffix(line, "\n") {
			return book{}, fmt.Errorf("the line %.80q is not a revision, a kind and a key", line)
		}
		rev, err := strconv.ParseUint(fields[0], 10, 64)
		k := kind(fields[1])
		if err != nil || k != isString && k != isJSON && k != deleted {
			return book{}, fmt.Errorf("the line %.80q is not a revision, a kind and a key", line)
		}
		if _, err := ledger.ParseKey(fields[2]); err != nil {
			return book{}, err
		}
		b.entries[fields[2]] = entry{ledger.Revision(rev), k}
	}
	return b, nil
}

// newest is the newest revision of any of the files.
func (b book) newest() ledger.Revision {
	var newest ledger.Revision
	for _, e := range b.entries {
		newest = max(newest, e.revision)
	}
	return newest
}

// owns reports whether the ledger has a file at the path, if one exists.
func (b book) owns(path string) bool {
	e := b.entries[path]
	return e.revision > 0 && e.kind != deleted
}

// of is the book as a ledger reads it. Another one's revisions mean nothing to it,
// but how its files are read stays true.
func (b book) of(epoch ledger.Epoch) book {
	if b.epoch == epoch {
		return b
	}
	out := book{epoch: epoch, previous: b.previous, entries: make(map[string]entry)}
	for path, e := range b.entries {
		if e.kind != deleted {
			out.entries[path] = entry{kind: e.kind}
		}
	}
	return out
}
