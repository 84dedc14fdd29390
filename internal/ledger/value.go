package ledger

import (
	"errors"
	"fmt"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

// MaxValue is the longest value, in bytes, after white space is removed.
const MaxValue = 512 << 10

// MaxDepth is how many objects and arrays may be inside one another in a value.
const MaxDepth = 100

// Value is JSON text as its writer wrote it, without the white space between
// tokens. Numbers and strings are never rewritten: a canonical form would turn
// 9007199254740993 into 9007199254740992.
type Value string

// ParseValue checks JSON text and removes the white space between its tokens. Duplicate
// names in an object and invalid UTF-8 are rejected, because readers disagree on their
// meaning. No error contains a part of the text: it may be a secret.
func ParseValue(s string) (Value, error) {
	if len(s) > 2*MaxValue {
		return "", fmt.Errorf("value has %d bytes, more than %d", len(s), MaxValue)
	}
	v := jsontext.Value(s)
	if err := v.Format(jsontext.PreserveRawStrings(true)); err != nil {
		return "", notJSON(err)
	}
	if len(v) > MaxValue {
		return "", fmt.Errorf("value has %d bytes, more than %d", len(v), MaxValue)
	}
	if depthOf(v) > MaxDepth {
		return "", errTooDeep
	}
	if string(v) == s { // most writers send none: no need for a second copy
		return Value(s), nil
	}
	return Value(v), nil
}

var errTooDeep = fmt.Errorf("the value is nested deeper than %d levels", MaxDepth)

// depthOf is how many objects and arrays are inside one another in JSON text.
func depthOf(v []byte) (deepest int) {
	depth, inString, escaped := 0, false, false
	for _, c := range v {
		switch {
		case escaped:
			escaped = false
		case inString:
			escaped, inString = c == '\\', c != '"'
		case c == '"':
			inString = true
		case c == '[' || c == '{':
			depth++
			deepest = max(deepest, depth)
		case c == ']' || c == '}':
			depth--
		}
	}
	return deepest
}

// StringValue returns the text as a JSON string. Text that is not valid UTF-8 is
// refused: a replacement character would be stored in its place.
func StringValue(text string) (Value, error) {
	quoted, err := jsontext.AppendQuote(make([]byte, 0, len(text)+2), text)
	switch {
	case !utf8.ValidString(text):
		return "", fmt.Errorf("the value is not valid UTF-8 at byte %d", invalidUTF8(text))
	case err != nil:
		return "", errors.New("the value cannot be written as a JSON string")
	case len(quoted) > MaxValue:
		return "", fmt.Errorf("value has %d bytes, more than %d", len(quoted), MaxValue)
	}
	return Value(quoted), nil
}

// Text returns a string without its quotation marks, and any other value as its JSON text.
func (v Value) Text() string {
	if jsontext.Value(v).Kind() != '"' {
		return string(v)
	}
	text, _ := jsontext.AppendUnquote(nil, v) // a value is valid JSON
	return string(text)
}

// TextValue returns the value of a text: valid JSON is used as JSON, any other text as
// a string.
func TextValue(text string) (Value, error) {
	v, err := ParseValue(text)
	if err == nil || errors.Is(err, errTooDeep) {
		return v, err
	}
	return StringValue(text)
}

// invalidUTF8 returns the offset of the first byte that is not UTF-8.
func invalidUTF8(s string) int {
	for i, r := range s {
		if _, size := utf8.DecodeRuneInString(s[i:]); r == utf8.RuneError && size == 1 {
			return i
		}
	}
	return len(s)
}

func notJSON(err error) error {
	var at *jsontext.SyntacticError
	switch {
	case !errors.As(err, &at):
		return errors.New("the value is not JSON")
	case errors.Is(err, jsontext.ErrDuplicateName):
		return fmt.Errorf("the value has a name twice in one object, at byte %d", at.ByteOffset)
	}
	return fmt.Errorf("the value is not JSON at byte %d", at.ByteOffset)
}
