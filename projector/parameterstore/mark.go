package parameterstore

import (
	"fmt"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/stelehq/stele/ledger"
	"github.com/stelehq/stele/projector"
)

// mark is the description of a parameter, e.g.
//
//	stele 14c55d3897916f93/42 string
//
// for the value that revision 42 of its tenant set in the ledger with that epoch.
type mark struct {
	epoch    ledger.Epoch
	revision ledger.Revision
	// text reports that the value is the parameter's text, as a string. Otherwise the
	// parameter is the value's JSON.
	text bool
}

func (m mark) String() string {
	kind := "json"
	if m.text {
		kind = "string"
	}
	return fmt.Sprintf("stele %s/%d %s", m.epoch, m.revision, kind)
}

// parseMark reads exactly what String writes; anything else is another program's
// description.
func parseMark(description string) (m mark, ok bool) {
	var epoch, kind string
	if _, err := fmt.Sscanf(description, "stele %16s/%d %6s", &epoch, &m.revision, &kind); err != nil {
		return mark{}, false
	}
	var err error
	if m.epoch, err = ledger.ParseEpoch(epoch); err != nil {
		return mark{}, false
	}
	m.text = kind == "string"
	if m.revision == 0 || m.String() != description {
		return mark{}, false
	}
	return m, true
}

// Of values: https://docs.aws.amazon.com/systems-manager/latest/userguide/parameter-store-advanced-parameters.html
const (
	maxStandard = 4096
	maxAdvanced = 8192
)

// text is a parameter's text for a value, and whether that is a string. The error is a
// *projector.RefusedError.
func text(v ledger.Value) (text string, isString bool, err error) {
	text, isString = string(v), strings.HasPrefix(string(v), `"`)
	if isString {
		b, err := jsontext.AppendUnquote(nil, text)
		if err != nil {
			return "", false, projector.Refuse("the value is not JSON: %v", err)
		}
		text = string(b)
	}
	switch _, after, opens := strings.Cut(text, "{{"); {
	case text == "":
		return "", false, projector.Refuse("the value is an empty string, which no parameter can be: delete the key, or set it to null")
	case len(text) > maxAdvanced:
		return "", false, projector.Refuse("the value has %d bytes, and a parameter at most %d: make it smaller, or route the key to another sink", len(text), maxAdvanced)
	case opens && strings.Contains(after, "}}"):
		return "", false, projector.Refuse("the value has {{ and }}, which Parameter Store takes for a reference to another parameter: write it another way, or route the key to another sink")
	}
	return text, isString, nil
}

// value is the value of a parameter's text. It is a string if the mark says so; so a
// manual edit of a string is also a string. Otherwise valid JSON is JSON, and anything
// else a string.
func value(text string, isString bool) ledger.Value {
	if !isString {
		if v, err := ledger.ParseValue(text); err == nil {
			return v
		}
	}
	b, _ := jsontext.AppendQuote(nil, text) // invalid UTF-8 becomes U+FFFD
	return ledger.Value(b)
}
