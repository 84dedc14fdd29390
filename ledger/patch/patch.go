// Package patch tells what changed inside a JSON value, as a JSON Patch
// (RFC 6902). Numbers are never rewritten.
package patch

import (
	"bytes"
	"encoding/json"
	"fmt"

	"github.com/stelehq/stele/ledger"
	"github.com/wI2L/jsondiff"
)

// Operation is one step of a patch.
type Operation struct {
	Op   string `json:"op"` // add, remove or replace
	Path string `json:"path"`
	// Value is what is added or put in place; nil where something is removed.
	Value json.RawMessage `json:"value,omitempty"`
	// Was is what is removed or replaced; nil where something is added.
	Was json.RawMessage `json:"-"`
}

// aligned is the longest value, in bytes, whose arrays are aligned with what
// they were, so that an element put in front is one operation: that takes time
// and memory by the square. Longer arrays are compared place by place.
const aligned = 4 << 10

// Between returns the operations that make the new value of the old one; none
// where they are the same.
func Between(from, to ledger.Value) ([]Operation, error) {
	options := []jsondiff.Option{jsondiff.UnmarshalFunc(unmarshal)}
	if max(len(from), len(to)) <= aligned {
		options = append(options, jsondiff.LCS())
	}
	steps, err := jsondiff.CompareJSON([]byte(from), []byte(to), options...)
	if err != nil {
		return nil, fmt.Errorf("compare two values: %w", err)
	}
	operations := make([]Operation, len(steps))
	for i, s := range steps {
		o := Operation{Op: s.Type, Path: s.Path}
		if o.Op == jsondiff.OperationAdd && o.Path == "" { // a value of another kind
			o.Op = jsondiff.OperationReplace
		}
		if o.Op != jsondiff.OperationRemove {
			if o.Value, err = marshal(s.Value); err != nil {
				return nil, err
			}
		}
		if o.Op != jsondiff.OperationAdd {
			if o.Was, err = marshal(s.OldValue); err != nil {
				return nil, err
			}
		}
		operations[i] = o
	}
	return operations, nil
}

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
