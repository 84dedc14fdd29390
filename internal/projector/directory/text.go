package directory

import (
	"io"
	"io/fs"
	"os"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/projector"
)

// content is the text of a file, and whether its permissions are right. It is an Item's
// State.
type content struct {
	text string
	kind kind
	mode fs.FileMode
}

// contentOf is the content of a value's file.
func contentOf(v ledger.Value, mode fs.FileMode) (content, error) {
	if v[0] != '"' {
		return content{string(v), isJSON, mode}, nil
	}
	text, err := jsontext.AppendUnquote(nil, v)
	if err != nil {
		return content{}, projector.Refuse("the string cannot be written to a file: %v", err)
	}
	return content{string(text), isString, mode}, nil
}

// value is the file's content, as JSON. If its kind is unknown, valid JSON is read as
// JSON and anything else as a string. Invalid UTF-8 is replaced by U+FFFD.
func (c content) value() ledger.Value {
	if c.kind != isString {
		if v, err := ledger.ParseValue(c.text); err == nil {
			return v
		}
	}
	quoted, _ := jsontext.AppendQuote(nil, c.text) // the error says what was replaced
	return ledger.Value(quoted)
}

// read returns a file's text and mode. A file that is longer than any value is not
// read to its end.
func read(f *os.File) (string, fs.FileMode, error) {
	info, err := f.Stat()
	if err != nil {
		return "", 0, err
	}
	text, err := io.ReadAll(io.LimitReader(f, ledger.MaxValue+1))
	return string(text), info.Mode().Perm(), err
}
