package yamljson

import (
	"regexp"
	"strings"

	"go.yaml.in/yaml/v3"
)

// The core schema of YAML 1.2, section 10.3.2.
var (
	isNull    = regexp.MustCompile(`^(null|Null|NULL|~|)$`)
	isBool    = regexp.MustCompile(`^(true|True|TRUE|false|False|FALSE)$`)
	isDecimal = regexp.MustCompile(`^-?(\.[0-9]+|(0|[1-9][0-9]*)(\.[0-9]*)?)([eE][-+]?[0-9]+)?$`)
	isNotJSON = regexp.MustCompile(`^([-+]?(\.inf|\.Inf|\.INF)|\.nan|\.NaN|\.NAN)$`)

	isJSONNumber = regexp.MustCompile(`^-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?$`)
)

const quoted = yaml.SingleQuotedStyle | yaml.DoubleQuotedStyle | yaml.LiteralStyle | yaml.FoldedStyle

// isString reports whether the scalar is a string, by its quotes, its tag or
// because a plain scalar is nothing else.
func isString(n *yaml.Node) bool {
	if n.Style&yaml.TaggedStyle != 0 {
		return n.ShortTag() == "!!str"
	}
	if n.Style&quoted != 0 {
		return true
	}
	for _, other := range []*regexp.Regexp{isNull, isBool, isDecimal, isNotJSON} {
		if other.MatchString(n.Value) {
			return false
		}
	}
	return true
}

// scalar is the JSON text of a scalar.
func scalar(n *yaml.Node) ([]byte, error) {
	if isString(n) {
		return quote(n.Value), nil
	}
	v, kind := n.Value, ""
	if n.Style&yaml.TaggedStyle != 0 {
		kind = n.ShortTag()
	}
	accepts := func(tags ...string) bool {
		for _, t := range tags {
			if kind == "" || kind == t {
				return true
			}
		}
		return false
	}
	switch {
	case isNotJSON.MatchString(v) && accepts("!!float"):
		return nil, Errorf(n, "JSON has no number %s", v)
	case isNull.MatchString(v) && accepts("!!null"):
		return []byte("null"), nil
	case isBool.MatchString(v) && accepts("!!bool"):
		return []byte(strings.ToLower(v)), nil
	case isDecimal.MatchString(v) && accepts("!!int", "!!float"):
		return []byte(decimal(v)), nil
	}
	return nil, Errorf(n, "JSON has nothing for %s %q", kind, v)
}

// decimal is a YAML number as JSON writes it; one that is JSON already keeps its
// text.
func decimal(v string) string {
	if isJSONNumber.MatchString(v) {
		return v
	}
	sign := ""
	if v[0] == '-' {
		sign = "-"
	}
	v = strings.TrimPrefix(v, "-")
	mantissa, exponent := v, ""
	if i := strings.IndexAny(v, "eE"); i >= 0 {
		mantissa, exponent = v[:i], v[i:]
	}
	whole, fraction, _ := strings.Cut(mantissa, ".")
	if whole = strings.TrimLeft(whole, "0"); whole == "" {
		whole = "0"
	}
	if fraction != "" {
		fraction = "." + fraction
	}
	return sign + whole + fraction + exponent
}
