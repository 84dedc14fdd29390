package document

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/stelehq/stele/cmd/stele/internal/yamljson"
	"go.yaml.in/yaml/v3"
)

// parseJSON also accepts comments and trailing commas, which settings of editors have.
func parseJSON(data []byte) (*yaml.Node, []string, error) {
	n, err := yamljson.FromJSON(data)
	if err == nil {
		return n, nil, nil
	}
	if plain, changed := stripComments(data); changed {
		if len(bytes.TrimSpace(plain)) == 0 {
			return nil, nil, nil
		}
		if n, err = yamljson.FromJSON(plain); err == nil {
			return n, nil, nil
		}
	}
	return nil, nil, inLine(err, data)
}

// inLine adds the line to an error of JSON.
func inLine(err error, data []byte) error {
	var syntax *jsontext.SyntacticError
	if !errors.As(err, &syntax) {
		return err
	}
	why := syntax.Err
	if errors.Is(why, jsontext.ErrDuplicateName) {
		why = fmt.Errorf("the name %q occurs twice in an object", syntax.JSONPointer.LastToken())
	}
	before := data[:min(int(syntax.ByteOffset), len(data))]
	return fmt.Errorf("line %d: %w", 1+bytes.Count(before, []byte("\n")), why)
}

// stripComments removes // and /* */ comments and commas before a closing bracket from
// JSON, and keeps line numbers. changed is false if there were none.
func stripComments(data []byte) (plain []byte, changed bool) {
	plain = bytes.Clone(data)
	blank := func(from, to int) {
		for i := from; i < to; i++ {
			if plain[i] != '\n' {
				plain[i] = ' '
			}
		}
		changed = true
	}
	comma := -1 // the last one, followed only by space
	for i := 0; i < len(data); i++ {
		switch c := data[i]; {
		case c == '"':
			for i++; i < len(data) && data[i] != '"'; i++ {
				if data[i] == '\\' {
					i++
				}
			}
			comma = -1
		case c == '/' && i+1 < len(data) && data[i+1] == '/':
			end := len(data)
			if n := bytes.IndexByte(data[i:], '\n'); n >= 0 {
				end = i + n
			}
			blank(i, end)
			i = end - 1
		case c == '/' && i+1 < len(data) && data[i+1] == '*':
			end := len(data)
			if n := bytes.Index(data[i+2:], []byte("*/")); n >= 0 {
				end = i + 2 + n + 2
			}
			blank(i, end)
			i = end - 1
		case c == ',':
			comma = i
		case (c == ']' || c == '}') && comma >= 0:
			blank(comma, comma+1)
			comma = -1
		case c != ' ' && c != '\t' && c != '\n' && c != '\r':
			comma = -1
		}
	}
	return plain, changed
}
