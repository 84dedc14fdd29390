// Package naming names the items of sinks that keep one item per key under one flat name:
// PREFIX/TENANT/KEY.
package naming

import (
	"fmt"
	"strings"

	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/projector"
)

// Settings are the part of a sink's settings that names its items.
type Settings struct {
	// Prefix begins the names of all items, before the tenant; empty means "stele". It can
	// contain slashes.
	Prefix string `json:"prefix,omitzero"`
	// Strip is a common prefix of all keys of the sink that names leave out. A key without
	// it is refused, so that no two keys have the same name.
	Strip string `json:"strip,omitzero"`
}

// Layout makes names of keys.
type Layout struct{ prefix, strip string }

// New checks the settings. The prefix follows the rules of keys: names of such characters
// are safe in every client.
func New(s Settings) (Layout, error) {
	l := Layout{prefix: "stele/", strip: s.Strip}
	if s.Prefix != "" {
		if _, err := ledger.ParseKey(s.Prefix); err != nil {
			return l, fmt.Errorf("prefix: %w", err)
		}
		l.prefix = s.Prefix + "/"
	}
	if _, err := ledger.ParsePrefix(l.strip); err != nil {
		return l, fmt.Errorf("strip: %w", err)
	}
	return l, nil
}

// Base begins the names of a tenant's items.
func (l Layout) Base(t ledger.Tenant) string { return l.prefix + string(t) + "/" }

// Name is the name of a key's item, and a *projector.RefusedError for a key that does not
// begin with Settings.Strip.
func (l Layout) Name(t ledger.Tenant, key ledger.Key) (string, error) {
	path, ok := strings.CutPrefix(string(key), l.strip)
	if !ok || path == "" {
		return "", projector.Refuse("%s: the sink holds keys that begin with %s: route it to another sink", key, l.strip)
	}
	return l.Base(t) + path, nil
}

// Parse reads a name; ok is false if it does not name an item of a tenant. The key is
// empty if the name does not belong to a key.
func (l Layout) Parse(name string) (t ledger.Tenant, key ledger.Key, ok bool) {
	rest, ok := strings.CutPrefix(name, l.prefix)
	if !ok {
		return "", "", false
	}
	tenant, path, ok := strings.Cut(rest, "/")
	if !ok || path == "" {
		return "", "", false
	}
	t, err := ledger.ParseTenant(tenant)
	if err != nil {
		return "", "", false
	}
	if key, err = ledger.ParseKey(l.strip + path); err != nil {
		return t, "", true
	}
	return t, key, true
}
