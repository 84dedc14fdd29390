// Package changefile reads a change set from a file, YAML or JSON:
//
//	message: Give checkout more time
//	changes:
//	  - key: tenantconfig/checkout/timeout_ms
//	    value: 3000
//	  - key: tenantconfig/checkout/retries
//	    delete: true
//	expect:
//	  tenantconfig/checkout/timeout_ms: 41
//	  tenantconfig/checkout/beta: absent
//
// A line of a change log or of "stele log -o json" is such a file too. Its time, author
// and source are not used: what is applied is the caller's and of now. So is the output
// of "stele export", JSON lines or YAML documents: all of its keys are set.
package changefile

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	text8 "github.com/stelehq/stele/cmd/stele/internal/migrate/text"
	"github.com/stelehq/stele/cmd/stele/internal/yamljson"
	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/secret"
	"go.yaml.in/yaml/v3"
)

// File is a change set and the tenant that the file names; empty for none.
type File struct {
	Tenant ledger.Tenant
	ledger.ChangeSet
}

// Parse reads a file. An error names the line, and a field that is not known is
// one.
func Parse(data []byte) (*File, error) {
	docs, err := documents(data)
	if err != nil {
		return nil, err
	}
	f := new(File)
	if isExport(docs[0]) {
		f.Changes, err = entries(docs)
		return f, err
	}
	if len(docs) > 1 {
		return nil, yamljson.Errorf(docs[1], "a second document begins: give each change set its own file")
	}
	root := docs[0]
	err = fields(root, "a change set", func(name string, key, v *yaml.Node) (err error) {
		switch name {
		case "message":
			f.Message, err = text(v)
		case "tenant":
			f.Tenant, err = parse(v, ledger.ParseTenant)
		case "changes":
			f.Changes, err = changes(v)
		case "expect":
			f.Preconditions, err = expectations(v)
		case "time", "author", "source":
		case "position", "revision", "id", "parent", "effective_time", "operator", "request_id", "recorded", "importer", "rollback", "reverts", "drift", "base", "promotion", "copy", "inherited", "inherited_more":
			// Of a commit, and of the past.
		case "partial":
			err = yamljson.Errorf(key, "the commit is not whole: print the log with a token that may read all of its keys")
		default:
			err = yamljson.Errorf(key, "unknown field %q: a change set has message, changes and expect", name)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	if len(f.Changes) == 0 {
		return nil, yamljson.Errorf(root, "the change set has no changes")
	}
	return f, nil
}

// documents are the JSON texts or YAML documents of a file; at least one.
func documents(data []byte) ([]*yaml.Node, error) {
	data, err := text8.UTF8(data)
	if err != nil {
		return nil, err
	}
	docs, err := yamljson.FromJSONLines(data)
	if err != nil {
		docs, err = yamljson.ParseAll(data)
	}
	if err == nil && len(docs) == 0 {
		err = errors.New("the document is empty")
	}
	return docs, err
}

// isExport reports whether a document is an entry of "stele export".
func isExport(n *yaml.Node) bool {
	if n.Kind != yaml.MappingNode {
		return false
	}
	for i := 0; i < len(n.Content); i += 2 {
		if n.Content[i].Value == "key" {
			return true
		}
	}
	return false
}

// entries are the changes that set an export's keys.
func entries(docs []*yaml.Node) ([]ledger.Change, error) {
	var cs []ledger.Change
	first := make(map[ledger.Key]int)
	for _, doc := range docs {
		var c ledger.Change
		isSecret := false
		err := fields(doc, "an entry of an export", func(name string, key, v *yaml.Node) (err error) {
			switch name {
			case "key":
				c.Key, err = parse(v, ledger.ParseKey)
			case "value":
				c.Value, err = value(v)
			case "revision":
			case "secret":
				isSecret = resolve(v).Value == "true"
			default:
				err = yamljson.Errorf(key, "unknown field %q: an entry of an export has key, revision, value and secret", name)
			}
			return err
		})
		line, twice := first[c.Key]
		switch {
		case err != nil:
			return nil, err
		case c.Key == "" || c.Value == "":
			return nil, yamljson.Errorf(doc, "an entry of an export has a key and a value")
		case isSecret && c.Value == secret.Mask:
			return nil, yamljson.Errorf(doc, "the value of %s is \"***\", which stands for a secret: export it with --reveal", c.Key)
		case twice:
			return nil, yamljson.Errorf(doc, "%s is set twice, first in line %d: a key may occur once", c.Key, line)
		}
		first[c.Key] = doc.Line
		cs = append(cs, c)
	}
	return cs, nil
}

func changes(n *yaml.Node) ([]ledger.Change, error) {
	n = resolve(n)
	if n.Kind != yaml.SequenceNode {
		return nil, yamljson.Errorf(n, "changes is a list, e.g. - {key: tenantconfig/a, value: 1}")
	}
	var cs []ledger.Change
	first := make(map[ledger.Key]int)
	for _, item := range n.Content {
		c, err := change(item)
		if err != nil {
			return nil, err
		}
		if line, twice := first[c.Key]; twice {
			return nil, yamljson.Errorf(item, "%s is changed twice, first in line %d: a key may occur once", c.Key, line)
		}
		first[c.Key] = item.Line
		cs = append(cs, c)
	}
	return cs, nil
}

func change(n *yaml.Node) (c ledger.Change, err error) {
	err = fields(n, "a change", func(name string, key, v *yaml.Node) (err error) {
		switch name {
		case "key":
			c.Key, err = parse(v, ledger.ParseKey)
		case "value":
			c.Value, err = value(v)
		case "delete":
			if v := resolve(v); v.Kind != yaml.ScalarNode || v.Value != "true" {
				return yamljson.Errorf(v, "delete is true or absent")
			}
			c.Delete = true
		case "previous_revision", "was": // of a commit's change
		default:
			err = yamljson.Errorf(key, "unknown field %q: a change has key and value, or key and delete", name)
		}
		return err
	})
	switch {
	case err != nil:
	case c.Key == "":
		err = yamljson.Errorf(n, "the change has no key")
	case c.Delete == (c.Value != ""):
		err = yamljson.Errorf(n, "set a value or delete the key, one of the two")
	}
	return c, err
}

func value(n *yaml.Node) (ledger.Value, error) {
	data, err := yamljson.ToJSON(n)
	if err != nil {
		return "", err
	}
	v, err := ledger.ParseValue(string(data))
	if err != nil {
		return "", yamljson.Errorf(n, "%v", err)
	}
	return v, nil
}

func expectations(n *yaml.Node) (ps []ledger.Precondition, err error) {
	err = fields(n, "expect", func(name string, key, v *yaml.Node) error {
		k, err := ledger.ParseKey(name)
		if err != nil {
			return yamljson.Errorf(key, "%v", err)
		}
		rev, err := parse(v, ParseExpected)
		if err != nil {
			return err
		}
		ps = append(ps, ledger.Precondition{Key: k, Revision: rev})
		return nil
	})
	return ps, err
}

// ParseExpected reads the revision that is expected to have last set a key: 42,
// @42, or absent (0).
func ParseExpected(s string) (ledger.Revision, error) {
	if s == "absent" {
		return 0, nil
	}
	n, err := strconv.ParseUint(strings.TrimPrefix(s, "@"), 10, 64)
	if err != nil || n == 0 {
		return 0, fmt.Errorf("%q is not a revision to expect: write 42, @42 or absent", s)
	}
	return ledger.Revision(n), nil
}

func fields(n *yaml.Node, what string, f func(name string, key, value *yaml.Node) error) error {
	n = resolve(n)
	if n.Kind != yaml.MappingNode {
		return yamljson.Errorf(n, "%s is a mapping of fields", what)
	}
	return yamljson.Fields(n, f)
}

func parse[T any](n *yaml.Node, p func(string) (T, error)) (v T, err error) {
	s, err := text(n)
	if err != nil {
		return v, err
	}
	if v, err = p(s); err != nil {
		return v, yamljson.Errorf(n, "%v", err)
	}
	return v, nil
}

func text(n *yaml.Node) (string, error) {
	n = resolve(n)
	if n.Kind != yaml.ScalarNode {
		return "", yamljson.Errorf(n, "this is a text, not a collection")
	}
	return n.Value, nil
}

func resolve(n *yaml.Node) *yaml.Node {
	if n.Kind == yaml.AliasNode {
		return n.Alias
	}
	return n
}
