package migrate

import (
	"encoding/json"
	"errors"
	"strings"
	"unicode/utf8"

	"github.com/stelehq/stele/ledger"
)

// errBinary is a value that is no text.
var errBinary = errors.New("the value is binary, neither JSON nor UTF-8 text: keep it where it is, or store it as text")

// errPlain is a secret that the ledger would keep in plain.
var errPlain = errors.New("it is encrypted there, and no route makes its key secret here, so it would stay readable for ever (docs/secrets.md)")

// Value is what a text means as a setting: what is JSON is taken as JSON, anything
// else as a string.
func Value(text string) (ledger.Value, error) {
	if v, err := ledger.ParseValue(text); err == nil {
		return v, nil
	}
	return String(text)
}

// String is a text as a JSON string.
func String(text string) (ledger.Value, error) {
	quoted, err := json.Marshal(text)
	if err != nil {
		return "", err
	}
	return ledger.ParseValue(string(quoted))
}

// valueOf is an item's value; what is no text is refused.
func valueOf(text string) (ledger.Value, error) {
	if !utf8.ValidString(text) || strings.ContainsRune(text, 0) {
		return "", errBinary
	}
	return Value(text)
}

// clip keeps a text within so many bytes.
func clip(text string, most int) string {
	text = strings.ToValidUTF8(text, "\uFFFD")
	if len(text) <= most {
		return text
	}
	const dots = "..."
	return strings.ToValidUTF8(text[:most-len(dots)], "") + dots
}
