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
	Strip Strip `json:"strip,omitzero"`
}

// Strip is a common prefix of all keys of a sink that names leave out.
type Strip string

// Check checks the setting.
func (s Strip) Check() error {
	if _, err := ledger.ParsePrefix(string(s)); err != nil {
		return fmt.Errorf("strip: %w", err)
	}
	return nil
}

// Cut is the rest of a key, and a *projector.RefusedError for a key that does not begin with
// the prefix.
func (s Strip) Cut(key ledger.Key) (string, error) {
	rest, ok := strings.CutPrefix(string(key), string(s))
	if !ok || rest == "" {
		return "", projector.Refuse("%s: the sink holds keys that begin with %s: route it to another sink", key, s)
	}
	return rest, nil
}

// Key is the key with this rest; empty if there is no such key.
func (s Strip) Key(rest string) ledger.Key {
	key, err := ledger.ParseKey(string(s) + rest)
	if err != nil {
		return ""
	}
	return key
}

// Layout makes names of keys.
type Layout struct {
	prefix string
	strip  Strip
}

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
	return l, l.strip.Check()
}

// Base begins the names of a tenant's items.
func (l Layout) Base(t ledger.Tenant) string { return l.prefix + string(t) + "/" }

// Name is the name of a key's item, and a *projector.RefusedError for a key that does not
// begin with Settings.Strip.
func (l Layout) Name(t ledger.Tenant, key ledger.Key) (string, error) {
	path, err := l.strip.Cut(key)
	if err != nil {
		return "", err
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
	return t, l.strip.Key(path), true
}
