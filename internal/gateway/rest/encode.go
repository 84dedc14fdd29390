package rest

import (
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/stelehq/stele/schemas/openapi"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// encode writes a message as JSON, with its fields in the order of the schema; see
// openapi.Form.
func encode(m proto.Message) ([]byte, error) {
	b, err := appendMessage(nil, m.ProtoReflect())
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", m.ProtoReflect().Descriptor().FullName(), err)
	}
	return append(b, '\n'), nil
}

func appendMessage(b []byte, m protoreflect.Message) ([]byte, error) {
	if strings.HasPrefix(string(m.Descriptor().FullName()), "google.") {
		text, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(m.Interface())
		if err != nil {
			return nil, err
		}
		value := jsontext.Value(text)
		if err := value.Compact(); err != nil { // protojson puts spaces where it likes to
			return nil, err
		}
		return append(b, value...), nil
	}
	b = append(b, '{')
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		f := fields.Get(i)
		if !m.Has(f) && !openapi.Always(f) {
			continue
		}
		if b[len(b)-1] != '{' {
			b = append(b, ',')
		}
		b = append(append(append(b, '"'), f.Name()...), '"', ':')
		var err error
		if f.IsList() {
			b, err = appendList(b, f, m.Get(f).List())
		} else {
			b, err = appendField(b, f, m.Get(f))
		}
		if err != nil {
			return nil, err
		}
	}
	return append(b, '}'), nil
}

func appendList(b []byte, f protoreflect.FieldDescriptor, l protoreflect.List) (_ []byte, err error) {
	b = append(b, '[')
	for i := range l.Len() {
		if i > 0 {
			b = append(b, ',')
		}
		if b, err = appendField(b, f, l.Get(i)); err != nil {
			return nil, err
		}
	}
	return append(b, ']'), nil
}

// appendField writes a field's value, or one item of a list.
func appendField(b []byte, f protoreflect.FieldDescriptor, v protoreflect.Value) ([]byte, error) {
	if openapi.FormOf(f) == openapi.Value {
		return append(b, v.String()...), nil // the ledger stores only valid JSON
	}
	switch f.Kind() {
	case protoreflect.MessageKind:
		return appendMessage(b, v.Message())
	case protoreflect.StringKind:
		return jsontext.AppendQuote(b, v.String())
	case protoreflect.BytesKind:
		return append(hex.AppendEncode(append(b, '"'), v.Bytes()), '"'), nil
	case protoreflect.BoolKind:
		return strconv.AppendBool(b, v.Bool()), nil
	case protoreflect.EnumKind:
		if d := f.Enum().Values().ByNumber(v.Enum()); d != nil {
			return jsontext.AppendQuote(b, string(d.Name()))
		}
		return strconv.AppendInt(b, int64(v.Enum()), 10), nil
	}
	return append(b, v.String()...), nil // a number
}
