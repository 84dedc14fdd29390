package changefile

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/stelehq/stele/ledger"
)

// Undo is the change set that takes the commit back: every key that it changed
// as it was before, on the condition that nobody changed it since. before holds
// the values of the revision before the commit. Undo has no changes where the
// commit changed nothing, such as deleting a key that was not there.
func Undo(c *ledger.Commit, before map[ledger.Key]ledger.Value) *File {
	f := &File{Tenant: c.Tenant}
	f.Message = clip(strings.TrimRight(fmt.Sprintf("Undo %s%s: %s", c.Tenant, c.Revision, c.Message), ": "))
	for _, ch := range c.Changes {
		old, was := before[ch.Key]
		if ch.Delete && !was {
			continue
		}
		expected := c.Revision
		if ch.Delete {
			expected = 0
		}
		f.Changes = append(f.Changes, ledger.Change{Key: ch.Key, Value: old, Delete: !was})
		f.Preconditions = append(f.Preconditions, ledger.Precondition{Key: ch.Key, Revision: expected})
	}
	return f
}

// clip keeps the message within the ledger's limit.
func clip(s string) string {
	for len(s) > ledger.MaxMessage {
		_, n := utf8.DecodeLastRuneInString(s)
		s = s[:len(s)-n]
	}
	return s
}

// Format writes the file as JSON, one change a line, with every value as it is
// stored: JSON has one way to read it.
func (f *File) Format() []byte {
	var b []byte
	b = append(b, "{\n"...)
	if f.Tenant != "" {
		b = fmt.Appendf(b, "  \"tenant\": %s,\n", quote(string(f.Tenant)))
	}
	b = fmt.Appendf(b, "  \"message\": %s,\n  \"changes\": [", quote(f.Message))
	for i, c := range f.Changes {
		if i > 0 {
			b = append(b, ',')
		}
		b = fmt.Appendf(b, "\n    {\"key\": %s, ", quote(string(c.Key)))
		if c.Delete {
			b = append(b, `"delete": true}`...)
		} else {
			b = fmt.Appendf(b, "\"value\": %s}", c.Value)
		}
	}
	b = append(b, "\n  ],\n  \"expect\": {"...)
	for i, p := range f.Preconditions {
		if i > 0 {
			b = append(b, ',')
		}
		expected := `"absent"`
		if p.Revision != 0 {
			expected = fmt.Sprint(uint64(p.Revision))
		}
		b = fmt.Appendf(b, "\n    %s: %s", quote(string(p.Key)), expected)
	}
	return append(b, "\n  }\n}\n"...)
}

func quote(s string) []byte {
	// A message that is not UTF-8 is written with replacement characters.
	b, _ := jsontext.AppendQuote(nil, s)
	return b
}
