package secret

import (
	"encoding/base64"
	"errors"
	"strings"

	"github.com/stelehq/stele/internal/ledger"
)

// Mask is shown instead of a secret.
const Mask ledger.Value = `"***"`

// An encrypted value is {"$secret":"v1:<id of its key>:<base64url>"}, JSON like any
// other: it is kept, hashed and compared as every value is.
const (
	mark   = `{"$secret":"`
	v1     = mark + "v1:"
	end    = `"}`
	sizeID = 16
)

// encoding rejects alternative encodings, so that a value has exactly one text.
var encoding = base64.RawURLEncoding.Strict()

// Sealed reports whether a value is an encrypted one, of this version or of a newer
// one. Only the ledger can write such a value.
func Sealed(v ledger.Value) bool { return strings.HasPrefix(string(v), mark) }

// sealed is an encrypted value and which key it is encrypted with.
type sealed struct {
	key        string
	ciphertext []byte
}

func (s sealed) value() ledger.Value {
	b := make([]byte, 0, len(v1)+sizeID+1+encoding.EncodedLen(len(s.ciphertext))+len(end))
	b = append(b, v1...)
	b = append(b, s.key...)
	b = append(b, ':')
	b = encoding.AppendEncode(b, s.ciphertext)
	return ledger.Value(append(b, end...))
}

var errForm = errors.New("it is not of the form that this version writes")

func parse(v ledger.Value) (s sealed, err error) {
	rest, ours := strings.CutPrefix(string(v), v1)
	rest, closed := strings.CutSuffix(rest, end)
	id, text, two := strings.Cut(rest, ":")
	// The decoder skips line breaks.
	if !ours || !closed || !two || !validID(id) || strings.ContainsAny(text, "\r\n") {
		return s, errForm
	}
	s.key = id
	if s.ciphertext, err = encoding.DecodeString(text); err != nil {
		return s, errForm
	}
	return s, nil
}

func validID(id string) bool {
	return len(id) == sizeID && strings.Trim(id, "0123456789abcdef") == ""
}
