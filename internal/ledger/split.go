package ledger

import (
	"fmt"
	"strings"
)

// fits reports whether one commit holds the changes. Otherwise the error names the
// field that asked for them, what to do, and which parts would fit.
func fits(field, advice string, prefix Prefix, changes []Change) error {
	size := weight(changes)
	if len(changes) <= MaxChanges && size <= MaxChangeSet {
		return nil
	}
	const most = 20 // parts that are named
	parts := split(prefix, changes)
	names := make([]string, 0, most+1)
	for _, p := range parts[:min(len(parts), most)] {
		names = append(names, fmt.Sprintf("%s (%d)", p.pattern(), p.changes))
	}
	if more := len(parts) - most; more > 0 {
		names = append(names, fmt.Sprintf("and %d more", more))
	}
	return Invalid(field, fmt.Sprintf("there are %d keys of %d bytes to change, and a commit holds at most %d of %d: %s: %s",
		len(changes), size, MaxChanges, MaxChangeSet, advice, strings.Join(names, ", ")))
}

// weight is what changes count against MaxChangeSet, in bytes.
func weight(changes []Change) int {
	size := 0
	for _, c := range changes {
		size += len(c.Key) + len(c.Value)
	}
	return size
}

// part is the changes under one prefix, few enough for a commit.
type part struct {
	prefix  Prefix
	changes int
}

// pattern selects the part's changes: those that begin with its prefix, byte by byte.
func (p part) pattern() Pattern {
	if p.prefix == "" || strings.HasSuffix(string(p.prefix), "/") {
		return Pattern(p.prefix)
	}
	return Pattern(p.prefix) + "*"
}

// split divides changes, which are in the order of their keys and begin with the
// prefix, by longer prefixes, until each part fits a commit. A prefix ends at a
// segment's end where it can.
func split(prefix Prefix, changes []Change) []part {
	if len(changes) == 1 || len(changes) <= MaxChanges && weight(changes) <= MaxChangeSet {
		first, last := string(changes[0].Key), string(changes[len(changes)-1].Key)
		common := len(prefix)
		for common < min(len(first), len(last)) && first[common] == last[common] {
			common++
		}
		if end := strings.LastIndexByte(first[:common], '/') + 1; end > len(prefix) {
			prefix = Prefix(first[:end])
		}
		return []part{{prefix, len(changes)}}
	}
	var parts, own []part
	if string(changes[0].Key) == string(prefix) {
		// The key that is the prefix comes last: it is alone under it by then.
		own = []part{{prefix, 1}}
		changes = changes[1:]
	}
	for len(changes) > 0 {
		longer := Prefix(changes[0].Key[:len(prefix)+1])
		n := 1
		for n < len(changes) && longer.Match(changes[n].Key) {
			n++
		}
		parts = append(parts, split(longer, changes[:n])...)
		changes = changes[n:]
	}
	return append(parts, own...)
}
