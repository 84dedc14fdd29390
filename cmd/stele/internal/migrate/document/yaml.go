package document

import (
	"fmt"
	"regexp"

	"github.com/stelehq/stele/cmd/stele/internal/output"
	"github.com/stelehq/stele/cmd/stele/internal/yamljson"
	"go.yaml.in/yaml/v3"
)

// parseYAML reads one document as it is, and several as their list.
func parseYAML(data []byte) (*yaml.Node, []string, error) {
	if n, err := yamljson.FromJSON(data); err == nil {
		return n, nil, nil
	}
	docs, err := yamljson.ParseAll(data)
	if err != nil {
		return nil, nil, err
	}
	return listOf(docs), remarksOn(docs), nil
}

// readByYAML11 matches plain scalars that YAML 1.2 and this program read as text, and
// YAML 1.1 as a boolean or a number: Spring, Helm and Ansible parse YAML 1.1.
var readByYAML11 = regexp.MustCompile(`^(yes|Yes|YES|no|No|NO|on|On|ON|off|Off|OFF` +
	`|[-+]?0[0-7_]+|[-+]?0[xX][0-9a-fA-F_]+|[-+]?0b[01_]+|[-+]?[1-9][0-9]*(_[0-9_]*)+|\+[0-9][0-9_]*(\.[0-9_]*)?|[-+]?[1-9][0-9_]*(:[0-5]?[0-9])+)$`)

func remarksOn(docs []*yaml.Node) []string {
	var first *yaml.Node
	count := 0
	var look func(*yaml.Node)
	look = func(n *yaml.Node) {
		if n.Kind == yaml.ScalarNode && n.Style == 0 && readByYAML11.MatchString(n.Value) {
			if count++; first == nil {
				first = n
			}
		}
		for i, child := range n.Content {
			if n.Kind != yaml.MappingNode || i%2 == 1 {
				look(child)
			}
		}
	}
	for _, doc := range docs {
		look(doc)
	}
	if count == 0 {
		return nil
	}
	return []string{fmt.Sprintf("%s kept as text that YAML 1.1 reads as a boolean or a number, first in line %d: %s", output.Count(count, "value"), first.Line, first.Value)}
}
