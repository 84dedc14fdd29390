package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/stelehq/stele/schemas/openapi"
	"google.golang.org/protobuf/reflect/protoreflect"
)

type object = map[string]any

// document is the OpenAPI document.
func (a *api) document() ([]byte, error) {
	s := schemas{all: object{}, asked: map[protoreflect.FullName]bool{}}
	paths := object{}
	for _, svc := range a.services {
		for _, m := range svc.methods {
			for i, b := range m.rest {
				s.asks(m.Input())
				item, _ := paths[b.path].(object)
				if item == nil {
					item = object{}
					paths[b.path] = item
				}
				if item[b.verb] != nil {
					return nil, fmt.Errorf("two methods answer %s %s", b.verb, b.path)
				}
				item[b.verb] = s.operation(svc, m, b, i)
			}
		}
	}
	for path, item := range extraPaths(&s, a) {
		have, _ := paths[path].(object)
		if have == nil {
			paths[path] = item
			continue
		}
		for verb, op := range item.(object) {
			have[verb] = op
		}
	}
	s.require()
	s.all["AsOf"] = object{
		"type":        []string{"string", "integer"},
		"description": "A state of the history: a revision (42 or @42), a time (2025-03-04T08:00Z, 2025-03-04) or a duration before now (2h, 7d).",
		"examples":    []any{42, "@42", "2025-03-04T08:00Z", "2h"},
	}
	s.all["Status"] = statusSchema
	var tags []object
	for _, svc := range a.services {
		tags = append(tags, object{"name": svc.name, "description": svc.comment})
	}
	doc := object{
		"openapi":  "3.1.0",
		"info":     object{"title": "Stele", "version": "v1", "description": about, "license": object{"name": "Apache 2.0", "identifier": "Apache-2.0"}},
		"servers":  []object{{"url": "/", "description": "The gateway that serves this document"}},
		"security": []object{{"token": []string{}}},
		"tags":     tags,
		"paths":    paths,
		"components": object{
			"schemas":         s.all,
			"securitySchemes": object{"token": object{"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}},
			"parameters": object{"AsTenant": object{
				"name": "As-Tenant", "in": "header", "schema": object{"type": "string"}, "description": "The tenant that an operator acts for.",
			}},
			"responses": object{"Error": object{
				"description": "The error. 409 is a precondition that does not hold, 412 a precondition in a header; 429 and 503 have the time to wait in Retry-After.",
				"content":     jsonOf(ref("Status")),
			}},
		},
	}
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	e.SetIndent("", " ")
	err := e.Encode(doc)
	return out.Bytes(), err
}

const about = "Configuration as a ledger: every change is an immutable commit. docs/rest.md describes how to use it, docs/api.md each method. " +
	"Values are JSON values, ids and hashes are hexadecimal, and lists, numbers and strings are always present, even if empty."

var statusSchema = object{
	"type": "object", "description": "A google.rpc.Status.", "required": []string{"code", "message"},
	"properties": object{
		"code":    object{"type": "integer", "description": "The gRPC code."},
		"message": object{"type": "string", "description": "What is wrong, and what to do."},
		"details": object{"type": "array", "description": "For programs: google.rpc.ErrorInfo with the reason, BadRequest, PreconditionFailure, RetryInfo, QuotaFailure.", "items": object{
			"type": "object", "required": []string{"@type"}, "properties": object{"@type": object{"type": "string"}},
		}},
	},
}

func ref(name string) object { return object{"$ref": "#/components/schemas/" + name} }

func jsonOf(schema object) object { return object{"application/json": object{"schema": schema}} }

func (s *schemas) operation(svc service, m method, b binding, i int) object {
	op := object{
		"operationId": fmt.Sprintf("%s_%s", svc.name, m.Name()), "tags": []string{svc.name}, "summary": summary(m.comment),
		"description": m.comment + "\n\nNeeds: " + m.needs + ".",
		"responses": object{
			"200":     object{"description": "OK", "content": jsonOf(s.ref(m.Output()))},
			"default": object{"$ref": "#/components/responses/Error"},
		},
	}
	if i > 0 {
		op["operationId"] = fmt.Sprintf("%s_%s_%d", svc.name, m.Name(), i+1)
	}
	parameters := []object{{"$ref": "#/components/parameters/AsTenant"}}
	fields := m.Input().Fields()
	for j := range fields.Len() {
		f := fields.Get(j)
		name := string(f.Name())
		switch {
		case slices.Contains(b.fields, name):
			parameters = append(parameters, object{"name": name, "in": "path", "required": true, "description": comment(f), "schema": s.of(f, true)})
		case b.body:
		case f.ContainingOneof() != nil && slices.ContainsFunc(b.fields, func(in string) bool {
			return fields.ByName(protoreflect.Name(in)).ContainingOneof() == f.ContainingOneof()
		}):
		default:
			p := object{"name": name, "in": "query", "description": comment(f), "schema": s.of(f, true)}
			if rulesOf(f).GetRequired() {
				p["required"] = true
			}
			parameters = append(parameters, p)
		}
	}
	op["parameters"] = parameters
	if b.body {
		op["requestBody"] = object{"required": true, "content": jsonOf(s.body(m.Input(), b))}
	}
	if m.Name() == "Get" {
		op["responses"].(object)["304"] = object{"description": "The key has the entity tag in If-None-Match."}
	}
	return op
}

// schemas are those of the messages that were asked for.
type schemas struct {
	all   object
	asked map[protoreflect.FullName]bool // messages of requests
	order []protoreflect.MessageDescriptor
}

// asks records that callers send a message, and its content.
func (s *schemas) asks(m protoreflect.MessageDescriptor) {
	if s.asked[m.FullName()] {
		return
	}
	s.asked[m.FullName()] = true
	for i := range m.Fields().Len() {
		if inner := m.Fields().Get(i).Message(); inner != nil {
			s.asks(inner)
		}
	}
}

// body is a request without the parameters in its path.
func (s *schemas) body(m protoreflect.MessageDescriptor, b binding) object {
	r := s.ref(m)
	if len(b.fields) > 0 {
		properties := s.all[string(m.Name())].(object)["properties"].(object)
		for _, f := range b.fields {
			delete(properties, f)
		}
	}
	return r
}

func (s *schemas) ref(m protoreflect.MessageDescriptor) object {
	name := string(m.Name())
	if s.all[name] == nil {
		properties := object{}
		schema := object{"type": "object", "properties": properties}
		if text := comment(m); text != "" {
			schema["description"] = text
		}
		s.all[name] = schema // before its fields: messages may hold each other
		s.order = append(s.order, m)
		for i := range m.Fields().Len() {
			f := m.Fields().Get(i)
			properties[string(f.Name())] = s.of(f, false)
		}
	}
	return ref(name)
}

// require says which fields are always there in answers; what callers send may leave
// them out, but may have no others.
func (s *schemas) require() {
	for _, m := range s.order {
		schema := s.all[string(m.Name())].(object)
		if s.asked[m.FullName()] {
			schema["additionalProperties"] = false
			continue
		}
		var always []string
		for i := range m.Fields().Len() {
			if f := m.Fields().Get(i); openapi.Always(f) {
				always = append(always, string(f.Name()))
			}
		}
		if len(always) > 0 {
			schema["required"] = always
		}
	}
}

// of is the schema of a field; a parameter has its description elsewhere.
func (s *schemas) of(f protoreflect.FieldDescriptor, parameter bool) object {
	schema := s.one(f)
	if f.IsList() {
		schema = object{"type": "array", "items": schema}
	}
	limit(schema, f)
	if text := comment(f); text != "" && !parameter {
		schema["description"] = text
	}
	return schema
}

func (s *schemas) one(f protoreflect.FieldDescriptor) object {
	switch openapi.FormOf(f) {
	case openapi.Value:
		return object{}
	case openapi.Hex:
		return object{"type": "string", "pattern": "^([0-9a-f][0-9a-f])*$"}
	case openapi.Number:
		return object{"type": "integer", "format": "int64", "minimum": 0}
	case openapi.AsOf:
		return ref("AsOf")
	}
	switch f.Kind() {
	case protoreflect.BoolKind:
		return object{"type": "boolean"}
	case protoreflect.Uint32Kind:
		return object{"type": "integer", "minimum": 0}
	case protoreflect.Int32Kind:
		return object{"type": "integer"}
	case protoreflect.EnumKind:
		var names []string
		for i := range f.Enum().Values().Len() {
			names = append(names, string(f.Enum().Values().Get(i).Name()))
		}
		return object{"type": "string", "enum": names}
	case protoreflect.MessageKind:
		switch f.Message().FullName() {
		case "google.protobuf.Timestamp":
			return object{"type": "string", "format": "date-time"}
		case "google.protobuf.Duration":
			return object{"type": "string", "pattern": `^-?[0-9]+(\.[0-9]+)?s$`}
		case "google.rpc.Status":
			return ref("Status")
		}
		return s.ref(f.Message())
	}
	return object{"type": "string"}
}

// limit adds the rules that OpenAPI has words for.
func limit(schema object, f protoreflect.FieldDescriptor) {
	r := rulesOf(f)
	set := func(name string, n uint64) {
		if n > 0 {
			schema[name] = n
		}
	}
	set("minItems", r.GetRepeated().GetMinItems())
	set("maxItems", r.GetRepeated().GetMaxItems())
	if openapi.FormOf(f) == openapi.Plain {
		set("minLength", r.GetString().GetMinLen())
		set("maxLength", r.GetString().GetMaxBytes())
	}
	set("maximum", uint64(r.GetUint32().GetLte()))
	set("minimum", r.GetUint64().GetGte())
	if in := r.GetString().GetIn(); len(in) > 0 {
		schema["enum"] = in
	}
}

// words are a field's constraints, for readers.
func words(f protoreflect.FieldDescriptor) string {
	r := rulesOf(f)
	if r.GetRepeated().GetItems() != nil {
		r = r.GetRepeated().GetItems()
	}
	var out []string
	say := func(n uint64, format string) {
		if n > 0 {
			out = append(out, fmt.Sprintf(format, n))
		}
	}
	if r.GetRequired() || r.GetString().GetMinLen() > 0 {
		out = append(out, "required")
	}
	say(rulesOf(f).GetRepeated().GetMinItems(), "%d or more")
	say(rulesOf(f).GetRepeated().GetMaxItems(), "at most %d items")
	say(r.GetString().GetMaxBytes(), "at most %d bytes")
	say(uint64(r.GetUint32().GetLte()), "at most %d")
	say(r.GetUint64().GetGte(), "at least %d")
	say(r.GetBytes().GetMinLen(), "%d bytes or more")
	say(r.GetBytes().GetMaxLen(), "at most %d bytes")
	if in := r.GetString().GetIn(); len(in) > 0 {
		out = append(out, "one of "+strings.Join(in, ", "))
	}
	return strings.Join(out, "; ")
}
