package document

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pelletier/go-toml/v2"
	"go.yaml.in/yaml/v3"
)

// parseTOML reads TOML 1.0. Dates and times become strings.
func parseTOML(data []byte) (*yaml.Node, []string, error) {
	var root map[string]any
	if err := toml.Unmarshal(data, &root); err != nil {
		var at *toml.DecodeError
		if errors.As(err, &at) {
			line, _ := at.Position()
			return nil, nil, fmt.Errorf("line %d: %s", line, strings.TrimPrefix(at.Error(), "toml: "))
		}
		return nil, nil, err
	}
	if len(root) == 0 {
		return nil, nil, nil
	}
	n, err := tomlNode(root)
	return n, nil, err
}

// tomlNode converts a value of the TOML library. Numbers are in JSON's notation.
func tomlNode(v any) (*yaml.Node, error) {
	switch v := v.(type) {
	case map[string]any:
		n := &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map"}
		for _, name := range slices.Sorted(maps.Keys(v)) {
			value, err := tomlNode(v[name])
			if err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
			n.Content = append(n.Content, stringNode(0, name), value)
		}
		return n, nil
	case []any:
		n := &yaml.Node{Kind: yaml.SequenceNode, Tag: "!!seq"}
		for _, item := range v {
			value, err := tomlNode(item)
			if err != nil {
				return nil, err
			}
			n.Content = append(n.Content, value)
		}
		return n, nil
	case string:
		return stringNode(0, v), nil
	case int64:
		return literal(strconv.FormatInt(v, 10)), nil
	case float64:
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return nil, fmt.Errorf("JSON has no number %v", v)
		}
		return literal(floatText(v)), nil
	case bool:
		return literal(strconv.FormatBool(v)), nil
	case time.Time:
		return stringNode(0, v.Format(time.RFC3339Nano)), nil
	case fmt.Stringer: // the dates and times without a zone
		return stringNode(0, v.String()), nil
	}
	return nil, fmt.Errorf("JSON has nothing for a %T", v)
}

// literal is a number or a boolean, whose text is JSON.
func literal(s string) *yaml.Node { return &yaml.Node{Kind: yaml.ScalarNode, Value: s} }

// floatText writes a whole number as a float, 1.0, unless it is large.
func floatText(v float64) string {
	const exact = 1 << 53
	if v == math.Trunc(v) && math.Abs(v) < exact {
		return strconv.FormatFloat(v, 'f', 1, 64)
	}
	return strconv.FormatFloat(v, 'g', -1, 64)
}
