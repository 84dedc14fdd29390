package document

import (
	"fmt"

	"go.yaml.in/yaml/v3"
)

// fields is a mapping of names to strings, of a format in which the last value of a
// repeated name counts.
type fields struct {
	root    *yaml.Node
	at      map[string]int // the index of a name's value
	remarks []string
}

func (f *fields) add(line int, name, value string) {
	if f.root == nil {
		f.root = &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map", Line: line}
		f.at = make(map[string]int)
	}
	if i, twice := f.at[name]; twice {
		f.remarks = append(f.remarks, fmt.Sprintf("%s occurs in line %d and again in line %d, which counts", name, f.root.Content[i].Line, line))
		f.root.Content[i] = stringNode(line, value)
		return
	}
	f.at[name] = len(f.root.Content) + 1
	f.root.Content = append(f.root.Content, stringNode(line, name), stringNode(line, value))
}

// value is a name's value so far.
func (f *fields) value(name string) (string, bool) {
	i, ok := f.at[name]
	if !ok {
		return "", false
	}
	return f.root.Content[i].Value, true
}

func stringNode(line int, s string) *yaml.Node {
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Style: yaml.DoubleQuotedStyle, Value: s, Line: line}
}
