package schema

import (
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// same reports whether two values mean the same.
func (k *check) same(a, b any) bool {
	k.spend(1)
	switch a := a.(type) {
	case map[string]any:
		b, ok := b.(map[string]any)
		if !ok || len(a) != len(b) {
			return false
		}
		k.spend(stepsAName * len(a))
		for name, v := range a {
			if w, there := b[name]; !there || !k.same(v, w) {
				return false
			}
		}
		return true
	case []any:
		b, ok := b.([]any)
		return ok && len(a) == len(b) && slices.EqualFunc(a, b, k.same)
	case json.Number:
		b, ok := b.(json.Number)
		return ok && (a == b || k.rational(a).Cmp(k.rational(b)) == 0)
	case string:
		b, ok := b.(string)
		if ok && len(a) == len(b) {
			k.spend(len(a) / bytesAStep)
		}
		return ok && a == b
	}
	return a == b
}

// unique reports whether no two elements mean the same.
func (k *check) unique(list []any) bool {
	seen := make(map[string]bool, len(list))
	for _, v := range list {
		var b strings.Builder
		k.meaning(&b, v)
		if seen[b.String()] {
			return false
		}
		seen[b.String()] = true
	}
	return true
}

// meaning writes what values of the same meaning share.
func (k *check) meaning(b *strings.Builder, v any) {
	k.spend(1)
	switch v := v.(type) {
	case nil:
		b.WriteByte('n')
	case bool:
		b.WriteString(strconv.FormatBool(v))
	case json.Number:
		b.WriteString(k.rational(v).RatString())
	case string:
		k.spend(len(v) / bytesAStep)
		b.WriteString(strconv.Quote(v))
	case []any:
		b.WriteByte('[')
		for _, e := range v {
			k.meaning(b, e)
			b.WriteByte(',')
		}
		b.WriteByte(']')
	case map[string]any:
		b.WriteByte('{')
		k.spend(stepsAName * len(v))
		for _, name := range slices.Sorted(maps.Keys(v)) {
			k.spend(1 + len(name)/bytesAStep)
			b.WriteString(strconv.Quote(name))
			k.meaning(b, v[name])
			b.WriteByte(',')
		}
		b.WriteByte('}')
	}
}

// choices are the values of an enum, or the first of them.
func choices(values []any) string {
	const most = 10
	var words []string
	for _, v := range values[:min(len(values), most)] {
		words = append(words, choice(v))
	}
	if more := len(values) - most; more > 0 {
		words = append(words, strconv.Itoa(more)+" more")
	}
	return strings.Join(words, ", ")
}

func choice(v any) string {
	switch v.(type) {
	case map[string]any:
		return "an object"
	case []any:
		return "an array"
	}
	return show(v)
}
