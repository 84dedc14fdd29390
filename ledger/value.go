package ledger

import (
	"errors"
	"fmt"

	"github.com/go-json-experiment/json/jsontext"
)

// MaxValue is the longest value, in bytes, after white space is removed.
const MaxValue = 512 << 10

// Value is JSON text as its writer wrote it, without the white space between
// tokens. Numbers and strings are never rewritten: a canonical form would turn
// 9007199254740993 into 9007199254740992.
type Value string

// ParseValue checks JSON text and removes the white space between its tokens.
// Names that occur twice in an object and invalid UTF-8 are refused, because
// readers disagree on what they mean. No error holds a part of the text: it may be
// a secret.
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
	if string(v) == s { // most writers send none: no need for a second copy
		return Value(s), nil
	}
	return Value(v), nil
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
