package schema

import (
	"encoding/json"
	"errors"
	"math/big"
	"strconv"
	"strings"
)

// Numbers that are compared have at most so many characters before the exponent, and no
// larger exponent. Every float64 is within, and what is beyond takes long to compare.
const maxDigits, maxExponent = 1000, 400

var errNumber = errors.New("the number has more than 1,000 digits, or an exponent beyond 400: it cannot be compared")

// rational is a number's exact value.
func rational(n json.Number) (*big.Rat, error) {
	text := string(n)
	mantissa, exponent, scientific := strings.Cut(strings.ToLower(text), "e")
	if len(mantissa) > maxDigits {
		return nil, errNumber
	}
	if scientific {
		if e, err := strconv.Atoi(exponent); err != nil || e < -maxExponent || e > maxExponent {
			return nil, errNumber
		}
	}
	r, ok := new(big.Rat).SetString(text)
	if !ok {
		return nil, errNumber
	}
	return r, nil
}
