// Package document is how sinks that hold one text per tenant keep its settings: a JSON
// object with a member per key.
//
//	{
//	"checkout/timeout_ms": 250,
//	"ui/theme": "dark",
//	"$stele": {"epoch":"14c55d3897916f93","revisions":{"checkout/timeout_ms":41,"ui/theme":42}}
//	}
//
// The member $stele says which ledger wrote the members, and for which revisions. Keys
// cannot have that name.
package document

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strconv"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/projector"
)

// Document has the settings of a tenant, by their names in the document.
type Document map[string]Setting

// Setting is a member of a document.
type Setting struct {
	Value ledger.Value
	// Revision that this ledger wrote it for; 0 if another writer did.
	Revision ledger.Revision
}

const markName = "$stele"

type mark struct {
	Epoch     string                     `json:"epoch"`
	Revisions map[string]ledger.Revision `json:"revisions"`
}

// Parse reads a document. The revisions of another ledger count as another writer's.
func Parse(content []byte, epoch ledger.Epoch) (Document, error) {
	var members map[string]jsontext.Value
	if err := json.Unmarshal(content, &members); err != nil {
		return nil, fmt.Errorf("the document is not a JSON object: %w", err)
	}
	var m mark
	if text, ok := members[markName]; ok {
		if json.Unmarshal(text, &m) != nil || m.Epoch != epoch.String() {
			m = mark{} // edited, or another ledger's
		}
		delete(members, markName)
	}
	d := make(Document, len(members))
	for name, text := range members {
		v, err := ledger.ParseValue(string(text))
		if err != nil {
			return nil, fmt.Errorf("the document's member %q: %w", name, err)
		}
		d[name] = Setting{v, m.Revisions[name]}
	}
	return d, nil
}

// Encode writes the document, one line per member, in the order of their names. Values
// are written byte for byte.
func (d Document) Encode(epoch ledger.Epoch) []byte {
	var b, revisions bytes.Buffer
	b.WriteString("{\n")
	for _, name := range slices.Sorted(maps.Keys(d)) {
		is := d[name]
		quoted, _ := jsontext.AppendQuote(nil, name) // invalid UTF-8 becomes U+FFFD
		fmt.Fprintf(&b, "%s: %s,\n", quoted, is.Value)
		if is.Revision > 0 {
			if revisions.Len() > 0 {
				revisions.WriteByte(',')
			}
			revisions.Write(quoted)
			revisions.WriteByte(':')
			revisions.WriteString(strconv.FormatUint(uint64(is.Revision), 10))
		}
	}
	fmt.Fprintf(&b, "%q: {\"epoch\":%q,\"revisions\":{%s}}\n}\n", markName, epoch.String(), &revisions)
	return b.Bytes()
}

// Apply returns the document after writes of its tenant, an error for each write that it
// has no room for, and the places of the writes that change it. member is the name of a
// write's setting, or why there is none; fits refuses a document of so many bytes.
func (d Document) Apply(writes []projector.Write, member func(projector.Write) (string, error), fits func(size int) error) (next Document, errs []error, pending []int) {
	next, errs = maps.Clone(d), make([]error, len(writes))
	if next == nil {
		next = make(Document)
	}
	size := Overhead
	for name, is := range next {
		size += Size(name, is)
	}
	for i, w := range writes {
		name, err := member(w)
		if err != nil {
			errs[i] = err
			continue
		}
		is, there := next[name]
		if there && w.Replace == nil && is.Revision > w.Revision {
			continue
		}
		if w.Deleted() {
			if there {
				size -= Size(name, is)
				delete(next, name)
				pending = append(pending, i)
			}
			continue
		}
		set := Setting{Value: w.Value, Revision: w.Revision}
		if there && is.Revision == set.Revision && is.Value.Equal(set.Value) {
			continue
		}
		after := size + Size(name, set)
		if there {
			after -= Size(name, is)
		}
		if errs[i] = fits(after); errs[i] != nil {
			continue
		}
		next[name], size = set, after
		pending = append(pending, i)
	}
	return next, errs, pending
}

// maxRevision stands for any revision, so that it makes no difference to what fits.
const maxRevision = 1<<63 - 1

// Alone is a *projector.RefusedError for a value that not even a document of so many bytes
// with this member alone could hold.
func Alone(name string, v ledger.Value, maxBytes int) error {
	if n := Overhead + Size(name, Setting{Value: v, Revision: maxRevision}); n > maxBytes {
		return projector.Refuse("a document with this key alone would have %d bytes, and the limit is %d: shorten the value, or route the key to another sink", n, maxBytes)
	}
	return nil
}

// Size is the number of bytes that a member adds to an encoded document.
func Size(name string, s Setting) int {
	quoted, _ := jsontext.AppendQuote(nil, name)
	n := len(quoted) + len(": ,\n") + len(s.Value)
	if s.Revision > 0 {
		n += len(quoted) + len(":,") + len(strconv.FormatUint(uint64(s.Revision), 10))
	}
	return n
}

// Overhead is the number of bytes of an encoded document without members.
var Overhead = len(Document{}.Encode(ledger.Epoch{}))
