package search

import (
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/stelehq/stele/internal/ledger"
)

// memberOf returns the member of a value at a path, as its writer wrote it.
func memberOf(v ledger.Value, path jsontext.Pointer) (ledger.Value, bool) {
	dec := jsontext.NewDecoder(strings.NewReader(string(v)))
	for name := range path.Tokens() {
		if !enter(dec, name) {
			return "", false
		}
	}
	member, err := dec.ReadValue()
	return ledger.Value(member), err == nil
}

// enter moves the decoder to a member of the object or an element of the array that
// follows.
func enter(dec *jsontext.Decoder, name string) bool {
	switch dec.PeekKind() {
	case '{':
		_, _ = dec.ReadToken()
		for dec.PeekKind() == '"' {
			member, err := dec.ReadToken()
			if err != nil {
				return false
			}
			if member.String() == name {
				return true
			}
			if dec.SkipValue() != nil {
				return false
			}
		}
	case '[':
		index, err := strconv.Atoi(name)
		if err != nil || strconv.Itoa(index) != name { // RFC 6901 allows no leading zeros
			return false
		}
		_, _ = dec.ReadToken()
		for i := 0; dec.PeekKind() != ']'; i++ {
			if i == index {
				return true
			}
			if dec.SkipValue() != nil {
				return false
			}
		}
	}
	return false
}
