package yamljson

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"sort"

	"github.com/go-json-experiment/json/jsontext"
	"go.yaml.in/yaml/v3"
)

// FromJSON reads one JSON text. Nodes carry their lines.
func FromJSON(data []byte) (*yaml.Node, error) {
	r := newReader(data)
	n, err := r.value()
	if err != nil {
		return nil, err
	}
	if _, err := r.dec.ReadToken(); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("line %d: more follows the JSON value", r.line())
	}
	return n, nil
}

// FromJSONLines reads JSON texts, one after another. Nodes carry their lines.
func FromJSONLines(data []byte) ([]*yaml.Node, error) {
	r := newReader(data)
	var all []*yaml.Node
	for {
		// The kind before a value is the kind of an error at the end.
		if r.dec.PeekKind() == 0 {
			if _, err := r.dec.ReadToken(); errors.Is(err, io.EOF) {
				return all, nil
			} else if err != nil {
				return nil, err
			}
		}
		n, err := r.value()
		if err != nil {
			return nil, err
		}
		all = append(all, n)
	}
}

func newReader(data []byte) *reader {
	r := reader{dec: jsontext.NewDecoder(bytes.NewReader(data))}
	for i, c := range data {
		if c == '\n' {
			r.newlines = append(r.newlines, int64(i))
		}
	}
	return &r
}

type reader struct {
	dec *jsontext.Decoder
	// newlines are the offsets of the line ends.
	newlines []int64
}

// line is the line of the last token's end.
func (r *reader) line() int {
	at := r.dec.InputOffset()
	return 1 + sort.Search(len(r.newlines), func(i int) bool { return r.newlines[i] >= at })
}

func (r *reader) value() (*yaml.Node, error) {
	switch r.dec.PeekKind() {
	case '{':
		return r.collection(yaml.MappingNode, "!!map", '}')
	case '[':
		return r.collection(yaml.SequenceNode, "!!seq", ']')
	}
	tok, err := r.dec.ReadToken()
	if err != nil {
		return nil, err
	}
	n := &yaml.Node{Kind: yaml.ScalarNode, Line: r.line()}
	// Without a tag the writer leaves a number as it is.
	n.Value = tok.String()
	if tok.Kind() == '"' {
		n.Tag, n.Style = "!!str", yaml.DoubleQuotedStyle
	}
	return n, nil
}

func (r *reader) collection(kind yaml.Kind, tag string, end jsontext.Kind) (*yaml.Node, error) {
	if _, err := r.dec.ReadToken(); err != nil {
		return nil, err
	}
	n := &yaml.Node{Kind: kind, Tag: tag, Line: r.line()}
	for r.dec.PeekKind() != end {
		item, err := r.value()
		if err != nil {
			return nil, err
		}
		n.Content = append(n.Content, item)
	}
	_, err := r.dec.ReadToken()
	return n, err
}

// plainName is a field name that needs no quotes.
var plainName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_./-]*$`)

// Encode writes a JSON text as one YAML document, without "---".
func Encode(w io.Writer, data []byte) error {
	n, err := FromJSON(data)
	if err != nil {
		return err
	}
	unquoteNames(n)
	enc := yaml.NewEncoder(w)
	enc.SetIndent(2)
	if err := enc.Encode(n); err != nil {
		return err
	}
	return enc.Close()
}

func unquoteNames(n *yaml.Node) {
	for i, c := range n.Content {
		if n.Kind == yaml.MappingNode && i%2 == 0 && plainName.MatchString(c.Value) {
			// With its tag kept, the writer quotes a name like true or null.
			c.Style = 0
		}
		unquoteNames(c)
	}
}
