package dynamodb

import (
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/stelehq/stele/internal/ledger"
)

// maxLevels is how deep DynamoDB nests values; an attribute's own is the first.
const maxLevels = 32

var (
	errDeep    = errors.New("the value is nested too deep for DynamoDB")
	errNoName  = errors.New("DynamoDB has no members without a name")
	errNotJSON = errors.New("not JSON")
)

// native writes a value as DynamoDB's own types, at a level from 1 on. A number that
// DynamoDB would round or refuse becomes a string.
func native(v ledger.Value, level int) (types.AttributeValue, error) {
	return readNative(jsontext.NewDecoder(strings.NewReader(string(v))), level)
}

func readNative(d *jsontext.Decoder, level int) (types.AttributeValue, error) {
	if level > maxLevels {
		return nil, errDeep
	}
	t, err := d.ReadToken()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errNotJSON, err)
	}
	switch t.Kind() {
	case '{':
		members := make(map[string]types.AttributeValue)
		for d.PeekKind() != '}' {
			name, err := d.ReadToken()
			if err != nil {
				return nil, fmt.Errorf("%w: %w", errNotJSON, err)
			}
			n := name.String()
			if n == "" {
				return nil, errNoName
			}
			if members[n], err = readNative(d, level+1); err != nil {
				return nil, err
			}
		}
		_, err := d.ReadToken()
		return &types.AttributeValueMemberM{Value: members}, err
	case '[':
		elements := []types.AttributeValue{}
		for d.PeekKind() != ']' {
			e, err := readNative(d, level+1)
			if err != nil {
				return nil, err
			}
			elements = append(elements, e)
		}
		_, err := d.ReadToken()
		return &types.AttributeValueMemberL{Value: elements}, err
	case '"':
		return text(t.String()), nil
	case '0':
		if n, ok := exact(t.String()); ok {
			return &types.AttributeValueMemberN{Value: n}, nil
		}
		return text(t.String()), nil
	case 'n':
		return &types.AttributeValueMemberNULL{Value: true}, nil
	}
	return &types.AttributeValueMemberBOOL{Value: t.Bool()}, nil
}

func text(s string) types.AttributeValue { return &types.AttributeValueMemberS{Value: s} }

// DynamoDB's numbers: 38 digits, from 1e-130 to below 1e126.
// https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Constraints.html
const (
	maxDigits = 38
	maxPower  = 125
	minPower  = -130
)

// exact is how DynamoDB takes a JSON number; ok is false when it would round or
// refuse it.
func exact(s string) (n string, ok bool) {
	unsigned, negative := strings.CutPrefix(s, "-")
	mantissa, exponent, _ := strings.Cut(strings.ToLower(unsigned), "e")
	whole, fraction, _ := strings.Cut(mantissa, ".")
	significant := strings.TrimLeft(whole+fraction, "0")
	digits := strings.TrimRight(significant, "0")
	if digits == "" {
		return "0", true // also for -0 and 0e999
	}
	power := 0 // of the last digit
	if exponent != "" {
		var err error
		if power, err = strconv.Atoi(exponent); err != nil || power > 2*ledger.MaxValue || power < -2*ledger.MaxValue {
			return "", false // no value has room for the digits that would make up for it
		}
	}
	power += len(significant) - len(digits) - len(fraction)
	if len(digits) > maxDigits || power < minPower || power+len(digits)-1 > maxPower {
		return "", false
	}
	if exponent == "" && len(unsigned) <= maxDigits {
		return s, true
	}
	if negative {
		digits = "-" + digits
	}
	return digits + "E" + strconv.Itoa(power), true
}

// plain writes DynamoDB's types as JSON. Sets become arrays, and bytes a string in
// base64: only manual edits create them.
func plain(v types.AttributeValue) (ledger.Value, error) {
	b, err := appendPlain(nil, v)
	return ledger.Value(b), err
}

func appendPlain(b []byte, v types.AttributeValue) ([]byte, error) {
	switch v := v.(type) {
	case *types.AttributeValueMemberS:
		return jsontext.AppendQuote(b, v.Value)
	case *types.AttributeValueMemberN:
		return append(b, v.Value...), nil
	case *types.AttributeValueMemberBOOL:
		return strconv.AppendBool(b, v.Value), nil
	case *types.AttributeValueMemberNULL:
		return append(b, "null"...), nil
	case *types.AttributeValueMemberB:
		return jsontext.AppendQuote(b, base64.StdEncoding.EncodeToString(v.Value))
	case *types.AttributeValueMemberL:
		return appendArray(b, v.Value, appendPlain)
	case *types.AttributeValueMemberSS:
		return appendArray(b, v.Value, jsontext.AppendQuote[string])
	case *types.AttributeValueMemberNS:
		return appendArray(b, v.Value, func(b []byte, n string) ([]byte, error) { return append(b, n...), nil })
	case *types.AttributeValueMemberBS:
		return appendArray(b, v.Value, func(b []byte, bytes []byte) ([]byte, error) {
			return jsontext.AppendQuote(b, base64.StdEncoding.EncodeToString(bytes))
		})
	case *types.AttributeValueMemberM:
		b = append(b, '{')
		for i, name := range slices.Sorted(maps.Keys(v.Value)) {
			if i > 0 {
				b = append(b, ',')
			}
			var err error
			if b, err = jsontext.AppendQuote(b, name); err != nil {
				return nil, err
			}
			if b, err = appendPlain(append(b, ':'), v.Value[name]); err != nil {
				return nil, err
			}
		}
		return append(b, '}'), nil
	}
	return nil, fmt.Errorf("DynamoDB has a type %T that JSON has not", v)
}

func appendArray[T any](b []byte, elements []T, appendOne func([]byte, T) ([]byte, error)) ([]byte, error) {
	b = append(b, '[')
	for i, e := range elements {
		if i > 0 {
			b = append(b, ',')
		}
		var err error
		if b, err = appendOne(b, e); err != nil {
			return nil, err
		}
	}
	return append(b, ']'), nil
}

// equal compares attributes, and numbers by their value: DynamoDB does not keep how
// they were written.
func equal(a, b types.AttributeValue) bool {
	switch a := a.(type) {
	case *types.AttributeValueMemberN:
		b, ok := b.(*types.AttributeValueMemberN)
		return ok && ledger.Value(a.Value).Equal(ledger.Value(b.Value))
	case *types.AttributeValueMemberL:
		b, ok := b.(*types.AttributeValueMemberL)
		return ok && slices.EqualFunc(a.Value, b.Value, equal)
	case *types.AttributeValueMemberM:
		b, ok := b.(*types.AttributeValueMemberM)
		return ok && maps.EqualFunc(a.Value, b.Value, equal)
	}
	return reflect.DeepEqual(a, b)
}
