// Package patch describes what changed inside a JSON value, as a JSON Patch
// (RFC 6902). Numbers are never rewritten.
package patch

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/stelehq/stele/internal/ledger"
)

// Operation is one step of a patch.
type Operation struct {
	Op   string `json:"op"` // add, remove or replace
	Path string `json:"path"`
	// Value is the added or new value; nil for a removal.
	Value json.RawMessage `json:"value,omitempty"`
	// Was is the removed or replaced value; nil for an addition.
	Was json.RawMessage `json:"-"`
}

// The operations of a patch.
const (
	opAdd     = "add"
	opRemove  = "remove"
	opReplace = "replace"
)

// Between returns the operations that make the new value of the old one; none if
// they are the same. An object's members are compared by name. An array's elements
// are aligned first (see align), so an element that is inserted or removed is one
// operation however long the array is. An index counts after the operations before it.
func Between(from, to ledger.Value) ([]Operation, error) {
	a, err := decode(from)
	if err != nil {
		return nil, fmt.Errorf("compare two values: %w", err)
	}
	b, err := decode(to)
	if err != nil {
		return nil, fmt.Errorf("compare two values: %w", err)
	}
	var d differ
	err = d.value("", a, b)
	return d.operations, err
}

func decode(v ledger.Value) (any, error) {
	var x any
	err := unmarshal([]byte(v), &x)
	return x, err
}

// differ collects the operations of one comparison.
type differ struct{ operations []Operation }

func (d *differ) value(path string, a, b any) error {
	switch a := a.(type) {
	case map[string]any:
		if b, ok := b.(map[string]any); ok {
			return d.object(path, a, b)
		}
	case []any:
		if b, ok := b.([]any); ok {
			return d.array(path, a, b)
		}
	default: // a string, json.Number, bool or nil
		switch b.(type) {
		case map[string]any, []any:
		default:
			if a == b {
				return nil
			}
		}
	}
	return d.add(opReplace, path, a, b)
}

func (d *differ) object(path string, a, b map[string]any) error {
	names := slices.Collect(maps.Keys(a))
	for name := range b {
		if _, both := a[name]; !both {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		was, had := a[name]
		is, has := b[name]
		below := path + "/" + escape.Replace(name)
		var err error
		switch {
		case !has:
			err = d.add(opRemove, below, was, nil)
		case !had:
			err = d.add(opAdd, below, nil, is)
		default:
			err = d.value(below, was, is)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (d *differ) array(path string, a, b []any) error {
	pairs, err := align(a, b)
	if err != nil {
		return err
	}
	// at is the place in the array as the operations so far have left it; i and j are
	// the first elements of a and b that are not dealt with.
	at, i, j := 0, 0, 0
	for _, p := range append(pairs, pair{len(a), len(b)}) {
		for ; i < p.a || j < p.b; at++ {
			below := path + "/" + strconv.Itoa(at)
			switch {
			case i < p.a && j < p.b: // the one in the place of the other
				err = d.value(below, a[i], b[j])
				i, j = i+1, j+1
			case i < p.a:
				err = d.add(opRemove, below, a[i], nil)
				i, at = i+1, at-1
			default:
				err = d.add(opAdd, below, nil, b[j])
				j++
			}
			if err != nil {
				return err
			}
		}
		at, i, j = at+1, p.a+1, p.b+1
	}
	return nil
}

func (d *differ) add(op, path string, was, is any) (err error) {
	o := Operation{Op: op, Path: path}
	if op != opAdd {
		if o.Was, err = marshal(was); err != nil {
			return err
		}
	}
	if op != opRemove {
		if o.Value, err = marshal(is); err != nil {
			return err
		}
	}
	d.operations = append(d.operations, o)
	return nil
}

// escape writes a name in a JSON pointer.
var escape = strings.NewReplacer("~", "~0", "/", "~1")

// unmarshal keeps numbers as they are written.
func unmarshal(data []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	return d.Decode(v)
}

func marshal(v any) (json.RawMessage, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, fmt.Errorf("write a patch: %w", err)
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}
