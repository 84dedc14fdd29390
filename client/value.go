package client

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
)

// Value is one key as a Go value, decoded once per change. It is always usable: while
// the key is not set it is the fallback, and while the set value cannot be decoded it
// stays the previous one.
type Value[T any] struct {
	client *Client
	key    string
	// slot is the index of the decoded value in a state.
	slot     int
	fallback T
	nullable bool // null is a T
}

// decoded is the decoded value of a key in a state.
type decoded[T any] struct {
	value T
	err   error
}

// bound is a Value of any type.
type bound interface {
	name() string
	// decode returns the decoded value of the key's new entry, and why it is not used.
	// before is nil for the first one.
	decode(before any, e Entry, set bool) (any, error)
}

// Bind keeps a key as a T, which encoding/json must be able to decode it to. Numbers
// stay exact: one that T cannot hold with all its digits is an error (9007199254740993
// as a float64, 16777217 as a float32), and one in an interface is a json.Number. It panics for a key that the client does not keep, because that is a
// mistake in the program.
func Bind[T any](c *Client, key string, fallback T) *Value[T] {
	if !c.cfg.keeps(key) {
		panic(fmt.Sprintf("client.Bind: %s is under none of the prefixes that the client keeps: %q", key, c.cfg.Prefixes))
	}
	v := &Value[T]{client: c, key: key, fallback: fallback}
	switch reflect.TypeFor[T]().Kind() {
	case reflect.Pointer, reflect.Interface, reflect.Map, reflect.Slice:
		v.nullable = true
	}
	v.slot = c.bind(v)
	return v
}

// Get returns the value. It takes no lock and allocates nothing.
func (v *Value[T]) Get() T { return v.client.state.Load().slots[v.slot].(*decoded[T]).value }

// In returns the value in a snapshot, to read several that belong together. In one
// that is older than the value itself, a value that cannot be decoded is the fallback.
func (v *Value[T]) In(s Snapshot) T {
	if v.slot < len(s.s.slots) {
		return s.s.slots[v.slot].(*decoded[T]).value
	}
	e, set := s.s.get(v.key)
	d, _ := v.decode(nil, e, set)
	return d.(*decoded[T]).value
}

// Err returns why the key's newest value is not used; nil when it is.
func (v *Value[T]) Err() error { return v.client.state.Load().slots[v.slot].(*decoded[T]).err }

// Entry is the key's newest entry, with its revision and the base that the value is inherited
// from; false if the key is not set. Its value is not in use if Err is not nil.
func (v *Value[T]) Entry() (Entry, bool) { return v.client.Get(v.key) }

// Key is the key of the value.
func (v *Value[T]) Key() string { return v.key }

// OnChange has f called with the value after each change of it, as
// Client.OnChange does. A value that cannot be decoded is no change.
func (v *Value[T]) OnChange(f func(T)) (stop func()) {
	return v.client.onChange(func(key string) bool { return key == v.key }, func(u Update) {
		if u.After.s.slots[v.slot].(*decoded[T]).err == nil {
			f(v.In(u.After))
		}
	})
}

func (v *Value[T]) name() string { return v.key }

func (v *Value[T]) decode(before any, e Entry, set bool) (any, error) {
	d := &decoded[T]{value: v.fallback}
	if !set {
		return d, nil
	}
	var fresh T
	if d.err = v.unmarshal(e, &fresh); d.err == nil {
		d.value = fresh
	} else if last, ok := before.(*decoded[T]); ok {
		d.value = last.value
	}
	return d, d.err
}

var errSecret = errors.New("it is a secret, which no client keeps: read it with Config.Get and reveal")

func (v *Value[T]) unmarshal(e Entry, to *T) (err error) {
	switch {
	case e.Secret:
		err = errSecret
	case e.Value == "null" && !v.nullable:
		err = fmt.Errorf("null is not a %T", *to)
	default:
		dec := json.NewDecoder(strings.NewReader(e.Value))
		dec.UseNumber()
		if err = dec.Decode(to); err == nil && dec.Decode(new(json.RawMessage)) != io.EOF {
			err = errors.New("there is more than one JSON value")
		}
		if err == nil {
			err = inexactIn(to, e.Value)
		}
	}
	if err != nil {
		return fmt.Errorf("decode %s@%d: %w", e.Key, e.Revision, err)
	}
	return nil
}

// inexactIn returns an error if a float in v has lost digits of the text.
func inexactIn(v any, text string) error {
	var raw any
	dec := json.NewDecoder(strings.NewReader(text))
	dec.UseNumber()
	if err := dec.Decode(&raw); err != nil {
		return err
	}
	return inexact(reflect.ValueOf(v).Elem(), raw)
}
