// Package yamljson reads YAML as JSON and writes JSON as YAML without touching a
// number: 1.0, 9007199254740993 and 1e3 keep their text. Scalars mean what the
// YAML 1.2 core schema says, so yes and no are strings; what JSON cannot hold is
// refused with its line.
package yamljson

import (
	"bytes"
	"fmt"
	"io"

	"github.com/go-json-experiment/json/jsontext"
	"go.yaml.in/yaml/v3"
)

// maxExpanded bounds what aliases may multiply a document to, in bytes of JSON.
const maxExpanded = 16 << 20

// Parse reads one document, JSON or YAML, and returns its root.
func Parse(data []byte) (*yaml.Node, error) {
	if t := bytes.TrimLeft(data, " \t\r\n"); len(t) > 0 && (t[0] == '{' || t[0] == '[') {
		// YAML is no superset of JSON where it hurts: "\ud83d\ude00" is one.
		if n, err := FromJSON(data); err == nil {
			return n, nil
		}
	}
	dec := yaml.NewDecoder(bytes.NewReader(data))
	var doc, more yaml.Node
	switch err := dec.Decode(&doc); {
	case err == io.EOF:
		return nil, fmt.Errorf("the document is empty")
	case err != nil:
		return nil, err
	}
	switch err := dec.Decode(&more); {
	case err == nil:
		return nil, Errorf(&more, "a second document begins: give one a file")
	case err != io.EOF:
		return nil, err
	}
	return doc.Content[0], nil
}

// Errorf is an error about a node, with its line.
func Errorf(n *yaml.Node, format string, args ...any) error {
	return fmt.Errorf("line %d: %s", n.Line, fmt.Sprintf(format, args...))
}

// ToJSON writes the node as JSON without white space. Aliases are expanded.
func ToJSON(n *yaml.Node) ([]byte, error) {
	var w writer
	if err := w.node(n); err != nil {
		return nil, err
	}
	return w.out, nil
}

type writer struct {
	out []byte
	// open holds the anchored nodes that are being written, to see a cycle.
	open map[*yaml.Node]bool
}

func (w *writer) node(n *yaml.Node) error {
	if len(w.out) > maxExpanded {
		return Errorf(n, "the document has more than %d bytes once its aliases are expanded", maxExpanded)
	}
	switch n.Kind {
	case yaml.AliasNode:
		return w.alias(n)
	case yaml.MappingNode:
		return w.mapping(n)
	case yaml.SequenceNode:
		return w.sequence(n)
	}
	literal, err := scalar(n)
	if err != nil {
		return err
	}
	w.out = append(w.out, literal...)
	return nil
}

func (w *writer) alias(n *yaml.Node) error {
	if w.open[n.Alias] {
		return Errorf(n, "*%s contains itself", n.Value)
	}
	if w.open == nil {
		w.open = make(map[*yaml.Node]bool)
	}
	w.open[n.Alias] = true
	defer delete(w.open, n.Alias)
	return w.node(n.Alias)
}

func (w *writer) mapping(n *yaml.Node) error {
	if err := collection(n, "!!map"); err != nil {
		return err
	}
	w.out = append(w.out, '{')
	err := Fields(n, func(name string, _, value *yaml.Node) error {
		if w.out[len(w.out)-1] != '{' {
			w.out = append(w.out, ',')
		}
		w.out = append(append(w.out, quote(name)...), ':')
		return w.node(value)
	})
	w.out = append(w.out, '}')
	return err
}

func (w *writer) sequence(n *yaml.Node) error {
	if err := collection(n, "!!seq"); err != nil {
		return err
	}
	w.out = append(w.out, '[')
	for i, item := range n.Content {
		if i > 0 {
			w.out = append(w.out, ',')
		}
		if err := w.node(item); err != nil {
			return err
		}
	}
	w.out = append(w.out, ']')
	return nil
}

// Fields calls f for each field of a mapping, in order. A name is a string and
// occurs once.
func Fields(n *yaml.Node, f func(name string, key, value *yaml.Node) error) error {
	seen := make(map[string]int, len(n.Content)/2)
	for i := 0; i < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		if key.Kind == yaml.AliasNode {
			key = key.Alias
		}
		if key.Kind != yaml.ScalarNode || !isString(key) {
			return Errorf(n.Content[i], "%s is no name of a field: write it in quotes", describe(key))
		}
		if line, twice := seen[key.Value]; twice {
			return Errorf(n.Content[i], "%q occurs twice, first in line %d", key.Value, line)
		}
		seen[key.Value] = key.Line
		if err := f(key.Value, n.Content[i], value); err != nil {
			return err
		}
	}
	return nil
}

// collection refuses tags that JSON has no counterpart for, such as !!set.
func collection(n *yaml.Node, tag string) error {
	if n.Style&yaml.TaggedStyle != 0 && n.ShortTag() != tag {
		return Errorf(n, "JSON has nothing for the tag %s", n.ShortTag())
	}
	return nil
}

func describe(n *yaml.Node) string {
	if n.Kind == yaml.ScalarNode {
		return fmt.Sprintf("%q", n.Value)
	}
	return "a collection"
}

func quote(s string) []byte {
	// The scanner has checked that s is UTF-8.
	b, _ := jsontext.AppendQuote(nil, s)
	return b
}
