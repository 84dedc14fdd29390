package keys

import (
	"fmt"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// keywords are those of a schema that a hint shows.
type keywords struct {
	Type                 jsontext.Value            `json:"type"`
	Title                string                    `json:"title"`
	Description          string                    `json:"description"`
	Enum                 []jsontext.Value          `json:"enum"`
	Const                jsontext.Value            `json:"const"`
	Minimum              jsontext.Value            `json:"minimum"`
	Maximum              jsontext.Value            `json:"maximum"`
	MinLength            jsontext.Value            `json:"minLength"`
	MaxLength            jsontext.Value            `json:"maxLength"`
	Pattern              string                    `json:"pattern"`
	Format               string                    `json:"format"`
	Items                jsontext.Value            `json:"items"`
	Properties           map[string]jsontext.Value `json:"properties"`
	Required             []string                  `json:"required"`
	AdditionalProperties jsontext.Value            `json:"additionalProperties"`
}

const (
	// hintDepth is how deep a hint goes into a schema.
	hintDepth = 3
	// hintsShown is how many choices or members of a schema a hint shows.
	hintsShown = 12
)

// hint is what a schema requires of a value, in short; nil if only the document says it.
func hint(document jsontext.Value, depth int) []string {
	var k keywords
	if depth > hintDepth || json.Unmarshal(document, &k) != nil {
		return nil
	}
	var out []string
	add := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	if text := strings.TrimSpace(k.Title + " " + k.Description); text != "" {
		add("%s", text)
	}
	var types []string
	if json.Unmarshal(k.Type, &types) == nil && len(types) > 0 {
		add("%s", strings.Join(types, " or "))
	} else if k.Type != nil {
		add("%s", strings.Trim(string(k.Type), `"`))
	}
	if len(k.Enum) > 0 {
		var choices []string
		for _, c := range k.Enum[:min(len(k.Enum), hintsShown)] {
			choices = append(choices, string(c))
		}
		if len(k.Enum) > hintsShown {
			choices = append(choices, "…")
		}
		add("one of %s", strings.Join(choices, ", "))
	}
	if k.Const != nil {
		add("always %s", k.Const)
	}
	for _, b := range []struct {
		low, high jsontext.Value
		of        string
	}{{k.Minimum, k.Maximum, ""}, {k.MinLength, k.MaxLength, " characters"}} {
		switch {
		case b.low != nil && b.high != nil:
			add("%s to %s%s", b.low, b.high, b.of)
		case b.low != nil:
			add("at least %s%s", b.low, b.of)
		case b.high != nil:
			add("at most %s%s", b.high, b.of)
		}
	}
	if k.Pattern != "" {
		add("matches %s", k.Pattern)
	}
	if k.Format != "" {
		add("format %s", k.Format)
	}
	if k.Items != nil {
		if items := hint(k.Items, depth+1); len(items) > 0 {
			add("items: %s", strings.Join(items, ", "))
		}
	}
	if len(k.Properties) > 0 {
		out = append(out, memberHints(k, depth)...)
	}
	if string(k.AdditionalProperties) == "false" {
		add("no other members")
	}
	return out
}

// memberHints are the hints of an object's members, in the order of their names.
func memberHints(k keywords, depth int) (out []string) {
	names := make([]string, 0, len(k.Properties))
	for name := range k.Properties {
		names = append(names, name)
	}
	slices.Sort(names)
	for i, name := range names {
		if i == hintsShown {
			return append(out, "…")
		}
		text := name
		if slices.Contains(k.Required, name) {
			text += " (required)"
		}
		if of := hint(k.Properties[name], depth+1); len(of) > 0 {
			text += ": " + strings.Join(of, ", ")
		}
		out = append(out, text)
	}
	return out
}
