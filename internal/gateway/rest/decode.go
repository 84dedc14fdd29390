package rest

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/asof"
	"github.com/stelehq/stele/internal/text"
	"github.com/stelehq/stele/schemas/openapi"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// decode reads a request's body, the counterpart of encode. Unknown or duplicate
// members are errors, because they may be misspelled.
func decode(body []byte, m proto.Message) error {
	if len(bytes.TrimSpace(body)) == 0 {
		return nil
	}
	d := jsontext.NewDecoder(bytes.NewReader(body))
	if err := decodeMessage(d, m.ProtoReflect(), ""); err != nil {
		return err
	}
	if _, err := d.ReadToken(); !errors.Is(err, io.EOF) {
		return errors.New("the body has more than one JSON value")
	}
	return nil
}

func decodeMessage(d *jsontext.Decoder, m protoreflect.Message, path string) error {
	if begin, err := d.ReadToken(); err != nil {
		return err
	} else if begin.Kind() != '{' {
		return wrong(path, "it must be an object")
	}
	for d.PeekKind() != '}' {
		name, err := d.ReadToken()
		if err != nil {
			return err
		}
		at := name.String()
		f := m.Descriptor().Fields().ByName(protoreflect.Name(at))
		if path != "" {
			at = path + "." + at
		}
		if f == nil {
			return wrong(at, "there is no such field")
		}
		if err := decodeField(d, m, f, at); err != nil {
			return err
		}
	}
	_, err := d.ReadToken()
	return err
}

func decodeField(d *jsontext.Decoder, m protoreflect.Message, f protoreflect.FieldDescriptor, at string) error {
	if d.PeekKind() == 'n' && openapi.FormOf(f) != openapi.Value { // as if it were not there
		return d.SkipValue()
	}
	if one := f.ContainingOneof(); one != nil && m.WhichOneof(one) != nil {
		return wrong(at, "%s is also set: choose one", m.WhichOneof(one).Name())
	}
	switch {
	case f.IsList():
		return decodeList(d, m.Mutable(f).List(), f, at)
	case nested(f):
		return decodeMessage(d, m.Mutable(f).Message(), at)
	}
	v, err := decodeScalar(d, f, at)
	if err == nil {
		m.Set(f, v)
	}
	return err
}

func decodeList(d *jsontext.Decoder, l protoreflect.List, f protoreflect.FieldDescriptor, at string) error {
	if begin, err := d.ReadToken(); err != nil {
		return err
	} else if begin.Kind() != '[' {
		return wrong(at, "it must be a list")
	}
	for i := 0; d.PeekKind() != ']'; i++ {
		item := fmt.Sprintf("%s[%d]", at, i)
		if nested(f) {
			if err := decodeMessage(d, l.AppendMutable().Message(), item); err != nil {
				return err
			}
			continue
		}
		v, err := decodeScalar(d, f, item)
		if err != nil {
			return err
		}
		l.Append(v)
	}
	_, err := d.ReadToken()
	return err
}

// nested reports whether a field holds a message that is an object.
func nested(f protoreflect.FieldDescriptor) bool {
	return f.Kind() == protoreflect.MessageKind && openapi.FormOf(f) != openapi.AsOf && !isTime(f)
}

func isTime(f protoreflect.FieldDescriptor) bool {
	return f.Kind() == protoreflect.MessageKind && f.Message().FullName() == "google.protobuf.Timestamp"
}

func decodeScalar(d *jsontext.Decoder, f protoreflect.FieldDescriptor, at string) (none protoreflect.Value, err error) {
	raw, err := d.ReadValue()
	if err != nil {
		return none, err
	}
	if openapi.FormOf(f) == openapi.Value {
		return protoreflect.ValueOfString(string(raw)), nil
	}
	text := string(raw)
	switch raw.Kind() {
	case '"':
		quoted, err := jsontext.AppendUnquote(nil, raw)
		if err != nil {
			return none, err
		}
		text = string(quoted)
		if f.Kind() == protoreflect.BoolKind {
			return none, wrong(at, "it must be true or false")
		}
	case '0':
		if f.Kind() == protoreflect.StringKind {
			return none, wrong(at, "it must be a string")
		}
	case 't', 'f':
		if f.Kind() != protoreflect.BoolKind {
			return none, wrong(at, "it cannot be true or false")
		}
	default:
		return none, wrong(at, "it must be one value")
	}
	return scalar(f, text, at)
}

// scalar reads a field's value from text, also from a query.
func scalar(f protoreflect.FieldDescriptor, text, at string) (none protoreflect.Value, err error) {
	switch f.Kind() {
	case protoreflect.StringKind:
		return protoreflect.ValueOfString(text), nil
	case protoreflect.BoolKind:
		switch text {
		case "true", "false":
			return protoreflect.ValueOfBool(text == "true"), nil
		}
		return none, wrong(at, "it must be true or false")
	case protoreflect.Uint64Kind:
		n, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			return none, wrong(at, "%q is not a whole number", shorten(text))
		}
		return protoreflect.ValueOfUint64(n), nil
	case protoreflect.Uint32Kind:
		n, err := strconv.ParseUint(text, 10, 32)
		if err != nil {
			return none, wrong(at, "%q is not a whole number, or too large", shorten(text))
		}
		return protoreflect.ValueOfUint32(uint32(n)), nil
	case protoreflect.BytesKind:
		b, err := hex.DecodeString(text)
		if err != nil {
			return none, wrong(at, "%q is not hexadecimal", shorten(text))
		}
		return protoreflect.ValueOfBytes(b), nil
	case protoreflect.MessageKind:
		return asOfIn(f, text, at)
	}
	return none, wrong(at, "it cannot be set here")
}

// asOfIn parses a revision or time.
func asOfIn(f protoreflect.FieldDescriptor, text, at string) (none protoreflect.Value, err error) {
	m, err := asof.Parse(text, time.Now())
	if err != nil {
		return none, wrong(at, "%q is not a revision or time: write 42, 2h (ago) or 2025-03-04T08:00Z", shorten(text))
	}
	switch {
	case isTime(f) && m.Time.IsZero():
		return none, wrong(at, "%q is not a time: write 2h (ago) or 2025-03-04T08:00Z", shorten(text))
	case isTime(f):
		return protoreflect.ValueOfMessage(timestamppb.New(m.Time).ProtoReflect()), nil
	case openapi.FormOf(f) != openapi.AsOf:
		return none, wrong(at, "it cannot be set here")
	}
	read, err := m.At(func() (ledger.Revision, error) {
		return 0, wrong(at, "only the command line counts from the head: use the revision that GET /v1/head returns")
	})
	if err != nil {
		return none, err
	}
	return protoreflect.ValueOfMessage(read.ProtoReflect()), nil
}

func wrong(at, format string, args ...any) error {
	problem := fmt.Sprintf(format, args...)
	if at == "" {
		at = "body"
	}
	return fmt.Errorf("%s: %s", at, problem)
}

// shorten limits a caller's input in messages to its beginning.
func shorten(s string) string { return text.Clip(s, 64) }
