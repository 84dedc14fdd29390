package client

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"unicode/utf8"
)

// encoding/json rounds a number to the nearest float without a word, and replaces
// bytes that are not UTF-8. This file finds both.

var (
	jsonUnmarshaler = reflect.TypeFor[json.Unmarshaler]()
	jsonMarshaler   = reflect.TypeFor[json.Marshaler]()
)

// inexact returns an error for the first number of raw that v, which it was decoded
// to, does not hold with all the digits that are written. raw has json.Numbers. Types
// that decode themselves are left to themselves.
func inexact(v reflect.Value, raw any) error {
	if v.Kind() != reflect.Pointer && reflect.PointerTo(v.Type()).Implements(jsonUnmarshaler) || v.Type().Implements(jsonUnmarshaler) {
		return nil
	}
	switch v.Kind() {
	case reflect.Float32, reflect.Float64:
		if n, ok := raw.(json.Number); ok && !exact(n.String(), v.Float(), v.Type().Bits()) {
			return fmt.Errorf("%.60s is not exact as a %s: use json.Number, an integer type or a string", n, v.Type())
		}
	case reflect.Pointer, reflect.Interface:
		if !v.IsNil() {
			return inexact(v.Elem(), raw)
		}
	case reflect.Slice, reflect.Array:
		elements, _ := raw.([]any)
		for i := range min(len(elements), v.Len()) {
			if err := inexact(v.Index(i), elements[i]); err != nil {
				return err
			}
		}
	case reflect.Map:
		members, _ := raw.(map[string]any)
		for each := v.MapRange(); each.Next(); {
			if member, ok := members[fmt.Sprint(each.Key())]; ok {
				if err := inexact(each.Value(), member); err != nil {
					return err
				}
			}
		}
	case reflect.Struct:
		if members, ok := raw.(map[string]any); ok {
			return inexactFields(v, members)
		}
	}
	return nil
}

// inexactFields goes through a struct's own fields, and then through the fields of embedded
// structs, which get the remaining members.
func inexactFields(v reflect.Value, members map[string]any) error {
	left := make(map[string]any, len(members))
	for name, member := range members {
		left[strings.ToLower(name)] = member
	}
	var embedded []reflect.Value
	for i := range v.NumField() {
		field := v.Type().Field(i)
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		switch {
		case field.Anonymous && name == "":
			of := v.Field(i)
			if of.Kind() == reflect.Pointer {
				of = of.Elem()
			}
			if of.Kind() == reflect.Struct {
				embedded = append(embedded, of)
			}
			continue
		case !field.IsExported(), name == "-":
			continue
		case name == "":
			name = field.Name
		}
		member, ok := members[name]
		if !ok {
			member, ok = left[strings.ToLower(name)]
		}
		if !ok {
			continue
		}
		delete(left, strings.ToLower(name))
		if err := inexact(v.Field(i), member); err != nil {
			return err
		}
	}
	for _, of := range embedded {
		if err := inexactFields(of, left); err != nil {
			return err
		}
	}
	return nil
}

// exact reports whether f, written with as many digits as the text has, is the text.
// So 0.1 is exact, though no binary fraction is.
func exact(text string, f float64, bits int) bool {
	digits, exponent := significant(text)
	if digits == "" || f == 0 {
		return digits == "" && f == 0
	}
	again, power := significant(strconv.FormatFloat(f, 'e', len(digits)-1, bits))
	return again == digits && power == exponent
}

// significant returns a number's digits without the zeros around them, and the power of
// ten of the last one. Zero has no digits.
func significant(text string) (digits string, power int64) {
	mantissa, exponent, _ := strings.Cut(strings.ToLower(strings.TrimPrefix(text, "-")), "e")
	power, _ = strconv.ParseInt(strings.TrimPrefix(exponent, "+"), 10, 64) // out of range only for what no float holds
	whole, fraction, _ := strings.Cut(mantissa, ".")
	all := strings.TrimLeft(whole+fraction, "0")
	digits = strings.TrimRight(all, "0")
	return digits, power - int64(len(fraction)) + int64(len(all)-len(digits))
}

// invalidText reports whether a value to encode has a string that is not valid UTF-8.
// It does not look into types that encode themselves, except json.RawMessage.
func invalidText(v reflect.Value) bool {
	switch {
	case !v.IsValid():
		return false
	case v.Type() == reflect.TypeFor[json.RawMessage]():
		return !utf8.Valid(v.Bytes())
	case v.Type().Implements(jsonMarshaler):
		return false
	}
	switch v.Kind() {
	case reflect.String:
		return !utf8.ValidString(v.String())
	case reflect.Pointer, reflect.Interface:
		return !v.IsNil() && invalidText(v.Elem())
	case reflect.Slice, reflect.Array:
		if v.Type().Elem().Kind() == reflect.Uint8 { // written in base64, or as numbers
			return false
		}
		for i := range v.Len() {
			if invalidText(v.Index(i)) {
				return true
			}
		}
	case reflect.Map:
		for each := v.MapRange(); each.Next(); {
			if invalidText(each.Key()) || invalidText(each.Value()) {
				return true
			}
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if field := v.Type().Field(i); (field.IsExported() || field.Anonymous) && field.Tag.Get("json") != "-" && invalidText(v.Field(i)) {
				return true
			}
		}
	}
	return false
}
