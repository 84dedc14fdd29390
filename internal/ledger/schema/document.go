package schema

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"regexp/syntax"
	"strconv"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/text"
)

// dialect is the only one that documents may be written in.
const dialect = "https://json-schema.org/draft/2020-12/schema"

// read decodes a document, within the limits.
func read(text ledger.Value) (any, error) {
	if len(text) > MaxDocument {
		return nil, fmt.Errorf("it has %d bytes, more than %d", len(text), MaxDocument)
	}
	doc, err := decode(text)
	if err != nil {
		return nil, err
	}
	switch doc.(type) {
	case map[string]any, bool:
	default:
		return nil, errors.New(`a schema is an object, e.g. {"type":"integer"}, or true or false`)
	}
	nodes := maxNodes
	return doc, bounded(doc, "", maxDepth, &nodes)
}

// decode keeps numbers as they are written.
func decode(v ledger.Value) (any, error) {
	return jsonschema.UnmarshalJSON(strings.NewReader(string(v)))
}

func bounded(v any, at string, depth int, nodes *int) error {
	if *nodes--; *nodes < 0 {
		return fmt.Errorf("it holds more than %d values: split it, and refer to the parts", maxNodes)
	}
	if depth < 0 {
		return fmt.Errorf("it is nested deeper than %d", maxDepth)
	}
	switch v := v.(type) {
	case map[string]any:
		if s, ok := v["$schema"].(string); ok && strings.TrimSuffix(s, "#") != dialect {
			return fmt.Errorf("at %s/$schema: %q is not %s, which is the only one known here", at, clip(s), dialect)
		}
		for name, member := range v {
			if err := bounded(member, at+"/"+escape(name), depth-1, nodes); err != nil {
				return err
			}
		}
	case []any:
		for i, e := range v {
			if err := bounded(e, at+"/"+strconv.Itoa(i), depth-1, nodes); err != nil {
				return err
			}
		}
	case json.Number:
		if _, err := rational(v); err != nil {
			return fmt.Errorf("at %s: %w", at, err)
		}
	}
	return nil
}

// Limits of patterns. The maximal cost of a match is the size of the program times the
// length of the text.
const (
	maxPattern  = 1024   // bytes
	maxProgram  = 5000   // instructions of one
	maxPrograms = 50_000 // instructions of all that a document leads to
)

// pattern is a regular expression and its cost.
type pattern struct {
	*regexp.Regexp
	size int
}

// patterns compiles the patterns of one document: RE2, so a match takes at most the
// pattern's size times the text's.
func patterns() jsonschema.RegexpEngine {
	left := maxPrograms
	known := make(map[string]pattern)
	return func(text string) (jsonschema.Regexp, error) {
		if p, ok := known[text]; ok {
			return p, nil
		}
		re, size, err := CompilePattern(text)
		if err != nil {
			return nil, err
		}
		if left -= size; size > maxProgram || left < 0 {
			return nil, errors.New("it is too large when its repetitions are expanded")
		}
		known[text] = pattern{re, size}
		return known[text], nil
	}
}

// CompilePattern compiles a regular expression, and returns its size in instructions
// after repetitions are expanded. It is at most 1,024 bytes long.
func CompilePattern(text string) (*regexp.Regexp, int, error) {
	if len(text) > maxPattern {
		return nil, 0, fmt.Errorf("it has %d bytes, more than %d", len(text), maxPattern)
	}
	tree, err := syntax.Parse(text, syntax.Perl)
	if err != nil {
		return nil, 0, err
	}
	program, err := syntax.Compile(tree.Simplify())
	if err != nil {
		return nil, 0, err
	}
	re, err := regexp.Compile(text)
	return re, len(program.Inst), err
}

func escape(token string) string {
	return strings.ReplaceAll(strings.ReplaceAll(token, "~", "~0"), "/", "~1")
}

// clip keeps user input from filling an answer.
func clip(s string) string { return text.Clip(s, 80) }
