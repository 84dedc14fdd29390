package schema

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/big"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

func (k *check) typed(types []string, v any) bool {
	return slices.ContainsFunc(types, func(t string) bool {
		switch v := v.(type) {
		case nil:
			return t == "null"
		case bool:
			return t == "boolean"
		case string:
			return t == "string"
		case []any:
			return t == "array"
		case map[string]any:
			return t == "object"
		case json.Number:
			return t == "number" || t == "integer" && k.rational(v).IsInt()
		}
		return false
	})
}

// rational is a number's exact value; a number that cannot be compared ends the check.
func (k *check) rational(n json.Number) *big.Rat {
	r, err := rational(n)
	if err != nil {
		panic(errNumber)
	}
	k.spend(1 + bits(r)/bitsAStep)
	return r
}

// bitsAStep is how much of an exact number one step counts: an exponent of a few bytes
// makes more than a thousand.
const bitsAStep = 64

func bits(r *big.Rat) int { return r.Num().BitLen() + r.Denom().BitLen() }

// object validates an object's members against a schema.
func (k *check) object(s *jsonschema.Schema, obj map[string]any, looked *seen) bool {
	ok := true
	fail := func(rule, why string) {
		k.fail(s, rule, why, obj)
		ok = false
	}
	if s.MinProperties != nil && len(obj) < *s.MinProperties {
		fail("minProperties", fmt.Sprintf("must have at least %s, and has %d", many(*s.MinProperties, "member"), len(obj)))
	}
	if s.MaxProperties != nil && len(obj) > *s.MaxProperties {
		fail("maxProperties", fmt.Sprintf("must have at most %s, and has %d", many(*s.MaxProperties, "member"), len(obj)))
	}
	k.required("required", obj, s.Required, fail)
	k.spend(stepsAName * (len(s.DependentRequired) + len(s.DependentSchemas) + len(s.Dependencies)))
	for _, name := range slices.Sorted(maps.Keys(s.DependentRequired)) {
		if _, there := obj[name]; there {
			k.required("dependentRequired", obj, s.DependentRequired[name], fail)
		}
	}
	dependent := func(next *jsonschema.Schema) {
		l, fine := k.apply(next, obj)
		if ok = ok && fine; fine {
			k.merge(looked, l)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(s.DependentSchemas)) {
		if _, there := obj[name]; there {
			dependent(s.DependentSchemas[name])
		}
	}
	for _, name := range slices.Sorted(maps.Keys(s.Dependencies)) { // what both were before 2019
		if _, there := obj[name]; !there {
			continue
		}
		switch d := s.Dependencies[name].(type) {
		case []string:
			k.required("dependencies", obj, d, fail)
		case *jsonschema.Schema:
			dependent(d)
		}
	}
	if !k.wantsMembers(s) {
		return ok
	}
	k.spend(stepsAName * len(obj))
	names := slices.Sorted(maps.Keys(obj))
	for _, name := range names {
		ok = k.member(s, name, obj[name], looked) && ok
	}
	if s.UnevaluatedProperties == nil {
		return ok
	}
	for _, name := range names {
		if looked.names[name] {
			continue
		}
		ok = k.into(s.UnevaluatedProperties, obj[name], token{name, false}) && ok
		looked.name(name)
	}
	return ok
}

func (k *check) wantsMembers(s *jsonschema.Schema) bool {
	return len(s.Properties) > 0 || len(s.PatternProperties) > 0 || s.AdditionalProperties != nil || s.PropertyNames != nil || s.UnevaluatedProperties != nil
}

func (k *check) required(rule string, obj map[string]any, names []string, fail func(rule, why string)) {
	k.spend(len(names))
	var missing []string
	for _, name := range names {
		if _, there := obj[name]; !there && len(missing) < maxReport {
			if missing = append(missing, name); !k.reports() {
				break
			}
		}
	}
	if len(missing) == 0 {
		return
	}
	for i, name := range missing {
		missing[i] = strconv.Quote(clip(name))
	}
	fail(rule, "must have "+strings.Join(missing, ", "))
}

func (k *check) member(s *jsonschema.Schema, name string, v any, looked *seen) bool {
	k.spend(1)
	ok, known := true, false
	if s.PropertyNames != nil {
		k.at = append(k.at, token{name, false})
		_, fine := k.ok(s.PropertyNames, name)
		if !fine {
			k.fail(s, "propertyNames", "has a name that violates propertyNames", nil)
		}
		k.at = k.at[:len(k.at)-1]
		ok = fine
	}
	if next := s.Properties[name]; next != nil {
		known = true
		ok = k.into(next, v, token{name, true}) && ok
	}
	for re, next := range s.PatternProperties {
		if k.matches(re, name) {
			known = true
			ok = k.into(next, v, token{name, false}) && ok
		}
	}
	if !known && s.AdditionalProperties != nil {
		known = true
		switch next := s.AdditionalProperties.(type) {
		case bool:
			if !next {
				k.at = append(k.at, token{name, false})
				k.fail(s, "additionalProperties", "must not be there", v)
				k.at = k.at[:len(k.at)-1]
				ok = false
			}
		case *jsonschema.Schema:
			ok = k.into(next, v, token{name, false}) && ok
		}
	}
	if known && k.looks {
		looked.name(name)
	}
	return ok
}

// array validates an array's elements against a schema.
func (k *check) array(s *jsonschema.Schema, list []any, looked *seen) bool {
	ok := true
	fail := func(rule, why string) {
		k.fail(s, rule, why, list)
		ok = false
	}
	if s.MinItems != nil && len(list) < *s.MinItems {
		fail("minItems", fmt.Sprintf("must have at least %s, and has %d", many(*s.MinItems, "element"), len(list)))
	}
	if s.MaxItems != nil && len(list) > *s.MaxItems {
		fail("maxItems", fmt.Sprintf("must have at most %s, and has %d", many(*s.MaxItems, "element"), len(list)))
	}
	if s.UniqueItems && !k.unique(list) {
		fail("uniqueItems", "must not have an element twice")
	}
	index := func(i int) token { return token{strconv.Itoa(i), true} }
	if len(s.PrefixItems) == 0 && s.Items2020 == nil && s.Contains == nil && s.UnevaluatedItems == nil {
		return ok
	}
	k.spend(len(list))
	for i, v := range list {
		switch {
		case i < len(s.PrefixItems):
			ok = k.into(s.PrefixItems[i], v, index(i)) && ok
		case s.Items2020 != nil:
			ok = k.into(s.Items2020, v, index(i)) && ok
		default:
			continue
		}
		if k.looks {
			looked.item(i)
		}
	}
	if s.Contains != nil {
		n := 0
		for i, v := range list {
			if _, fine := k.ok(s.Contains, v); fine {
				n++
				if k.looks {
					looked.item(i)
				}
			}
		}
		switch {
		case s.MinContains == nil && n == 0:
			fail("contains", "must have an element that matches contains")
		case s.MinContains != nil && n < *s.MinContains:
			fail("minContains", fmt.Sprintf("must have at least %s that match contains, and has %d", many(*s.MinContains, "element"), n))
		}
		if s.MaxContains != nil && n > *s.MaxContains {
			fail("maxContains", fmt.Sprintf("must have at most %s that match contains, and has %d", many(*s.MaxContains, "element"), n))
		}
	}
	if s.UnevaluatedItems == nil {
		return ok
	}
	for i, v := range list {
		if !looked.items[i] {
			ok = k.into(s.UnevaluatedItems, v, index(i)) && ok
			looked.item(i)
		}
	}
	return ok
}

func (k *check) text(s *jsonschema.Schema, text string) bool {
	ok := true
	fail := func(rule, why string) {
		k.fail(s, rule, why, text)
		ok = false
	}
	if s.MinLength != nil || s.MaxLength != nil {
		k.spend(len(text) / bytesAStep)
		switch n := utf8.RuneCountInString(text); {
		case s.MinLength != nil && n < *s.MinLength:
			fail("minLength", fmt.Sprintf("must have at least %s, and has %d", many(*s.MinLength, "character"), n))
		case s.MaxLength != nil && n > *s.MaxLength:
			fail("maxLength", fmt.Sprintf("must have at most %s, and has %d", many(*s.MaxLength, "character"), n))
		}
	}
	if s.Pattern != nil && !k.matches(s.Pattern, text) {
		fail("pattern", "must match "+clip(s.Pattern.String()))
	}
	return ok
}

func (k *check) matches(re jsonschema.Regexp, text string) bool {
	size := 1
	if p, ok := re.(pattern); ok {
		size = p.size
	}
	k.spend(1 + size*(1+len(text))/bytesAStep)
	return re.MatchString(text)
}

func (k *check) number(s *jsonschema.Schema, n json.Number) bool {
	if s.Minimum == nil && s.Maximum == nil && s.ExclusiveMinimum == nil && s.ExclusiveMaximum == nil && s.MultipleOf == nil {
		return true
	}
	r, ok := k.rational(n), true
	if s.MultipleOf != nil { // a division costs more than a comparison
		k.spend(4 * (bits(r) + bits(s.MultipleOf)) / bitsAStep)
	}
	hold := func(rule, why string, bound *big.Rat, fine func() bool) {
		if bound == nil {
			return
		}
		k.spend(bits(bound) / bitsAStep)
		if !fine() {
			k.failLater(s, rule, n, func() string { return why + " " + decimal(bound) })
			ok = false
		}
	}
	hold("minimum", "must be at least", s.Minimum, func() bool { return r.Cmp(s.Minimum) >= 0 })
	hold("maximum", "must be at most", s.Maximum, func() bool { return r.Cmp(s.Maximum) <= 0 })
	hold("exclusiveMinimum", "must be more than", s.ExclusiveMinimum, func() bool { return r.Cmp(s.ExclusiveMinimum) > 0 })
	hold("exclusiveMaximum", "must be less than", s.ExclusiveMaximum, func() bool { return r.Cmp(s.ExclusiveMaximum) < 0 })
	hold("multipleOf", "must be a multiple of", s.MultipleOf, func() bool { return new(big.Rat).Quo(r, s.MultipleOf).IsInt() })
	return ok
}

// decimal writes a number of a document, which is a finite decimal.
func decimal(r *big.Rat) string {
	digits, _ := r.FloatPrec()
	return clip(r.FloatString(digits))
}

func many(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
