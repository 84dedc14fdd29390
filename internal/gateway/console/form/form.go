// Package form reads the console's forms that write. Each form has a name of its own, so
// that a form that is submitted twice is written once.
package form

import (
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"strconv"
	"strings"

	"github.com/google/uuid"
	"github.com/stelehq/stele/internal/gateway/console/format"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
)

// Write is the content of a form that writes a key, or several.
type Write struct {
	Key, Value, Message string
	// Expected is the revision that the key must still have (0: it must not be set), or
	// the head of a preview.
	Expected uint64
	// Commit is the id of the commit Expected; nil for not known.
	Commit []byte
	// Name is the form's own.
	Name string
}

// NewName returns the name of a new form.
func NewName() string { return uuid.NewString() }

// Parse reads a form that was submitted. Its key is usually in the URL.
func Parse(r *http.Request) Write {
	expected, _ := strconv.ParseUint(r.FormValue("expected"), 10, 64)
	commit, err := hex.DecodeString(r.FormValue("commit"))
	if err != nil {
		commit = nil
	}
	return Write{
		Value: strings.ReplaceAll(r.FormValue("value"), "\r\n", "\n"), Message: strings.TrimSpace(r.FormValue("message")),
		Expected: expected, Commit: commit, Name: r.FormValue("form"),
	}
}

// Precondition is what must be true of the key for the form to be written.
func (w Write) Precondition() *stelev1.Precondition {
	return &stelev1.Precondition{Key: w.Key, Revision: w.Expected, CommitId: w.Commit}
}

// JSON is the value without the white space of the form's layout, which does not count
// toward the longest value.
func (w Write) JSON() string { return format.Compact(w.Value) }

// RequestID identifies what the form does with its content: a form that is submitted
// twice is written once, and one that was changed in between, for example after going
// back to it, is another request.
func (w Write) RequestID(action string) string {
	h := sha256.New()
	for _, part := range []string{w.Name, action, w.Key, w.Value, w.Message, strconv.FormatUint(w.Expected, 10)} {
		h.Write([]byte(part))
		h.Write([]byte{0})
	}
	return "console:" + hex.EncodeToString(h.Sum(nil)[:16])
}

// longText is the shortest text that is long for a field, in bytes.
const longText = 100_000

// Long reports whether the layout of a text in a plain field delays the page.
func Long(text string) bool { return len(text) >= longText }

// Rows is the height of the value's field, in lines.
func (w Write) Rows() string {
	return strconv.Itoa(min(max(strings.Count(w.Value, "\n")+1, 3), 24))
}
