// Package openapi describes the REST API, and how the messages of the schema are
// JSON there. That is not protobuf's own JSON: settings are JSON themselves, and
// revisions are numbers.
package openapi

import (
	_ "embed"

	"google.golang.org/protobuf/reflect/protoreflect"
)

// Document is the OpenAPI document. scripts/generate writes it.
//
//go:embed stele.v1.json
var Document []byte

// Form is how a field of a message is JSON.
type Form int

const (
	Plain  Form = iota // as protobuf's JSON has it
	Number             // a number, where protobuf's JSON has it in a string
	Value              // the JSON that its text is; left out when that is empty
	Hex                // bytes in hexadecimal; left out when there are none
	AsOf               // a revision or a time, as the command line reads it
)

// values are the fields whose text is JSON. The values that a commit replaced stay
// text, because "" means that there was none.
var values = map[protoreflect.FullName]bool{
	"stele.v1.Entry.value":                 true,
	"stele.v1.Change.value":                true,
	"stele.v1.KeyDiff.from_value":          true,
	"stele.v1.KeyDiff.to_value":            true,
	"stele.v1.CheckAccessResponse.grant":   true,
	"stele.v1.GetRoutesResponse.routes":    true,
	"stele.v1.PlanRoutesRequest.routes":    true,
	"stele.v1.Schema.document":             true,
	"stele.v1.CheckValueRequest.value":     true,
	"stele.v1.CheckSchemaRequest.document": true,
}

// FormOf says how a field, or each item of a list, is JSON.
func FormOf(f protoreflect.FieldDescriptor) Form {
	switch f.Kind() {
	case protoreflect.Uint64Kind, protoreflect.Int64Kind:
		return Number
	case protoreflect.BytesKind:
		return Hex
	case protoreflect.MessageKind:
		if f.Message().FullName() == "stele.v1.At" {
			return AsOf
		}
	}
	if values[f.FullName()] {
		return Value
	}
	return Plain
}

// Always reports whether a field is in every message: numbers, texts, booleans and lists
// are, unless they are one of several or optional.
func Always(f protoreflect.FieldDescriptor) bool {
	if f.IsList() || f.IsMap() {
		return true
	}
	form := FormOf(f)
	return f.Kind() != protoreflect.MessageKind && f.ContainingOneof() == nil && form != Value && form != Hex
}
