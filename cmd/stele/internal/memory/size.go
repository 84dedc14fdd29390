package memory

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Size is a number of bytes. As a flag it is written as GOMEMLIMIT is: 512MiB, 2GiB, or
// a plain number of bytes.
type Size int64

// units are from the largest on.
var units = []struct {
	name  string
	bytes int64
}{{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}, {"B", 1}}

// ParseSize parses a positive number with one of the units B, KiB, MiB, GiB and TiB, or
// without a unit, which means bytes.
func ParseSize(text string) (Size, error) {
	number, factor := text, int64(1)
	for _, u := range units {
		if n, ok := strings.CutSuffix(text, u.name); ok {
			number, factor = n, u.bytes
			break
		}
	}
	n, err := strconv.ParseInt(number, 10, 64)
	switch {
	case err != nil || n <= 0 || number[0] == '+':
		return 0, fmt.Errorf("size %q is not a positive whole number with a unit: use B, KiB, MiB, GiB or TiB, for example 512MiB", text)
	case n > math.MaxInt64/factor:
		return 0, fmt.Errorf("size %q is too large: the maximum is %d bytes", text, int64(math.MaxInt64))
	}
	return Size(n * factor), nil
}

// Format writes a number of bytes with the largest unit that it has at least one of.
func Format(bytes int64) string {
	for _, u := range units {
		if bytes >= u.bytes && u.bytes > 1 {
			return strings.TrimSuffix(strconv.FormatFloat(float64(bytes)/float64(u.bytes), 'f', 1, 64), ".0") + u.name
		}
	}
	return strconv.FormatInt(bytes, 10) + "B"
}

// Set, String and Type make a Size a pflag.Value.

func (s *Size) Set(text string) (err error) {
	*s, err = ParseSize(text)
	return err
}

func (s *Size) String() string {
	if *s == 0 {
		return ""
	}
	return Format(int64(*s))
}

func (s *Size) Type() string { return "size" }
