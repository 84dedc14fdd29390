package patch

import (
	"bytes"
	"fmt"
	"slices"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/stelehq/stele/internal/ledger"
)

// Conflict is a place that both sides of a merge have changed, to different values. An
// empty value stands for a place that a side does not have.
type Conflict struct {
	Path              string // a JSON Pointer
	Was, Mine, Theirs string
}

// Merge applies both sides' changes of a value: of objects member by member, of all other
// values, also arrays, as a whole. An empty value stands for none, before or after. The choice decides
// each conflict: whether the merged value has theirs. Numbers and strings stay as they are
// written.
func Merge(was, mine, theirs ledger.Value, choice func(Conflict) (theirs bool)) (merged ledger.Value, conflicts []Conflict, err error) {
	m := merger{choice: choice}
	out, err := m.value("", []byte(was), []byte(mine), []byte(theirs))
	if err != nil {
		return "", nil, fmt.Errorf("merge two values: %w", err)
	}
	return ledger.Value(out), m.conflicts, nil
}

// merger collects the conflicts of one merge.
type merger struct {
	choice    func(Conflict) bool
	conflicts []Conflict
}

func (m *merger) value(path string, was, mine, theirs jsontext.Value) (jsontext.Value, error) {
	switch {
	case same(mine, theirs), same(theirs, was):
		return mine, nil
	case same(mine, was):
		return theirs, nil
	case mine.Kind() == '{' && theirs.Kind() == '{' && (len(was) == 0 || was.Kind() == '{'):
		return m.object(path, was, mine, theirs)
	}
	c := Conflict{path, string(was), string(mine), string(theirs)}
	m.conflicts = append(m.conflicts, c)
	if m.choice(c) {
		return theirs, nil
	}
	return mine, nil
}

// same reports whether two values have the same meaning, or are both none.
func same(a, b jsontext.Value) bool { return ledger.Value(a).Equal(ledger.Value(b)) }

// object merges members, in the order of their side, and then the members that mine adds.
func (m *merger) object(path string, was, mine, theirs jsontext.Value) (jsontext.Value, error) {
	before, err := membersOf(was)
	if err != nil {
		return nil, err
	}
	ours, err := membersOf(mine)
	if err != nil {
		return nil, err
	}
	others, err := membersOf(theirs)
	if err != nil {
		return nil, err
	}
	names := others.names
	for _, name := range ours.names {
		if _, both := others.values[name]; !both {
			names = append(names, name)
		}
	}
	// A member that both sides have removed is in neither list.
	out := []byte{'{'}
	for _, name := range names {
		v, err := m.value(path+"/"+escape.Replace(name), before.values[name], ours.values[name], others.values[name])
		if err != nil {
			return nil, err
		}
		if len(v) == 0 {
			continue
		}
		if len(out) > 1 {
			out = append(out, ',')
		}
		if out, err = jsontext.AppendQuote(out, name); err != nil {
			return nil, err
		}
		out = append(append(out, ':'), v...)
	}
	return append(out, '}'), nil
}

// members are those of an object, in its order.
type members struct {
	names  []string
	values map[string]jsontext.Value
}

// membersOf reads an object's members; an empty text does not have any.
func membersOf(object jsontext.Value) (members, error) {
	out := members{values: map[string]jsontext.Value{}}
	if len(object) == 0 {
		return out, nil
	}
	d := jsontext.NewDecoder(bytes.NewReader(object))
	if _, err := d.ReadToken(); err != nil { // the brace
		return out, err
	}
	for d.PeekKind() == '"' {
		token, err := d.ReadToken()
		if err != nil {
			return out, err
		}
		name := token.String()
		value, err := d.ReadValue()
		if err != nil {
			return out, err
		}
		out.names, out.values[name] = append(out.names, name), slices.Clone(value)
	}
	return out, nil
}
