// Package changelog reads a change log: one change set a line as JSON, oldest
// first, plain or compressed with gzip. docs/changelog-format.md describes it.
package changelog

import (
	"bufio"
	"bytes"
	"cmp"
	"compress/gzip"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/stelehq/stele/ledger"
)

// maxLine is the longest line, in bytes: a change set of the ledger's largest
// size, with its values escaped and spaced out.
const maxLine = 8 * ledger.MaxChangeSet

// Line is one change set of the log.
type Line struct {
	// Number counts from 1.
	Number int
	// Offset is how many bytes of the file had been read, at most, when the line
	// was complete; Size is the line's own length.
	Offset int64
	Size   int
	// Step is what the line is called where it comes from, if that is no change log.
	Step string
	// Moved says that the line's time is not the one of where it comes from.
	Moved  bool
	Tenant ledger.Tenant
	// ChangeSet has the line's time as its Import, and a RequestID that is the
	// same whenever the same log is read.
	ChangeSet ledger.ChangeSet
}

// LineError is a line that cannot be read, and why.
type LineError struct {
	Number int
	Err    error
}

func (e *LineError) Error() string { return fmt.Sprintf("line %d: %v", e.Number, e.Err) }
func (e *LineError) Unwrap() error { return e.Err }

// Reader reads a log line by line. It is not safe for concurrent use.
type Reader struct {
	file   *counter
	lines  *bufio.Reader
	number int
	// newest is each tenant's time so far, which never goes back.
	newest map[ledger.Tenant]time.Time
	// seen counts identical lines, so that each has a request id of its own.
	seen map[digest]int
}

type digest [16]byte

// NewReader reads the log from r and sees by its first bytes whether it is
// compressed.
func NewReader(r io.Reader) (*Reader, error) {
	file := &counter{r: r}
	lines := bufio.NewReaderSize(file, 64<<10)
	if magic, _ := lines.Peek(2); bytes.Equal(magic, []byte{0x1f, 0x8b}) {
		unpacked, err := gzip.NewReader(lines)
		if err != nil {
			return nil, fmt.Errorf("unpack: %w", err)
		}
		lines = bufio.NewReaderSize(unpacked, 64<<10)
	}
	return &Reader{file: file, lines: lines, newest: make(map[ledger.Tenant]time.Time), seen: make(map[digest]int)}, nil
}

// Next returns the next line, io.EOF after the last one, or a LineError. Lines
// without content are skipped. After an error there is no next line.
func (r *Reader) Next() (*Line, error) {
	for {
		text, err := r.read()
		if err == io.EOF {
			return nil, io.EOF
		}
		r.number++
		if err != nil {
			return nil, &LineError{r.number, err}
		}
		if len(bytes.TrimSpace(text)) == 0 {
			continue
		}
		l, err := r.decode(text)
		if err != nil {
			return nil, &LineError{r.number, err}
		}
		return l, nil
	}
}

// read returns the next line without its end. A last line that breaks off
// because the file does is an error, not a line.
func (r *Reader) read() ([]byte, error) {
	var long []byte
	for {
		part, err := r.lines.ReadSlice('\n')
		if len(long)+len(part) > maxLine {
			return nil, fmt.Errorf("the line has more than %d bytes", maxLine)
		}
		switch {
		case err == nil && long == nil:
			return part, nil
		case err == nil:
			return append(long, part...), nil
		case errors.Is(err, bufio.ErrBufferFull):
			long = append(long, part...)
		case err == io.EOF && len(long)+len(part) > 0:
			return append(long, part...), nil
		case err == io.EOF:
			return nil, io.EOF
		default:
			return nil, fmt.Errorf("read: %w", err)
		}
	}
}

type record struct {
	Time    *time.Time `json:"time"`
	Author  string     `json:"author"`
	Message string     `json:"message"`
	Source  string     `json:"source"`
	Tenant  string     `json:"tenant"`
	Changes []struct {
		Key    string         `json:"key"`
		Value  jsontext.Value `json:"value"`
		Delete bool           `json:"delete"`
	} `json:"changes"`
}

func (r *Reader) decode(text []byte) (*Line, error) {
	var rec record
	if err := json.Unmarshal(text, &rec, json.RejectUnknownMembers(true)); err != nil {
		return nil, reason(err)
	}
	tenant, err := ledger.ParseTenant(rec.Tenant)
	switch {
	case err != nil:
		return nil, err
	case rec.Time == nil:
		return nil, fmt.Errorf("time is missing")
	case rec.Author == "":
		return nil, fmt.Errorf("author is missing")
	case len(rec.Changes) == 0:
		return nil, fmt.Errorf("changes are missing")
	case rec.Time.Before(r.newest[tenant]):
		return nil, fmt.Errorf("time %s is before %s of %s's line before it",
			rec.Time.Format(time.RFC3339Nano), r.newest[tenant].Format(time.RFC3339Nano), tenant)
	}
	l := &Line{Number: r.number, Offset: r.file.n, Size: len(text), Tenant: tenant}
	l.ChangeSet.Author, l.ChangeSet.Message = rec.Author, rec.Message
	l.ChangeSet.Import = &ledger.Import{Time: *rec.Time}
	first := make(map[ledger.Key]int, len(rec.Changes))
	for i, ch := range rec.Changes {
		c := ledger.Change{Delete: ch.Delete}
		if c.Key, err = ledger.ParseKey(ch.Key); err != nil {
			return nil, fmt.Errorf("changes[%d]: %w", i, err)
		}
		if c.Delete == (len(ch.Value) > 0) {
			return nil, fmt.Errorf("changes[%d] of %s: set a value or delete the key, one of the two", i, c.Key)
		}
		if !c.Delete {
			if c.Value, err = ledger.ParseValue(string(ch.Value)); err != nil {
				return nil, fmt.Errorf("changes[%d] of %s: %w", i, c.Key, err)
			}
		}
		if j, twice := first[c.Key]; twice {
			return nil, fmt.Errorf("changes[%d]: %s is changed twice, first in changes[%d]", i, c.Key, j)
		}
		first[c.Key] = i
		l.ChangeSet.Changes = append(l.ChangeSet.Changes, c)
	}
	r.newest[tenant] = *rec.Time
	l.ChangeSet.RequestID = r.requestID(text)
	return l, nil
}

// reason tells of a JSON error in the log's words instead of Go's.
func reason(err error) error {
	var mistyped *json.SemanticError
	if !errors.As(err, &mistyped) {
		return err
	}
	at := cmp.Or(string(mistyped.JSONPointer), "the line")
	switch {
	case errors.Is(err, json.ErrUnknownName):
		return fmt.Errorf("%s is no field of a change log", at)
	case mistyped.Err != nil:
		return fmt.Errorf("%s: %w", at, mistyped.Err)
	}
	return fmt.Errorf("%s is a JSON %s, which does not belong there", at, mistyped.JSONKind)
}

// requestID names a line by its content, and the second and later of identical
// lines by their number too. Reading a log again, or one that has grown, gives
// the same names, so nothing is written twice.
func (r *Reader) requestID(text []byte) string {
	compact := jsontext.Value(bytes.Clone(text))
	// The line has just been read as JSON.
	_ = compact.Compact()
	sum := sha256.Sum256(compact)
	d := digest(sum[:16])
	r.seen[d]++
	id := "import:" + base64.RawURLEncoding.EncodeToString(d[:])
	if n := r.seen[d]; n > 1 {
		id = fmt.Sprintf("%s#%d", id, n)
	}
	return id
}

// counter counts what was read from the file.
type counter struct {
	r io.Reader
	n int64
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}
