package schema

import (
	"encoding/json"
	"errors"
	"math/big"
	"strconv"
	"strings"
)

// Numbers that are compared have at most so many digits, and no larger exponent: what
// is beyond takes minutes to write out.
const maxDigits, maxExponent = 1000, 1000

var errNumber = errors.New("the number has more than 1,000 digits, or an exponent beyond 1,000: it cannot be compared")

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
