package migrate

import (
	"errors"
	"strings"
)

// errBinary is the error for a value that is not text.
var errBinary = errors.New("the value is binary, neither JSON nor UTF-8 text: keep it where it is, or store it as text")

// errPlain is a secret that the ledger would keep in plain.
var errPlain = errors.New("it is encrypted there, and no route makes its key secret here, so it would stay readable permanently (docs/secrets.md)")

// clip keeps a text within so many bytes.
func clip(text string, most int) string {
	text = strings.ToValidUTF8(text, "\uFFFD")
	if len(text) <= most {
		return text
	}
	const dots = "..."
	return strings.ToValidUTF8(text[:most-len(dots)], "") + dots
}
