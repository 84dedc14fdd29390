package fakeaws

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// test is one of the values that a pattern lists for a leaf.
type test struct {
	// absent is {"exists": false}: there must be no leaf.
	absent  bool
	accepts func(*node) bool
}

func newTest(v *node) (test, error) {
	switch v.kind {
	case '[':
		return test{}, refusal("An array in an array is not allowed")
	case '{':
	default:
		return test{accepts: v.same}, nil
	}
	if len(v.members) != 1 {
		return test{}, refusal("Only one key allowed in match expression")
	}
	for name, m := range v.members {
		switch name {
		case "exists":
			if m.kind != 't' && m.kind != 'f' {
				return test{}, fmt.Errorf("exists match pattern must be either true or false")
			}
			return test{absent: m.kind == 'f', accepts: func(*node) bool { return true }}, nil
		case "anything-but":
			accepts, err := anythingBut(m)
			return test{accepts: accepts}, err
		case "numeric":
			accepts, err := numeric(m)
			return test{accepts: accepts}, err
		case "cidr":
			accepts, err := cidr(m)
			return test{accepts: accepts}, err
		default:
			accepts, err := text(name, m)
			return test{accepts: accepts}, err
		}
	}
	panic("unreachable")
}

// same compares leaves: numbers as they are written, so that 300 is not 3.0e2.
func (v *node) same(w *node) bool { return v.kind == w.kind && v.text == w.text }

// text is a test of a string: prefix, suffix, equals-ignore-case and wildcard.
func text(operator string, v *node) (func(*node) bool, error) {
	fold := false
	if (operator == "prefix" || operator == "suffix") && v.kind == '{' {
		if m := v.members["equals-ignore-case"]; m != nil && len(v.members) == 1 {
			v, fold = m, true
		}
	}
	if v.kind != '"' {
		return nil, fmt.Errorf("%s match pattern must be a string", operator)
	}
	want := v.text
	var accepts func(string) bool
	switch operator {
	case "prefix":
		accepts = func(s string) bool {
			return strings.HasPrefix(s, want) || fold && len(s) >= len(want) && strings.EqualFold(s[:len(want)], want)
		}
	case "suffix":
		accepts = func(s string) bool {
			return strings.HasSuffix(s, want) || fold && len(s) >= len(want) && strings.EqualFold(s[len(s)-len(want):], want)
		}
	case "equals-ignore-case":
		accepts = func(s string) bool { return strings.EqualFold(s, want) }
	case "wildcard":
		parts, err := wildcard(want)
		if err != nil {
			return nil, err
		}
		accepts = func(s string) bool { return matchWildcard(parts, s) }
	default:
		return nil, refusal("Unrecognized match type %s", operator)
	}
	return func(leaf *node) bool { return leaf.kind == '"' && accepts(leaf.text) }, nil
}

// anythingBut is the opposite of one or several values or of one operator on text.
func anythingBut(v *node) (func(*node) bool, error) {
	var refused []func(*node) bool
	each := func(v *node, make func(*node) (func(*node) bool, error)) error {
		list := []*node{v}
		if v.kind == '[' {
			list = v.elements
		}
		if len(list) == 0 {
			return refusal("Empty arrays are not allowed")
		}
		for _, e := range list {
			if e.kind != list[0].kind {
				return refusal("Inside anything-but list, either all values are number or string, mixed type is not supported")
			}
			refuses, err := make(e)
			if err != nil {
				return err
			}
			refused = append(refused, refuses)
		}
		return nil
	}
	var err error
	if v.kind == '{' {
		if len(v.members) != 1 {
			return nil, refusal("Only one key allowed in match expression")
		}
		for operator, m := range v.members {
			err = each(m, func(e *node) (func(*node) bool, error) { return text(operator, e) })
		}
	} else {
		err = each(v, func(e *node) (func(*node) bool, error) {
			if e.kind != '"' && e.kind != '0' {
				return nil, refusal("Value of anything-but must be an array or single string/number value")
			}
			return e.same, nil
		})
	}
	return func(leaf *node) bool {
		for _, refuses := range refused {
			if refuses(leaf) {
				return false
			}
		}
		return true
	}, err
}

// numeric is one comparison, or two that make a range. Numbers are within five
// billions of zero.
func numeric(v *node) (func(*node) bool, error) {
	const most = 5e9
	if v.kind != '[' || len(v.elements) != 2 && len(v.elements) != 4 {
		return nil, refusal("Value of numeric must be an array of a comparison and a number, or two of them")
	}
	var all []func(float64) bool
	operators := ""
	for i := 0; i < len(v.elements); i += 2 {
		bound, err := strconv.ParseFloat(v.elements[i+1].text, 64)
		if err != nil || v.elements[i+1].kind != '0' || bound > most || bound < -most {
			return nil, refusal("Value of numeric must be a number from %.0f to %.0f", -most, most)
		}
		operator := v.elements[i].text
		operators += strings.TrimSuffix(operator, "=")
		switch operator {
		case "=":
			operators += "="
			all = append(all, func(n float64) bool { return n == bound })
		case "<":
			all = append(all, func(n float64) bool { return n < bound })
		case "<=":
			all = append(all, func(n float64) bool { return n <= bound })
		case ">":
			all = append(all, func(n float64) bool { return n > bound })
		case ">=":
			all = append(all, func(n float64) bool { return n >= bound })
		default:
			return nil, refusal("Unrecognized numeric range operator: %s", operator)
		}
	}
	if len(all) == 2 && operators != "><" {
		return nil, fmt.Errorf("a range begins with > or >= and ends with < or <=")
	}
	return func(leaf *node) bool {
		n, err := strconv.ParseFloat(leaf.text, 64)
		if err != nil || leaf.kind != '0' {
			return false
		}
		for _, accepts := range all {
			if !accepts(n) {
				return false
			}
		}
		return true
	}, nil
}

func cidr(v *node) (func(*node) bool, error) {
	prefix, err := netip.ParsePrefix(v.text)
	if err != nil || v.kind != '"' {
		return nil, refusal("Malformed CIDR, one '/' required")
	}
	return func(leaf *node) bool {
		a, err := netip.ParseAddr(leaf.text)
		return err == nil && leaf.kind == '"' && prefix.Contains(a)
	}, nil
}

// wildcard cuts a pattern at its stars; \* and \\ are a star and a backslash.
func wildcard(pattern string) ([]string, error) {
	parts := []string{""}
	for i := 0; i < len(pattern); i++ {
		last := &parts[len(parts)-1]
		switch c := pattern[i]; {
		case c == '*' && i > 0 && pattern[i-1] == '*' && *last == "":
			return nil, refusal("Consecutive wildcard characters at pos %d", i-1)
		case c == '*':
			parts = append(parts, "")
		case c == '\\':
			if i++; i == len(pattern) || pattern[i] != '*' && pattern[i] != '\\' {
				return nil, refusal("Invalid escape character at pos %d", i-1)
			}
			*last += pattern[i : i+1]
		default:
			*last += pattern[i : i+1]
		}
	}
	return parts, nil
}

func matchWildcard(parts []string, s string) bool {
	first, last := parts[0], parts[len(parts)-1]
	if len(parts) == 1 {
		return s == first
	}
	rest, ok := strings.CutPrefix(s, first)
	if !ok {
		return false
	}
	if rest, ok = strings.CutSuffix(rest, last); !ok {
		return false
	}
	for _, part := range parts[1 : len(parts)-1] {
		_, after, ok := strings.Cut(rest, part)
		if !ok {
			return false
		}
		rest = after
	}
	return true
}
