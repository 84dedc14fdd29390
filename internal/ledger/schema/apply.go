package schema

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/secret"
)

const (
	// maxSteps bounds a check: 30 lines of schema can need 2^30 steps. It is a fifth of
	// a second.
	maxSteps = 1_000_000
	// maxCalls bounds how deep a check goes.
	maxCalls = 50_000
	// bytesAStep is how much of a text, times the size of a pattern, one step counts.
	bytesAStep = 32
	// stepsAName is what one name or index costs that is kept for unevaluated..., or
	// that is sorted.
	stepsAName = 1
	// stepsALook is how many steps go by until the context is looked at: less than a
	// millisecond.
	stepsALook = 2048
)

// check is the check of one value against one schema.
type check struct {
	ctx    context.Context
	of     string // whose the schema is
	hidden bool   // the value is a secret
	looks  bool   // what was looked at is asked for
	steps  int    // that are left
	look   int    // steps until the context is looked at
	calls  int
	quiet  int // above 0: it is only asked whether
	at     []token
	found  []Violation
	more   int // that were found and are not kept
}

// token is a step into the value. A name that the schema does not have is a part of
// the secret.
type token struct {
	text  string
	named bool
}

// errSteps ends a check that takes too long. It is thrown, so that the check ends at
// once.
var errSteps = errors.New("takes too long to check: make the value or the schema simpler")

// errCanceled ends a check whose context has ended.
var errCanceled = errors.New("the check was canceled")

// apply checks a value against a schema of a tenant. The error is the context's error.
func apply(ctx context.Context, c *compiled, of ledger.Tenant, v ledger.Value, hidden bool) (found []Violation, more int, err error) {
	k := &check{ctx: ctx, of: " of " + string(of), hidden: hidden, looks: c.unevaluated, steps: maxSteps}
	defer func() {
		switch p := recover(); p {
		case nil:
		case errCanceled:
			found, more, err = nil, 0, context.Cause(ctx)
		case errSteps, errNumber:
			k.at = nil
			k.found = []Violation{k.violation(c.root, "", p.(error).Error(), nil)}
			found, more = k.found, 0
		default:
			panic(p)
		}
	}()
	k.spend(len(v) / bytesAStep)
	value, err := decode(v)
	if err != nil { // JSON may be nested deeper than this decoder goes
		return []Violation{k.violation(c.root, "", "is nested too deep to check", nil)}, 0, nil
	}
	k.apply(c.root, value)
	return k.found, k.more, nil
}

// seen is what of an object or an array was looked at, for unevaluated...
type seen struct {
	names map[string]bool
	items map[int]bool
}

func (s *seen) name(n string) {
	if s.names == nil {
		s.names = make(map[string]bool)
	}
	s.names[n] = true
}

func (s *seen) item(i int) {
	if s.items == nil {
		s.items = make(map[int]bool)
	}
	s.items[i] = true
}

// merge adds to what was looked at. Names are merged once for each schema on the way up,
// so a chain of schemas pays for each.
func (k *check) merge(s *seen, other seen) {
	k.spend(stepsAName * (len(other.names) + len(other.items)))
	for n := range other.names {
		s.name(n)
	}
	for i := range other.items {
		s.item(i)
	}
}

func (k *check) spend(steps int) {
	if k.steps -= steps; k.steps < 0 {
		panic(errSteps)
	}
	if k.look -= steps; k.look <= 0 {
		if k.look = stepsALook; k.ctx.Err() != nil {
			panic(errCanceled)
		}
	}
}

// reports reports whether a violation will be kept: if not, its text is not built.
func (k *check) reports() bool { return k.quiet == 0 && len(k.found) < maxReport }

// failLater is fail with a text that takes long to build.
func (k *check) failLater(s *jsonschema.Schema, rule string, v any, why func() string) {
	text := ""
	if k.reports() {
		text = why()
	}
	k.fail(s, rule, text, v)
}

// fail notes a violation.
func (k *check) fail(s *jsonschema.Schema, rule, why string, v any) {
	if k.quiet > 0 {
		return
	}
	if len(k.found) == maxReport {
		k.more++
		return
	}
	k.found = append(k.found, k.violation(s, rule, why, v))
}

func (k *check) violation(s *jsonschema.Schema, rule, why string, v any) Violation {
	at := s.Location
	if rule != "" {
		if !strings.Contains(at, "#") {
			at += "#"
		}
		at += "/" + rule
	}
	out := Violation{Pointer: k.pointer(), Rule: rule, Schema: place(at) + k.of, Why: why, Found: string(secret.Mask)}
	if !k.hidden {
		out.Found = show(v)
	}
	return out
}

func (k *check) pointer() string {
	var b strings.Builder
	for _, t := range k.at {
		b.WriteByte('/')
		if k.hidden && !t.named {
			b.WriteByte('*')
			continue
		}
		b.WriteString(escape(t.text))
	}
	return b.String()
}

// show is a scalar as it is written; the content of a collection is not shown.
func show(v any) string {
	switch v := v.(type) {
	case nil:
		return "null"
	case bool:
		return strconv.FormatBool(v)
	case json.Number:
		return clip(string(v))
	case string:
		b, _ := jsontext.AppendQuote(nil, clip(v)) // the error says what was replaced
		return string(b)
	}
	return ""
}

// ok applies a schema and reports whether the value satisfies it.
func (k *check) ok(s *jsonschema.Schema, v any) (seen, bool) {
	k.quiet++
	defer func() { k.quiet-- }()
	return k.apply(s, v)
}

// into applies a schema to the value's member with a name or an index.
func (k *check) into(s *jsonschema.Schema, v any, t token) bool {
	k.at = append(k.at, t)
	_, ok := k.apply(s, v)
	k.at = k.at[:len(k.at)-1]
	return ok
}

// apply checks a value against a schema, and collects the violations unless only the
// result is needed. If type, const or enum is violated, further violations are left
// out.
func (k *check) apply(s *jsonschema.Schema, v any) (looked seen, ok bool) {
	k.spend(1)
	if k.calls++; k.calls > maxCalls {
		panic(errSteps)
	}
	defer func() { k.calls-- }()
	switch {
	case s.Bool != nil && *s.Bool:
		return looked, true
	case s.Bool != nil:
		k.fail(s, "", "must not be there", v)
		return looked, false
	case s.Types != nil && !s.Types.IsEmpty() && !k.typed(s.Types.ToStrings(), v):
		k.failLater(s, "type", v, func() string { return "must be of type " + strings.Join(s.Types.ToStrings(), " or ") })
		return looked, false
	case s.Const != nil && !k.same(v, *s.Const):
		k.fail(s, "const", `must equal the value of "const"`, v)
		return looked, false
	case s.Enum != nil && !slices.ContainsFunc(s.Enum.Values, func(e any) bool { return k.same(v, e) }):
		k.failLater(s, "enum", v, func() string { return "must be one of " + choices(s.Enum.Values) })
		return looked, false
	}
	ok = k.applicators(s, v, &looked)
	switch v := v.(type) {
	case map[string]any:
		ok = k.object(s, v, &looked) && ok
	case []any:
		ok = k.array(s, v, &looked) && ok
	case string:
		ok = k.text(s, v) && ok
	case json.Number:
		ok = k.number(s, v) && ok
	}
	if s.Format != nil {
		if text, is := v.(string); is {
			k.spend(formatSteps(s.Format.Name, text))
		}
		if s.Format.Validate(v) != nil {
			k.fail(s, "format", "must be a "+s.Format.Name, v)
			ok = false
		}
	}
	return looked, ok
}

// formatSteps is what a format costs. A regular expression is compiled, and a repetition of
// a few bytes makes a program of a thousand instructions.
func formatSteps(format, text string) int {
	if format == "regex" {
		return 1 + len(text)*200
	}
	return 1 + len(text)/4
}

// applicators are those that apply to the value itself.
func (k *check) applicators(s *jsonschema.Schema, v any, looked *seen) bool {
	ok := true
	must := func(next *jsonschema.Schema) {
		l, fine := k.apply(next, v)
		if ok = ok && fine; fine {
			k.merge(looked, l)
		}
	}
	if s.Ref != nil {
		must(s.Ref)
	}
	for _, next := range s.AllOf {
		must(next)
	}
	if n, l := k.count(s.AnyOf, v); len(s.AnyOf) > 0 {
		if n == 0 {
			k.fail(s, "anyOf", "must match at least one schema in anyOf", v)
			ok = false
		}
		k.merge(looked, l)
	}
	if n, l := k.count(s.OneOf, v); len(s.OneOf) > 0 {
		switch {
		case n == 0:
			k.fail(s, "oneOf", "must match exactly one schema in oneOf", v)
			ok = false
		case n > 1:
			k.fail(s, "oneOf", "must match exactly one schema in oneOf, but matches "+strconv.Itoa(n), v)
			ok = false
		default:
			k.merge(looked, l)
		}
	}
	if s.Not != nil {
		if _, fine := k.ok(s.Not, v); fine {
			k.fail(s, "not", `must not match the schema in "not"`, v)
			ok = false
		}
	}
	if s.If != nil {
		l, fine := k.ok(s.If, v)
		if fine {
			k.merge(looked, l)
		}
		if next := s.Then; fine && next != nil {
			must(next)
		}
		if next := s.Else; !fine && next != nil {
			must(next)
		}
	}
	return ok
}

// count returns how many schemas the value satisfies, and the members that those have
// evaluated.
func (k *check) count(all []*jsonschema.Schema, v any) (n int, looked seen) {
	for _, s := range all {
		if l, ok := k.ok(s, v); ok {
			n++
			k.merge(&looked, l)
		}
	}
	return n, looked
}
