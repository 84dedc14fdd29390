// Package yamljson reads YAML as JSON and writes JSON as YAML without touching a
// number: 1.0, 9007199254740993 and 1e3 keep their text. Scalars mean what the
// YAML 1.2 core schema says, so yes and no are strings, with one exception: a number
// that JSON writes in another way (01234, 0o777, 0xFF, +5) stays text, because it is more
// often a code than a number. Merge keys (<<) are resolved, and a scalar name is its text.
// Values that JSON cannot hold are refused with their line.
package yamljson

import (
	"bytes"
	"errors"
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
		// YAML is not a superset of JSON where it hurts: "\ud83d\ude00" is an example.
		if n, err := FromJSON(data); err == nil {
			return n, nil
		}
	}
	docs, err := ParseAll(data)
	switch {
	case err != nil:
		return nil, err
	case len(docs) == 0:
		return nil, fmt.Errorf("the document is empty")
	case len(docs) > 1:
		return nil, Errorf(docs[1], "a second document begins: give each its own file")
	}
	return docs[0], nil
}

// ParseAll reads the documents of a YAML stream and returns their roots. Documents that
// hold only comments are left out.
func ParseAll(data []byte) ([]*yaml.Node, error) {
	dec := yaml.NewDecoder(bytes.NewReader(data))
	var docs []*yaml.Node
	for {
		var doc yaml.Node
		switch err := dec.Decode(&doc); {
		case errors.Is(err, io.EOF):
			return docs, nil
		case err != nil:
			return nil, err
		}
		if root := doc.Content[0]; root.Kind != yaml.ScalarNode || root.Value != "" || root.Style&^yaml.FlowStyle != 0 {
			docs = append(docs, root)
		}
	}
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

// Fields calls f for each field of a mapping, in order. A name is the text of a scalar
// and occurs once. Fields that a merge key brings come after the mapping's own, unless
// the mapping has one of the same name.
func Fields(n *yaml.Node, f func(name string, key, value *yaml.Node) error) error {
	seen := make(map[string]int, len(n.Content)/2)
	var merged []*yaml.Node
	for i := 0; i < len(n.Content); i += 2 {
		key, value := resolve(n.Content[i]), n.Content[i+1]
		if isMerge(key) {
			merged = append(merged, value)
			continue
		}
		if key.Kind != yaml.ScalarNode {
			return Errorf(n.Content[i], "a collection is not the name of a field")
		}
		if line, twice := seen[key.Value]; twice {
			return Errorf(n.Content[i], "%q occurs twice, first in line %d", key.Value, line)
		}
		seen[key.Value] = key.Line
		if err := f(key.Value, n.Content[i], value); err != nil {
			return err
		}
	}
	if len(merged) > 0 {
		return mergeInto(seen, merged, make(map[*yaml.Node]bool), f)
	}
	return nil
}

// isMerge reports whether a name is YAML's merge key.
func isMerge(n *yaml.Node) bool {
	return n.Kind == yaml.ScalarNode && n.Value == "<<" && n.Style&(quoted|yaml.TaggedStyle) == 0
}

// mergeInto calls f for the fields of the mappings that are not seen yet. Of two
// mappings in a list the first one wins. A mapping that is done has nothing to add.
func mergeInto(seen map[string]int, mappings []*yaml.Node, done map[*yaml.Node]bool, f func(name string, key, value *yaml.Node) error) error {
	for _, n := range mappings {
		from := resolve(n)
		if done[from] {
			continue
		}
		done[from] = true
		switch {
		case from.Kind == yaml.SequenceNode:
			if err := mergeInto(seen, from.Content, done, f); err != nil {
				return err
			}
			continue
		case from.Kind != yaml.MappingNode:
			return Errorf(n, "the merge key << takes a mapping or a list of mappings")
		}
		var more []*yaml.Node
		for i := 0; i < len(from.Content); i += 2 {
			key := resolve(from.Content[i])
			if isMerge(key) {
				more = append(more, from.Content[i+1])
				continue
			}
			if key.Kind != yaml.ScalarNode {
				return Errorf(from.Content[i], "a collection is not the name of a field")
			}
			if _, has := seen[key.Value]; has {
				continue
			}
			seen[key.Value] = key.Line
			if err := f(key.Value, from.Content[i], from.Content[i+1]); err != nil {
				return err
			}
		}
		if err := mergeInto(seen, more, done, f); err != nil {
			return err
		}
	}
	return nil
}

// resolve follows an alias.
func resolve(n *yaml.Node) *yaml.Node {
	if n.Kind == yaml.AliasNode {
		return n.Alias
	}
	return n
}

// collection refuses tags that JSON has no counterpart for, such as !!set.
func collection(n *yaml.Node, tag string) error {
	if n.Style&yaml.TaggedStyle != 0 && n.ShortTag() != tag {
		return Errorf(n, "JSON has nothing for the tag %s", n.ShortTag())
	}
	return nil
}

func quote(s string) []byte {
	// The scanner has checked that s is UTF-8.
	b, _ := jsontext.AppendQuote(nil, s)
	return b
}
