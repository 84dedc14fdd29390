// Package strictjson decodes the documents that users write: policies, routes, lists of
// bases. An unknown field is an error, because it can be a misspelled limit, and errors
// name the place in the document instead of Go's types.
package strictjson

import (
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// Unmarshal decodes a document. whole describes what it must be, for the error about a
// document of another type, for example "it must be an object with sinks and routes".
func Unmarshal(text []byte, into any, whole string) error {
	if err := json.Unmarshal(text, into, json.RejectUnknownMembers(true)); err != nil {
		return misread("", err, whole)
	}
	return nil
}

// misread describes an error at a place of the document. A value that decodes itself
// reports its own error, whose place is relative to that.
func misread(place jsontext.Pointer, err error, whole string) error {
	var e *json.SemanticError
	if !errors.As(err, &e) {
		return at(place, err)
	}
	place += e.JSONPointer
	var inner *json.SemanticError
	var date *time.ParseError
	switch {
	case errors.As(e.Err, &inner):
		return misread(place, inner, whole)
	case errors.Is(e.Err, json.ErrUnknownName):
		return fmt.Errorf("unknown field %q", place)
	case errors.As(e.Err, &date):
		return at(place, errors.New("it must be a time, for example 2025-03-04T08:00:00Z"))
	case e.Err != nil && !errors.Is(e.Err, strconv.ErrSyntax):
		return at(place, e.Err)
	case place == "":
		return errors.New(whole)
	}
	return at(place, fmt.Errorf("it must be %s", wanted(e.GoType)))
}

func at(place jsontext.Pointer, err error) error {
	if place == "" {
		return err
	}
	return fmt.Errorf("%q: %w", place, err)
}

// wanted is a Go type in the words of JSON.
func wanted(t reflect.Type) string {
	if t == nil {
		return "another type"
	}
	switch t.Kind() {
	case reflect.Pointer:
		return wanted(t.Elem())
	case reflect.Slice, reflect.Array:
		return "a list"
	case reflect.Struct, reflect.Map:
		return "an object"
	case reflect.String:
		return "a string"
	case reflect.Bool:
		return "true or false"
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return "a whole number that is not negative"
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return "a whole number"
	case reflect.Float32, reflect.Float64:
		return "a number"
	}
	return "another type"
}
