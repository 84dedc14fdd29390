// Package changelog reads a change log: one change set per line as JSON, oldest first,
// plain or compressed with gzip. docs/changelog-format.md describes it. It also reads
// what "stele log --reverse" and "stele export" write, as JSON lines or YAML documents.
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
	"github.com/google/uuid"
	"github.com/stelehq/stele/cmd/stele/internal/migrate/text"
	"github.com/stelehq/stele/cmd/stele/internal/yamljson"
	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/secret"
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
	// Step is the source's name for the line, if the source is not a change log.
	Step string
	// Claimed is the time in the source, if the line has another one; zero otherwise.
	Claimed time.Time
	Tenant  ledger.Tenant
	// Revision and ID are the commit's, if the line is of "stele log -o json", and Origin is
	// the kind of its origin, empty for an ordinary write. The import has an origin of its own.
	Revision ledger.Revision
	ID       string
	Origin   string
	// Bases reports that the line sets the bases of the tenant, and Follows are those that the
	// tenant follows in the ledger that printed the log. The change set pins them.
	Bases   bool
	Follows []ledger.Tenant
	// ChangeSet has the line's time as its Import, and a RequestID that is the same
	// whenever the same log is read. One of an export has neither.
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
	// tenant is whose the lines are that name no tenant.
	tenant ledger.Tenant
	// newest is each tenant's time so far, which never goes back; revision the revision
	// of its last line that has one.
	newest   map[ledger.Tenant]time.Time
	revision map[ledger.Tenant]uint64
	// seen counts identical lines, so that each has a request id of its own.
	seen map[digest]int
	// ahead is a line that was read and is not part of the export before it.
	ahead []byte
	// held are the tenants' first lines until the order of the log is known, ready the
	// lines to return next, and failed is the error after them.
	held   map[ledger.Tenant]*Line
	ready  []*Line
	failed error
	// fresh makes the request id of an export's change set.
	fresh func() (string, error)
}

type digest [16]byte

// NewReader reads the log from r. It sees by the first bytes whether the log is
// compressed, is UTF-16, or is YAML. Lines that name no tenant are the given one's.
func NewReader(r io.Reader, tenant ledger.Tenant) (*Reader, error) {
	file := &counter{r: r}
	lines := bufio.NewReaderSize(file, 64<<10)
	if magic, _ := lines.Peek(2); bytes.Equal(magic, []byte{0x1f, 0x8b}) {
		unpacked, err := gzip.NewReader(lines)
		if err != nil {
			return nil, fmt.Errorf("unpack: %w", err)
		}
		lines = bufio.NewReaderSize(unpacked, 64<<10)
	}
	if mark, _ := lines.Peek(3); bytes.Equal(mark, []byte{0xef, 0xbb, 0xbf}) {
		lines.Discard(3) // of what is buffered, so it cannot fail
	}
	if first, _ := lines.Peek(2); len(first) == 2 && (first[0] != '{' || first[1] == 0) && !bytes.ContainsAny(first[:1], " \t\r\n") {
		var err error
		if lines, err = converted(lines); err != nil {
			return nil, err
		}
	}
	return &Reader{
		file: file, lines: lines, tenant: tenant, newest: make(map[ledger.Tenant]time.Time), revision: make(map[ledger.Tenant]uint64),
		held: make(map[ledger.Tenant]*Line), seen: make(map[digest]int), fresh: newRequestID,
	}, nil
}

// maxConverted bounds a log that is converted, in bytes: all of it is in memory.
const maxConverted = 1 << 30

// converted makes lines of JSON of a log that is UTF-16 or YAML.
func converted(r io.Reader) (*bufio.Reader, error) {
	data, err := io.ReadAll(io.LimitReader(r, maxConverted+1))
	if err == nil && len(data) > maxConverted {
		err = fmt.Errorf("it has more than %d bytes and is not UTF-8 JSON lines", maxConverted)
	}
	if err == nil {
		data, err = text.UTF8(data)
	}
	if err != nil {
		return nil, err
	}
	if start := bytes.TrimLeft(data, " \t\r\n"); len(start) == 0 || start[0] == '{' {
		return bufio.NewReaderSize(bytes.NewReader(data), 64<<10), nil
	}
	docs, err := yamljson.ParseAll(data)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	for i, doc := range docs {
		line, err := yamljson.ToJSON(doc)
		if err != nil {
			return nil, fmt.Errorf("document %d: %w", i+1, err)
		}
		out.Write(append(line, '\n'))
	}
	return bufio.NewReaderSize(&out, 64<<10), nil
}

func newRequestID() (string, error) {
	id, err := uuid.NewV7()
	return "import:" + id.String(), err
}

// next decodes the next line.
func (r *Reader) next() (*Line, error) {
	for {
		text, err := r.read()
		if errors.Is(err, io.EOF) {
			return nil, io.EOF
		}
		r.number++
		if err != nil {
			return nil, &LineError{r.number, err}
		}
		if len(bytes.TrimSpace(text)) == 0 {
			continue
		}
		var rec record
		if err := json.Unmarshal(text, &rec, json.RejectUnknownMembers(true)); err != nil {
			return nil, &LineError{r.number, reason(err)}
		}
		if rec.Key != "" {
			return r.entries(&rec, len(text))
		}
		if len(rec.Clock) > 0 && len(rec.Changes) == 0 {
			continue // it resets a clock, and the lines before it say by which time they count
		}
		if rec.EffectiveTime != nil {
			rec.Time = rec.EffectiveTime
		}
		l, err := r.decode(&rec, text)
		if err != nil {
			return nil, &LineError{r.number, err}
		}
		return l, nil
	}
}

// read returns the next line without its end. A last line that breaks off
// because the file does is an error, not a line.
func (r *Reader) read() ([]byte, error) {
	if text := r.ahead; text != nil {
		r.ahead = nil
		return text, nil
	}
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

// record is a line of a change log, of "stele log -o json" or of "stele export".
type record struct {
	Time    *time.Time `json:"time"`
	Author  string     `json:"author"`
	Message string     `json:"message"`
	Source  string     `json:"source"`
	Tenant  string     `json:"tenant"`
	Changes []struct {
		Key      string         `json:"key"`
		Value    jsontext.Value `json:"value"`
		Delete   bool           `json:"delete"`
		Previous uint64         `json:"previous_revision"`
		Was      jsontext.Value `json:"was"`
	} `json:"changes"`

	// Of a commit.
	ID        string `json:"id"`
	Parent    string `json:"parent"`
	Position  uint64 `json:"position"`
	Operator  bool   `json:"operator"`
	RequestID string `json:"request_id"`
	Partial   bool   `json:"partial"`
	// MoreChanges is set if the changes are not all.
	MoreChanges bool `json:"more_changes"`
	// EffectiveTime is the time to import the commit with, if its own is ahead.
	EffectiveTime *time.Time `json:"effective_time"`
	// Where it came from.
	Recorded  string         `json:"recorded"`
	Importer  string         `json:"importer"`
	Rollback  jsontext.Value `json:"rollback"`
	Reverts   []uint64       `json:"reverts"`
	Drift     jsontext.Value `json:"drift"`
	Base      jsontext.Value `json:"base"`
	Promotion jsontext.Value `json:"promotion"`
	Copy      jsontext.Value `json:"copy"`
	Clock     jsontext.Value `json:"clock"`
	// The inherited values that it changed.
	Inherited     jsontext.Value `json:"inherited"`
	InheritedMore bool           `json:"inherited_more"`

	// Of a key that is exported.
	Key    string         `json:"key"`
	Value  jsontext.Value `json:"value"`
	Secret bool           `json:"secret"`

	// Of both.
	Revision uint64 `json:"revision"`
}

// origin is the kind of a commit's origin; empty for an ordinary write.
func (r *record) origin() string {
	switch {
	case r.Recorded != "":
		return "import"
	case len(r.Rollback) > 0:
		return "rollback"
	case len(r.Reverts) > 0:
		return "revert"
	case len(r.Drift) > 0:
		return "drift"
	case len(r.Base) > 0:
		return "base"
	case len(r.Promotion) > 0:
		return "promotion"
	case len(r.Copy) > 0:
		return "copy"
	}
	return ""
}

// errMasked is a secret that was not revealed when it was exported.
var errMasked = errors.New(`the value is "***", which stands for a secret: export it with --reveal`)

// entries makes a change set of an export's lines, as many as fit. It is the
// importer's and of now.
func (r *Reader) entries(rec *record, size int) (*Line, error) {
	l := &Line{Number: r.number, Tenant: r.tenant}
	first := make(map[ledger.Key]int)
	for {
		c, err := entry(rec)
		if err != nil {
			return nil, &LineError{r.number, err}
		}
		if line, twice := first[c.Key]; twice {
			return nil, &LineError{r.number, fmt.Errorf("%s is in line %d already", c.Key, line)}
		}
		first[c.Key] = r.number
		l.Size += size
		l.ChangeSet.Changes = append(l.ChangeSet.Changes, c)
		text, err := r.read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, &LineError{r.number + 1, err}
		}
		rec = new(record)
		fits := len(l.ChangeSet.Changes) < ledger.MaxChanges && l.Size+len(text) <= ledger.MaxChangeSet
		if json.Unmarshal(text, rec, json.RejectUnknownMembers(true)) != nil || rec.Key == "" || !fits {
			r.ahead = text // the next line's affair
			break
		}
		r.number++
		size = len(text)
	}
	l.Offset, l.ChangeSet.Message = r.file.n, "Import of an export"
	var err error
	if l.ChangeSet.RequestID, err = r.fresh(); err != nil {
		return nil, &LineError{r.number, err}
	}
	if l.Tenant == "" {
		return nil, &LineError{l.Number, errors.New("an export names no tenant: say whose it is with -t TENANT")}
	}
	return l, nil
}

func entry(rec *record) (c ledger.Change, err error) {
	if c.Key, err = ledger.ParseKey(rec.Key); err != nil {
		return c, err
	}
	if c.Value, err = ledger.ParseValue(string(rec.Value)); err != nil {
		return c, fmt.Errorf("%s: %w", c.Key, err)
	}
	if rec.Secret && c.Value == secret.Mask {
		return c, fmt.Errorf("%s: %w", c.Key, errMasked)
	}
	return c, nil
}

func (r *Reader) decode(rec *record, text []byte) (*Line, error) {
	if rec.Tenant == "" {
		rec.Tenant = string(r.tenant)
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
	case rec.Partial:
		return nil, fmt.Errorf("the commit is not whole: print the log with a token that may read all of its keys")
	case rec.MoreChanges:
		return nil, fmt.Errorf("the commit is not whole: print the log without a prefix")
	case rec.Revision > 0 && rec.Revision < r.revision[tenant]:
		return nil, &OrderError{tenant, rec.Revision, r.revision[tenant]}
	case rec.Time.Before(r.newest[tenant]):
		return nil, fmt.Errorf("time %s is before %s of %s's line before it",
			rec.Time.Format(time.RFC3339Nano), r.newest[tenant].Format(time.RFC3339Nano), tenant)
	}
	if rec.Revision > 0 {
		r.revision[tenant] = rec.Revision
	}
	l := &Line{Number: r.number, Offset: r.file.n, Size: len(text), Tenant: tenant, Revision: ledger.Revision(rec.Revision), ID: rec.ID, Origin: rec.origin()}
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
			if rec.ID != "" && c.Value == secret.Mask {
				return nil, fmt.Errorf(`changes[%d] of %s: the value is "***", which stands for a secret: a log cannot move it, "stele export --reveal" can`, i, c.Key)
			}
		}
		if j, twice := first[c.Key]; twice {
			return nil, fmt.Errorf("changes[%d]: %s is changed twice, first in changes[%d]", i, c.Key, j)
		}
		first[c.Key] = i
		if c.Key == ledger.BasesKey {
			l.Bases = true
			if !c.Delete && rec.ID != "" {
				if c.Value, l.Follows, err = pinned(c.Value); err != nil {
					return nil, fmt.Errorf("changes[%d] of %s: %w", i, c.Key, err)
				}
			}
		}
		l.ChangeSet.Changes = append(l.ChangeSet.Changes, c)
	}
	r.newest[tenant] = *rec.Time
	l.ChangeSet.RequestID = r.requestID(text)
	return l, nil
}

// pinned returns a list of bases with all pins kept, and the bases that it follows. Otherwise
// the ledger would move the pins while the history is imported, by commits of now, which the
// lines after them are older than.
func pinned(v ledger.Value) (ledger.Value, []ledger.Tenant, error) {
	bases, err := ledger.ParseBases(v)
	if err != nil {
		return v, nil, err
	}
	var follows []ledger.Tenant
	for i, b := range bases {
		if b.Follow {
			follows = append(follows, b.Tenant)
			bases[i].Follow = false
		}
	}
	if len(follows) == 0 {
		return v, nil, nil
	}
	return ledger.BasesValue(bases), follows, nil
}

// reason describes a JSON error in the log's terms instead of Go's.
func reason(err error) error {
	var mistyped *json.SemanticError
	if !errors.As(err, &mistyped) {
		return err
	}
	at := cmp.Or(string(mistyped.JSONPointer), "the line")
	switch {
	case errors.Is(err, json.ErrUnknownName):
		return fmt.Errorf("%s is not a field of a change log", at)
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

// counter counts the bytes read from the file.
type counter struct {
	r io.Reader
	n int64
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}
