package fakeaws

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	"github.com/go-json-experiment/json/jsontext"
)

// Pattern is an event pattern of EventBridge.
//
// https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-create-pattern-operators.html
type Pattern struct {
	// fields that an event must have, all of them.
	fields map[string]field
	// either are the lists of $or: of each, one pattern must match.
	either [][]*Pattern
}

// field is the pattern of a member: it is an object that matches nested, or a leaf that
// one of the tests accepts.
type field struct {
	nested *Pattern
	tests  []test
}

// patternError is what AWS says of a pattern, in its own words.
type patternError string

func (e patternError) Error() string { return string(e) }

func refusal(format string, args ...any) error { return patternError(fmt.Sprintf(format, args...)) }

// ParsePattern reads a pattern, as PutRule does.
func ParsePattern(text []byte) (*Pattern, error) {
	v, err := parseNode(text)
	if err != nil {
		return nil, err
	}
	if v.kind != '{' {
		return nil, refusal("Filter is not an object")
	}
	return newPattern(v)
}

func newPattern(v *node) (*Pattern, error) {
	if len(v.members) == 0 {
		return nil, refusal("Empty objects are not allowed")
	}
	p := &Pattern{fields: make(map[string]field)}
	for name, m := range v.members {
		switch {
		case name == "$or" && m.isOr():
			var either []*Pattern
			for _, e := range m.elements {
				q, err := newPattern(e)
				if err != nil {
					return nil, err
				}
				either = append(either, q)
			}
			p.either = append(p.either, either)
		case m.kind == '{':
			nested, err := newPattern(m)
			if err != nil {
				return nil, err
			}
			p.fields[name] = field{nested: nested}
		case m.kind == '[':
			if len(m.elements) == 0 {
				return nil, refusal("Empty arrays are not allowed at %q", name)
			}
			var tests []test
			for _, e := range m.elements {
				t, err := newTest(e)
				if err != nil {
					return nil, fmt.Errorf("%w at %q", err, name)
				}
				tests = append(tests, t)
			}
			p.fields[name] = field{tests: tests}
		default:
			return nil, fmt.Errorf("%q must be an object or an array", name)
		}
	}
	return p, nil
}

// isOr reports whether the value of $or is a list of patterns; else $or is the name
// of a member like any other.
func (v *node) isOr() bool {
	return v.kind == '[' && len(v.elements) >= 2 && !slices.ContainsFunc(v.elements, func(e *node) bool { return e.kind != '{' })
}

// Match reports whether an event, as a target gets it, matches. Anything other than a
// JSON object does not.
func (p *Pattern) Match(event []byte) bool {
	v, err := parseNode(event)
	return err == nil && v.kind == '{' && p.match(v)
}

func (p *Pattern) match(v *node) bool {
	for name, f := range p.fields {
		if !f.match(v.members[name]) {
			return false
		}
	}
	for _, either := range p.either {
		if !slices.ContainsFunc(either, func(q *Pattern) bool { return q.match(v) }) {
			return false
		}
	}
	return true
}

// match is for a member's value; nil when it is not there. Of an array, one
// element must match.
func (f field) match(v *node) bool {
	if f.nested != nil {
		if v == nil {
			return f.nested.match(&node{kind: '{'}) // of patterns that want absence
		}
		return slices.ContainsFunc(v.flat(), func(e *node) bool { return e.kind == '{' && f.nested.match(e) })
	}
	var leaves []*node
	if v != nil {
		leaves = slices.DeleteFunc(v.flat(), func(e *node) bool { return e.kind == '{' })
	}
	return slices.ContainsFunc(f.tests, func(t test) bool {
		if t.absent {
			return len(leaves) == 0
		}
		return slices.ContainsFunc(leaves, t.accepts)
	})
}

// node is a JSON value that keeps its numbers as they were written.
type node struct {
	kind     jsontext.Kind
	text     string // of a string, decoded; of a number, as written
	members  map[string]*node
	elements []*node
}

// flat is the elements of an array, and of arrays in it; of anything else, that.
func (v *node) flat() []*node {
	if v.kind != '[' {
		return []*node{v}
	}
	var out []*node
	for _, e := range v.elements {
		out = append(out, e.flat()...)
	}
	return out
}

func parseNode(text []byte) (*node, error) {
	d := jsontext.NewDecoder(bytes.NewReader(text))
	v, err := readNode(d)
	if err != nil {
		return nil, err
	}
	if _, err := d.ReadToken(); err == nil {
		return nil, errors.New("something follows the JSON value")
	}
	return v, nil
}

func readNode(d *jsontext.Decoder) (*node, error) {
	t, err := d.ReadToken()
	if err != nil {
		return nil, err
	}
	v := &node{kind: t.Kind()}
	switch v.kind {
	case '"', '0':
		v.text = t.String()
	case '[':
		for d.PeekKind() != ']' {
			e, err := readNode(d)
			if err != nil {
				return nil, err
			}
			v.elements = append(v.elements, e)
		}
		_, err = d.ReadToken()
	case '{':
		v.members = make(map[string]*node)
		for d.PeekKind() != '}' {
			name, err := d.ReadToken()
			if err != nil {
				return nil, err
			}
			key := name.String()
			if v.members[key], err = readNode(d); err != nil {
				return nil, err
			}
		}
		_, err = d.ReadToken()
	}
	return v, err
}
