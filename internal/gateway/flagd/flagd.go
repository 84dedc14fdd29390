// Package flagd turns settings into the document in which flagd, and OpenFeature's
// providers that evaluate in process, get all flags at once. docs/flags.md says which
// settings are flags.
package flagd

import (
	"bytes"
	"encoding/json"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/stelehq/stele/internal/ledger"
)

// DefaultPrefix of the keys of flags.
const DefaultPrefix = "flags/"

// Prefix is the one that a selector asks for.
func Prefix(selector string) (ledger.Prefix, error) {
	switch {
	case selector == "":
		return DefaultPrefix, nil
	case !strings.HasSuffix(selector, "/"):
		selector += "/"
	}
	return ledger.ParsePrefix(selector)
}

// Document is a document that is being made: {"flags":{...}}.
type Document struct {
	prefix ledger.Prefix
	flags  bytes.Buffer
}

// New begins a document of the flags under a prefix.
func New(prefix ledger.Prefix) *Document { return &Document{prefix: prefix} }

// Add adds the flag of a setting. Values that are not flags are left out: an invalid
// one may keep a provider from reading the others.
func (d *Document) Add(key, value string) {
	flag, ok := definition(value)
	name := strings.TrimPrefix(key, string(d.prefix))
	if !ok || name == "" {
		return
	}
	quoted, err := jsontext.AppendQuote(nil, name)
	if err != nil {
		return // no key is such
	}
	if d.flags.Len() > 0 {
		d.flags.WriteByte(',')
	}
	d.flags.Write(quoted)
	d.flags.WriteByte(':')
	d.flags.WriteString(flag)
}

// Len is how many bytes the document has so far.
func (d *Document) Len() int { return d.flags.Len() }

func (d *Document) String() string { return `{"flags":{` + d.flags.String() + `}}` }

// definition is flagd's definition of the flag that a value is.
func definition(value string) (flag string, ok bool) {
	if value == "null" {
		return "", false
	}
	var members map[string]json.RawMessage
	if json.Unmarshal([]byte(value), &members) != nil || members["state"] == nil || members["variants"] == nil {
		return `{"state":"ENABLED","variants":{"static":` + value + `},"defaultVariant":"static"}`, true
	}
	var state string
	var variants map[string]json.RawMessage
	var defaults *string // none, or null, is the caller's own default
	if json.Unmarshal(members["state"], &state) != nil || state != "ENABLED" && state != "DISABLED" ||
		json.Unmarshal(members["variants"], &variants) != nil || variants == nil ||
		members["defaultVariant"] != nil && json.Unmarshal(members["defaultVariant"], &defaults) != nil ||
		defaults != nil && variants[*defaults] == nil {
		return "", false
	}
	return value, true
}
