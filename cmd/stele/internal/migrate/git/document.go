package git

import (
	"path"
	"strings"

	"github.com/stelehq/stele/cmd/stele/internal/migrate/text"
	"github.com/stelehq/stele/cmd/stele/internal/yamljson"
	"go.yaml.in/yaml/v3"
)

// documentsTag marks the list of a file's documents, if it has several.
const documentsTag = "!documents"

// kinds of files that are read, by the ending of the name in lower case.
var kinds = map[string]func([]byte) (*yaml.Node, error){
	".yaml": parseYAML, ".yml": parseYAML, ".json": parseJSON,
	".properties": text.Properties, ".env": text.Env,
}

// document is the name of a file without its ending; ok is false for a file that is
// not read.
func document(file string) (name string, ok bool) {
	ending := path.Ext(file)
	if _, ok := kinds[strings.ToLower(ending)]; !ok {
		return "", false
	}
	// Of ".env" nothing would be left.
	if name = strings.TrimSuffix(file, ending); name == "" || strings.HasSuffix(name, "/") {
		return file, true
	}
	return name, true
}

// parseDocument reads a file; nil if it has comments only.
func parseDocument(ending string, data []byte) (*yaml.Node, error) {
	data, err := text.UTF8(data)
	if err != nil {
		return nil, err
	}
	return kinds[strings.ToLower(ending)](data)
}

// parseYAML reads one document as it is, and several as their list.
func parseYAML(data []byte) (*yaml.Node, error) {
	if n, err := yamljson.FromJSON(data); err == nil {
		return n, nil
	}
	docs, err := yamljson.ParseAll(data)
	switch {
	case err != nil, len(docs) == 0:
		return nil, err
	case len(docs) == 1:
		return docs[0], nil
	}
	return &yaml.Node{Kind: yaml.SequenceNode, Tag: documentsTag, Line: docs[0].Line, Content: docs}, nil
}

// parseJSON also takes comments and commas at the end, which editors' settings have.
func parseJSON(data []byte) (*yaml.Node, error) {
	n, err := yamljson.FromJSON(data)
	if err == nil {
		return n, nil
	}
	if plain, changed := text.StripComments(data); changed {
		if n, err := yamljson.FromJSON(plain); err == nil {
			return n, nil
		}
	}
	return nil, err
}
