// Package document reads configuration files of several formats as documents: names with
// JSON values. A file is read as the programs that it is for read it, so a value is the
// one that they use.
package document

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/stelehq/stele/cmd/stele/internal/migrate/text"
	"github.com/stelehq/stele/cmd/stele/internal/yamljson"
	"go.yaml.in/yaml/v3"
)

// MaxSize is the largest file that is read, in bytes. A value is smaller, but a file can
// contain much white space.
const MaxSize = 4 << 20

// format is a file format.
type format struct {
	// extensions of file names, in lower case.
	extensions []string
	// latin1 is set if a file that is neither UTF-8 nor UTF-16 is ISO 8859-1.
	latin1 bool
	// parse returns nil if the file has only comments. Remarks describe what another
	// program could read differently.
	parse func([]byte) (root *yaml.Node, remarks []string, err error)
}

// formats are all formats that are read.
var formats = []format{
	{extensions: []string{".yaml", ".yml"}, parse: parseYAML},
	{extensions: []string{".json", ".jsonc"}, parse: parseJSON},
	{extensions: []string{".toml"}, parse: parseTOML},
	{extensions: []string{".properties"}, parse: parseProperties, latin1: true},
	{extensions: []string{".env"}, parse: parseEnv},
}

// Document is the content of a file.
type Document struct {
	// Values are JSON, by name: the file's own name, or one name per leaf. Empty if the
	// file has only comments.
	Values map[string]string
	// Remarks describe what another program could read differently.
	Remarks []string
}

// Name is the name of a file's document: its path without the extension. ok is false if
// files of this name are not read.
func Name(file string) (name string, ok bool) {
	if _, ok := formatOf(file); !ok {
		return "", false
	}
	base := path.Base(file)
	if isEnv(base) { // .env and .env.production have no other name
		return file, true
	}
	if name := strings.TrimSuffix(base, path.Ext(base)); name == "" {
		return file, true
	}
	return strings.TrimSuffix(file, path.Ext(file)), true
}

// isEnv reports whether a base name is .env or begins with ".env.", as in .env.local.
func isEnv(base string) bool {
	base = strings.ToLower(base)
	return base == ".env" || strings.HasPrefix(base, ".env.")
}

func formatOf(file string) (format, bool) {
	base := path.Base(file)
	extension := strings.ToLower(path.Ext(base))
	if isEnv(base) {
		extension = ".env"
	}
	i := slices.IndexFunc(formats, func(f format) bool { return slices.Contains(f.extensions, extension) })
	if i < 0 {
		return format{}, false
	}
	return formats[i], true
}

// Extensions are the extensions of the files that are read.
func Extensions() []string {
	var all []string
	for _, f := range formats {
		all = append(all, f.extensions...)
	}
	return all
}

// Read reads a file that has a Name. With flatten, each leaf becomes a value of its own. The
// error is ErrTemplate for a Helm template.
func Read(file string, data []byte, flatten bool) (Document, error) {
	f, ok := formatOf(file)
	if !ok {
		return Document{}, fmt.Errorf("files with the extension %q are not read", path.Ext(file))
	}
	if len(data) > MaxSize {
		return Document{}, ErrTooLarge
	}
	name, _ := Name(file)
	doc, err := read(f, name, data, flatten)
	if err = template(file, data, err); err != nil {
		return Document{}, err
	}
	return doc, nil
}

func read(f format, name string, data []byte, flatten bool) (Document, error) {
	var doc Document
	plain, latin1, err := decode(f, data)
	if err != nil {
		return doc, err
	}
	if latin1 {
		doc.Remarks = append(doc.Remarks, "read as Latin-1, because it is not valid UTF-8")
	}
	root, remarks, err := f.parse(plain)
	if err != nil || root == nil {
		return doc, err
	}
	doc.Remarks = append(doc.Remarks, remarks...)
	// ToJSON detects cycles and aliases that multiply a document, before any leaf is
	// looked for.
	whole, err := yamljson.ToJSON(root)
	if err != nil {
		return doc, err
	}
	doc.Values = make(map[string]string)
	if !flatten {
		doc.Values[name] = string(whole)
		return doc, nil
	}
	return doc, leaves(root, name, doc.Values)
}

// decode returns a file's text as UTF-8, and whether it was read as Latin-1.
func decode(f format, data []byte) (plain []byte, latin1 bool, err error) {
	if f.latin1 {
		plain, latin1 = text.Latin1(data)
		return plain, latin1, nil
	}
	plain, err = text.UTF8(data)
	return plain, false, err
}

// ErrTooLarge is the error for a file of more than MaxSize bytes.
var ErrTooLarge = fmt.Errorf("the file has more than %d bytes", MaxSize)
