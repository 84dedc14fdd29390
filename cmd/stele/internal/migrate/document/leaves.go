package document

import (
	"fmt"

	"github.com/stelehq/stele/cmd/stele/internal/yamljson"
	"go.yaml.in/yaml/v3"
)

// documentsTag marks the list of a file's documents, if it has several.
const documentsTag = "!documents"

// listOf is the only document, or the list of several; nil without one.
func listOf(docs []*yaml.Node) *yaml.Node {
	switch len(docs) {
	case 0:
		return nil
	case 1:
		return docs[0]
	}
	return &yaml.Node{Kind: yaml.SequenceNode, Tag: documentsTag, Line: docs[0].Line, Content: docs}
}

// leaves gives every value other than a non-empty object a name: the document's name
// followed by the names of the fields.
func leaves(n *yaml.Node, name string, into map[string]string) error {
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	if n.Tag == documentsTag {
		for i, doc := range n.Content {
			if err := leaves(doc, fmt.Sprintf("%s/%d", name, i), into); err != nil {
				return err
			}
		}
		return nil
	}
	if n.Kind == yaml.MappingNode && len(n.Content) > 0 {
		return yamljson.Fields(n, func(field string, _, value *yaml.Node) error {
			return leaves(value, name+"/"+field, into)
		})
	}
	value, err := yamljson.ToJSON(n)
	if err != nil {
		return err
	}
	if _, twice := into[name]; twice {
		return fmt.Errorf("two fields have the name %s", name)
	}
	into[name] = string(value)
	return nil
}
