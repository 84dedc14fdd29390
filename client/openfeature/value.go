package stele

import (
	"encoding/json"
	"fmt"
	"math/big"
)

// is takes a variant's value as a T.
func is[T any](v any) (T, error) {
	t, ok := v.(T)
	if !ok {
		return t, fmt.Errorf("is a %s, and not a %s", kind(v), kind(t))
	}
	return t, nil
}

func kind(v any) string {
	switch v.(type) {
	case bool:
		return "boolean"
	case string:
		return "string"
	case json.Number:
		return "number"
	case []any:
		return "list"
	case map[string]any:
		return "object"
	}
	return "null"
}

// whole is a number without a fraction, in any notation: 10, 10.0 or 1e1.
func whole(n json.Number) (int64, error) {
	if i, err := n.Int64(); err == nil {
		return i, nil
	}
	if f, err := n.Float64(); err == nil && f == float64(int64(f)) && f > -1<<53 && f < 1<<53 {
		return int64(f), nil
	}
	return 0, fmt.Errorf("is %s, and not a whole number of 64 bits", n)
}

// plain has float64 for numbers, as other providers have; only a whole number that
// it cannot hold stays a json.Number.
func plain(v any) any {
	switch v := v.(type) {
	case json.Number:
		f, err := v.Float64()
		if i, ok := new(big.Int).SetString(v.String(), 10); err != nil || ok && new(big.Float).SetInt(i).Cmp(big.NewFloat(f)) != 0 {
			return v
		}
		return f
	case []any:
		out := make([]any, len(v))
		for i := range v {
			out[i] = plain(v[i])
		}
		return out
	case map[string]any:
		out := make(map[string]any, len(v))
		for k := range v {
			out[k] = plain(v[k])
		}
		return out
	}
	return v
}
