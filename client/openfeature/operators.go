package stele

import (
	"fmt"
	"strings"

	"github.com/diegoholiveira/jsonlogic/v3"
	"github.com/twmb/murmur3"
	"golang.org/x/mod/semver"
)

// flagd's operators in addition to those of JsonLogic. A program that also links
// flagd's own gets one or the other: they are the same.
func init() {
	jsonlogic.AddOperator("fractional", fractional)
	jsonlogic.AddOperator("sem_ver", semVer)
	jsonlogic.AddOperator("starts_with", compare(strings.HasPrefix))
	jsonlogic.AddOperator("ends_with", compare(strings.HasSuffix))
}

// compare is false for anything other than two strings.
func compare(f func(s, part string) bool) jsonlogic.OperatorFn {
	return func(values, _ any) any {
		list, _ := values.([]any)
		if len(list) != 2 {
			return false
		}
		s, isString := list[0].(string)
		part, alsoString := list[1].(string)
		return isString && alsoString && f(s, part)
	}
}

// semVer compares [version, operator, version]; it is false for versions that cannot be
// compared.
func semVer(values, _ any) any {
	list, _ := values.([]any)
	if len(list) != 3 {
		return false
	}
	a, b := version(list[0]), version(list[2])
	if !semver.IsValid(a) || !semver.IsValid(b) {
		return false
	}
	order := semver.Compare(a, b)
	switch list[1] {
	case "=":
		return order == 0
	case "!=":
		return order != 0
	case "<":
		return order < 0
	case "<=":
		return order <= 0
	case ">":
		return order > 0
	case ">=":
		return order >= 0
	case "^":
		return semver.Major(a) == semver.Major(b)
	case "~":
		return semver.MajorMinor(a) == semver.MajorMinor(b)
	}
	return false
}

func version(v any) string { return "v" + strings.TrimPrefix(fmt.Sprint(v), "v") }

// fractional distributes callers over variants by weight: [by, [variant, weight], ...].
// Without by, it uses the flag's name and the caller's targeting key. The same caller
// always gets the same variant, in every flagd provider. It is null, which is the
// default variant, for invalid arguments.
func fractional(values, data any) any {
	list, _ := values.([]any)
	caller, _ := data.(map[string]any)
	if len(list) < 2 || caller == nil {
		return nil
	}
	by, given := list[0].(string)
	if given || list[0] == nil {
		list = list[1:]
	}
	if !given {
		key, known := caller["targetingKey"].(string)
		if !known {
			return nil
		}
		flagd, _ := caller["$flagd"].(map[string]any)
		by = fmt.Sprint(flagd["flagKey"]) + key
	}
	weights := make([]uint64, len(list))
	var total uint64
	for i, share := range list {
		share, _ := share.([]any)
		if len(share) == 0 {
			return nil
		}
		weights[i] = 1
		if len(share) > 1 {
			w, isNumber := share[1].(float64)
			if !isNumber || w < 0 || w != float64(int32(w)) {
				return nil
			}
			weights[i] = uint64(w)
		}
		total += weights[i]
	}
	if total >= 1<<31 {
		return nil
	}
	place := uint64(murmur3.StringSum32(by)) * total >> 32
	for i, w := range weights {
		if place < w {
			return list[i].([]any)[0]
		}
		place -= w
	}
	return nil // all weigh nothing
}
