package stele

import (
	"encoding/json"
	"fmt"
	"maps"
	"strings"
	"time"

	"github.com/diegoholiveira/jsonlogic/v3"
	"github.com/open-feature/go-sdk/openfeature"
	"github.com/stelehq/stele/client"
)

// staticVariant is the only variant of a static flag.
const staticVariant = "static"

// flag is the value of a key as a flag.
type flag struct {
	revision  uint64
	value     string // a restored ledger can have another value for the same revision
	err       error  // why the value is not a flag; the rest is empty then
	disabled  bool
	variants  map[string]any // numbers are json.Number
	fallback  string         // the default variant; empty for the caller's own default
	targeting json.RawMessage
	metadata  openfeature.FlagMetadata
}

// parse reads a flag.
func parse(e client.Entry) *flag {
	f := &flag{revision: e.Revision, value: e.Value}
	if e.Secret {
		f.err = fmt.Errorf("it is a secret")
	} else {
		f.err = f.read(e.Value)
	}
	if f.err != nil {
		f.err = openfeature.NewParseErrorResolutionError(fmt.Sprintf("%s@%d is not a flag: %v", e.Key, e.Revision, f.err))
		return f
	}
	if f.metadata == nil {
		f.metadata = openfeature.FlagMetadata{}
	}
	f.metadata["revision"] = int64(e.Revision)
	if e.Base.Tenant != "" {
		f.metadata["base"], f.metadata["baseRevision"] = e.Base.Tenant, int64(e.Base.Revision)
	}
	return f
}

func (f *flag) read(text string) error {
	value, err := decode[any](text)
	if err != nil {
		return err
	}
	if value == nil {
		return fmt.Errorf("it is null")
	}
	members, _ := value.(map[string]any)
	_, state := members["state"]
	_, variants := members["variants"]
	if state && variants {
		return f.define(text)
	}
	f.variants, f.fallback = map[string]any{staticVariant: value}, staticVariant
	return nil
}

// define reads a definition.
func (f *flag) define(text string) error {
	members, err := decode[map[string]json.RawMessage](text)
	if err != nil {
		return err
	}
	state, err := decode[string](string(members["state"]))
	if err != nil || state != "ENABLED" && state != "DISABLED" {
		return fmt.Errorf(`its "state" is %s: write "ENABLED" or "DISABLED"`, members["state"])
	}
	f.disabled = state == "DISABLED"
	if f.variants, err = decode[map[string]any](string(members["variants"])); err != nil || f.variants == nil {
		return fmt.Errorf(`its "variants" are %s, and not an object`, members["variants"])
	}
	if text, has := members["defaultVariant"]; has {
		name, err := decode[*string](string(text))
		if err != nil {
			return fmt.Errorf(`its "defaultVariant" is %s, and not the name of a variant`, text)
		}
		if name != nil {
			f.fallback = *name
			if _, has := f.variants[*name]; !has {
				return fmt.Errorf("its default variant %q is not among its variants", *name)
			}
		}
	}
	if rule := members["targeting"]; len(rule) > 0 && string(rule) != "{}" && string(rule) != "null" {
		f.targeting = rule
	}
	if metadata, has := members["metadata"]; has {
		values, err := decode[map[string]any](string(metadata))
		if err != nil {
			return fmt.Errorf(`its "metadata" is no object: %w`, err)
		}
		f.metadata = plain(values).(map[string]any)
	}
	return nil
}

func decode[T any](text string) (v T, err error) {
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	return v, d.Decode(&v)
}

// choose names the variant for a caller; none for the caller's own default. The error
// is an openfeature.ResolutionError.
func (f *flag) choose(name string, flat openfeature.FlattenedContext) (variant string, reason openfeature.Reason, err error) {
	switch {
	case f.err != nil:
		return "", "", f.err
	case f.disabled:
		return "", openfeature.DisabledReason, nil
	case f.targeting == nil && f.fallback == "":
		return "", openfeature.DefaultReason, nil
	case f.targeting == nil:
		return f.fallback, openfeature.StaticReason, nil
	}
	chosen, err := f.target(name, flat)
	if err != nil {
		return "", "", err
	}
	if chosen == nil {
		return f.fallback, openfeature.DefaultReason, nil
	}
	variant = fmt.Sprint(chosen) // a variant may be called true
	if _, has := f.variants[variant]; !has || variant == "" {
		return "", "", openfeature.NewGeneralResolutionError(fmt.Sprintf("%s: its targeting chooses %q, which is not among its variants", name, variant))
	}
	return variant, openfeature.TargetingMatchReason, nil
}

// target evaluates the rule. It is decoded again each time, because evaluation may
// change it.
func (f *flag) target(name string, flat openfeature.FlattenedContext) (chosen any, err error) {
	context := maps.Clone(map[string]any(flat))
	if context == nil {
		context = make(map[string]any)
	}
	context["$flagd"] = map[string]any{"flagKey": name, "timestamp": time.Now().Unix()}
	text, err := json.Marshal(context)
	if err != nil {
		return nil, openfeature.NewInvalidContextResolutionError(fmt.Sprintf("%s: the evaluation context cannot be encoded as JSON: %v", name, err))
	}
	var rule, data any
	if err := json.Unmarshal(f.targeting, &rule); err != nil {
		return nil, openfeature.NewParseErrorResolutionError(fmt.Sprintf("%s: its targeting is not valid JSON: %v", name, err))
	}
	if err := json.Unmarshal(text, &data); err != nil {
		return nil, openfeature.NewInvalidContextResolutionError(fmt.Sprintf("%s: the evaluation context cannot be encoded as JSON: %v", name, err))
	}
	defer func() { // the evaluator also panics with values that are not errors
		if p := recover(); p != nil {
			err = openfeature.NewParseErrorResolutionError(fmt.Sprintf("%s: its targeting cannot be evaluated: %v", name, p))
		}
	}()
	if chosen, err = jsonlogic.ApplyInterface(rule, data); err != nil {
		return nil, openfeature.NewParseErrorResolutionError(fmt.Sprintf("%s: its targeting cannot be evaluated: %v", name, err))
	}
	return chosen, nil
}
