package ledger

import (
	"bytes"
	"slices"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// Equal reports whether two values mean the same: the order of an object's members
// and the way a number or a string is written do not count. Numbers are compared
// exactly, not as floating point. An unset value equals only another.
func (v Value) Equal(w Value) bool {
	switch {
	case v == w:
		return true
	case v == "" || w == "" || v.kind() != w.kind():
		return false
	case v.kind() == '"' && !strings.Contains(string(v), `\`) && !strings.Contains(string(w), `\`):
		return false // there is one way to write a string without escapes
	}
	a, errA := meaning(v)
	b, errB := meaning(w)
	return errA == nil && errB == nil && a == b
}

// kind is the first byte of a value that is set: 0 for all numbers.
func (v Value) kind() byte {
	if c := v[0]; c != '-' && (c < '0' || c > '9') {
		return c
	}
	return '0'
}

// meaning is a text that values of the same meaning share.
func meaning(v Value) (string, error) {
	d := jsontext.NewDecoder(strings.NewReader(string(v)))
	b, err := appendMeaning(nil, d)
	return string(b), err
}

func appendMeaning(b []byte, d *jsontext.Decoder) ([]byte, error) {
	t, err := d.ReadToken()
	if err != nil {
		return nil, err
	}
	switch t.Kind() {
	case '{':
		var members []string
		for d.PeekKind() != '}' {
			m, err := appendMeaning(nil, d) // the name
			if err != nil {
				return nil, err
			}
			if m, err = appendMeaning(append(m, ':'), d); err != nil {
				return nil, err
			}
			members = append(members, string(m))
		}
		if _, err := d.ReadToken(); err != nil {
			return nil, err
		}
		slices.Sort(members)
		return append(append(append(b, '{'), strings.Join(members, ",")...), '}'), nil
	case '[':
		b = append(b, '[')
		for d.PeekKind() != ']' {
			if b, err = appendMeaning(b, d); err != nil {
				return nil, err
			}
			b = append(b, ',')
		}
		_, err := d.ReadToken()
		return append(b, ']'), err
	case '"':
		return jsontext.AppendQuote(b, t.String())
	case '0':
		return append(b, number(t.String())...), nil
	default:
		return append(b, t.String()...), nil
	}
}

// number writes a JSON number as its significant digits and a power of ten; one
// whose power does not fit 64 bits stays as it is.
func number(s string) string {
	digits, negative := strings.CutPrefix(s, "-")
	digits, exponent, _ := strings.Cut(strings.ToLower(digits), "e")
	power := int64(0)
	if exponent != "" {
		var err error
		if power, err = strconv.ParseInt(exponent, 10, 64); err != nil || power > 1<<62 || power < -1<<62 {
			return s
		}
	}
	whole, fraction, _ := strings.Cut(digits, ".")
	power -= int64(len(fraction))
	significant := bytes.TrimLeft([]byte(whole+fraction), "0")
	if len(significant) == 0 {
		return "0" // -0 equals 0
	}
	trimmed := bytes.TrimRight(significant, "0")
	power += int64(len(significant) - len(trimmed))
	sign := ""
	if negative {
		sign = "-"
	}
	return sign + string(trimmed) + "e" + strconv.FormatInt(power, 10)
}
