// Package mark is how sinks that hold text keep a setting: the text of its value, and a
// mark next to it that names the revision and says how to read the text.
package mark

import (
	"fmt"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/projector"
)

// Mark is what a sink writes next to an item, for example
//
//	stele 14c55d3897916f93/42 string
//
// for what revision 42 of its tenant set in the ledger with that epoch.
type Mark struct {
	Epoch    ledger.Epoch
	Revision ledger.Revision
	// IsString reports that the value is a string, and the item's text is that string.
	// Otherwise the text is the value's JSON.
	IsString bool
}

// Format returns the mark as it is written.
func (m Mark) Format() string {
	kind := "json"
	if m.IsString {
		kind = "string"
	}
	return fmt.Sprintf("stele %s/%d %s", m.Epoch, m.Revision, kind)
}

// Parse reads exactly what Format writes; any other text was written by another program.
func Parse(text string) (m Mark, ok bool) {
	var epoch, kind string
	if _, err := fmt.Sscanf(text, "stele %16s/%d %6s", &epoch, &m.Revision, &kind); err != nil {
		return Mark{}, false
	}
	var err error
	if m.Epoch, err = ledger.ParseEpoch(epoch); err != nil {
		return Mark{}, false
	}
	m.IsString = kind == "string"
	if m.Revision == 0 || m.Format() != text {
		return Mark{}, false
	}
	return m, true
}

// Text returns the text of a value, and whether the value is a string. The error is a
// *projector.RefusedError.
func Text(v ledger.Value) (text string, isString bool, err error) {
	if !strings.HasPrefix(string(v), `"`) {
		return string(v), false, nil
	}
	b, err := jsontext.AppendUnquote(nil, string(v))
	if err != nil {
		return "", false, projector.Refuse("the value is not JSON: %v", err)
	}
	return string(b), true, nil
}

// Value returns the value of a text. It is a string if the mark says so; therefore a
// text that is typed in place of a string is also a string. Otherwise it is the JSON
// that the text is, and a string if the text is not JSON.
func Value(text string, isString bool) ledger.Value {
	if !isString {
		if v, err := ledger.ParseValue(text); err == nil {
			return v
		}
	}
	b, _ := jsontext.AppendQuote(nil, text) // invalid UTF-8 becomes U+FFFD
	return ledger.Value(b)
}
