package schema

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"
	"github.com/stelehq/stele/internal/ledger"
	"golang.org/x/text/language"
	"golang.org/x/text/message"
)

// base and a prefix form the URI of the prefix's schema.
const base = "stele:///"

// compiled is a schema that is ready to be applied.
type compiled struct {
	root *jsonschema.Schema
	// uses are the prefixes of all documents that it was made of, its own too.
	uses []ledger.Prefix
	err  error // why it is invalid
	// unevaluated is set if some of it asks which parts of a value others have looked at.
	unevaluated bool
}

// compile makes a prefix's schema. find has the documents that it may refer to.
func compile(prefix ledger.Prefix, find func(ledger.Prefix) (ledger.Value, bool)) (c *compiled) {
	c = &compiled{}
	defer func() {
		if p := recover(); p != nil { // the library has panics of its own for what it thinks cannot be
			c.err = errors.New("it cannot be read")
		}
		if c.err != nil {
			c.root = nil
		}
	}()
	compiler := jsonschema.NewCompiler()
	compiler.DefaultDraft(jsonschema.Draft2020)
	compiler.AssertFormat()
	compiler.UseRegexpEngine(patterns())
	compiler.UseLoader(loader{c, prefix, find})
	root, err := compiler.Compile(base + string(prefix))
	if err != nil {
		c.err = explain(err)
		return c
	}
	c.root = root
	c.err = c.supported(root)
	return c
}

// loader finds the documents of one tenant, and nothing else.
type loader struct {
	*compiled
	prefix ledger.Prefix // whose schema is compiled
	find   func(ledger.Prefix) (ledger.Value, bool)
}

func (l loader) Load(uri string) (any, error) {
	u, err := url.Parse(uri)
	if err != nil || u.Scheme != "stele" || u.Host != "" || u.RawQuery != "" || !strings.HasPrefix(u.Path, "/") {
		return nil, fmt.Errorf("%s does not refer to a schema of the ledger: use %sPREFIX, or #/... for the document itself", clip(uri), base)
	}
	prefix := ledger.Prefix(u.Path[1:])
	// Missing schemas are recorded as used, because they may be set later.
	l.uses = append(l.uses, prefix)
	text, ok := l.find(prefix)
	if !ok {
		return nil, fmt.Errorf("%s does not have a schema", clip(string(prefix)))
	}
	doc, err := read(text)
	if err != nil && prefix != l.prefix {
		err = fmt.Errorf("the schema of %s: %w", prefix, err)
	}
	return doc, err
}

// supported rejects keywords that are not implemented here, and schemas that refer to
// themselves without descending into the value.
func (c *compiled) supported(root *jsonschema.Schema) error {
	const entered, left = 1, 2
	all := []*jsonschema.Schema{root}
	seen := map[*jsonschema.Schema]bool{root: true}
	state := make(map[*jsonschema.Schema]int)
	var enter func(*jsonschema.Schema) error
	enter = func(s *jsonschema.Schema) error {
		switch state[s] {
		case entered:
			return fmt.Errorf("%s refers to itself, and never goes into the value", place(s.Location))
		case left:
			return nil
		}
		state[s] = entered
		for _, next := range inPlace(s) {
			if err := enter(next); err != nil {
				return err
			}
		}
		state[s] = left
		return nil
	}
	for len(all) > 0 {
		s := all[0]
		all = all[1:]
		switch {
		case s.DraftVersion != 2020:
			return fmt.Errorf("it refers to %s, which is of another draft than 2020-12", clip(s.Location))
		case s.DynamicRef != nil:
			return fmt.Errorf("at %s: $dynamicRef is not known here: use $ref", place(s.Location))
		}
		if err := enter(s); err != nil {
			return err
		}
		c.unevaluated = c.unevaluated || s.UnevaluatedProperties != nil || s.UnevaluatedItems != nil
		for _, next := range slices.Concat(inPlace(s), inside(s)) {
			if !seen[next] {
				seen[next] = true
				all = append(all, next)
			}
		}
	}
	return nil
}

// inPlace are the schemas that are applied to the same value as s.
func inPlace(s *jsonschema.Schema) []*jsonschema.Schema {
	all := slices.Concat([]*jsonschema.Schema{s.Ref, s.Not, s.If, s.Then, s.Else}, s.AllOf, s.AnyOf, s.OneOf)
	for _, d := range s.DependentSchemas {
		all = append(all, d)
	}
	for _, d := range s.Dependencies {
		if d, ok := d.(*jsonschema.Schema); ok {
			all = append(all, d)
		}
	}
	return slices.DeleteFunc(all, func(s *jsonschema.Schema) bool { return s == nil })
}

// inside are the schemas that are applied to what s's value holds.
func inside(s *jsonschema.Schema) []*jsonschema.Schema {
	all := slices.Concat([]*jsonschema.Schema{s.PropertyNames, s.UnevaluatedProperties, s.Contains, s.Items2020, s.UnevaluatedItems}, s.PrefixItems)
	for _, p := range s.Properties {
		all = append(all, p)
	}
	for _, p := range s.PatternProperties {
		all = append(all, p)
	}
	if a, ok := s.AdditionalProperties.(*jsonschema.Schema); ok {
		all = append(all, a)
	}
	return slices.DeleteFunc(all, func(s *jsonschema.Schema) bool { return s == nil })
}

// place is the location of a schema in messages: _schema/PREFIX#/...
func place(location string) string {
	if rest, ok := strings.CutPrefix(location, base); ok {
		location = Tag + strings.TrimSuffix(rest, "#")
	}
	if text, err := url.PathUnescape(location); err == nil {
		return text
	}
	return location
}

var english = message.NewPrinter(language.English)

// explain describes the error in a document, and its location.
func explain(err error) error {
	var invalid *jsonschema.SchemaValidationError
	var load *jsonschema.LoadURLError
	var pattern *jsonschema.InvalidRegexError
	switch {
	case errors.As(err, &invalid):
		var v *jsonschema.ValidationError
		if errors.As(invalid.Err, &v) {
			return leaf(v)
		}
	case errors.As(err, &load):
		return load.Err
	case errors.As(err, &pattern):
		return fmt.Errorf("at %s: the pattern %q: %w", place(pattern.URL), clip(pattern.Regex), pattern.Err)
	}
	return errors.New(clip(strings.ReplaceAll(err.Error(), base, Tag)))
}

// leaf is the first thing that is wrong.
func leaf(v *jsonschema.ValidationError) error {
	for len(v.Causes) > 0 {
		v = v.Causes[0]
	}
	at := "the document"
	if len(v.InstanceLocation) > 0 {
		at = ""
		for _, token := range v.InstanceLocation {
			at += "/" + escape(token)
		}
		at = "at " + at
	}
	if t, ok := v.ErrorKind.(*kind.Type); ok {
		return fmt.Errorf("%s is of type %s, and must be of type %s", at, t.Got, strings.Join(t.Want, " or "))
	}
	return fmt.Errorf("%s: %s", at, clip(v.ErrorKind.LocalizedString(english)))
}
