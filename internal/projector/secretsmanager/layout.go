package secretsmanager

import (
	"fmt"
	"strings"

	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/projector"
)

// naming is the part of the settings that says what secrets are called.
type naming struct {
	// Prefix is what the names of all secrets begin with, before the tenant; empty means
	// "stele". It may have slashes in it.
	Prefix string `json:"prefix,omitzero"`
	// Strip is a common prefix of all keys of the sink that names leave out; a key that
	// begins otherwise is refused, so that no two keys have the same name.
	Strip string `json:"strip,omitzero"`
}

const (
	// maxName is how many characters a secret's name has at most.
	maxName = 512
	// maxValue is how many bytes a secret has at most.
	maxValue = 65536
)

// layout makes names of keys: PREFIX/TENANT/KEY. Keys have no characters that names do
// not have.
type layout struct{ prefix, strip string }

func newLayout(n naming) (layout, error) {
	l := layout{prefix: "stele/", strip: n.Strip}
	if n.Prefix != "" {
		if _, err := ledger.ParseKey(n.Prefix); err != nil {
			return l, fmt.Errorf("prefix: %w", err)
		}
		l.prefix = n.Prefix + "/"
	}
	if _, err := ledger.ParsePrefix(l.strip); err != nil {
		return l, fmt.Errorf("strip: %w", err)
	}
	return l, nil
}

// base is what the names of a tenant's secrets begin with.
func (l layout) base(t ledger.Tenant) string { return l.prefix + string(t) + "/" }

// name is a *projector.RefusedError for a key that no secret can be named for.
func (l layout) name(t ledger.Tenant, key ledger.Key) (string, error) {
	path, ok := strings.CutPrefix(string(key), l.strip)
	if !ok || path == "" {
		return "", projector.Refuse("%s: the sink holds keys that begin with %s: route it to another sink", key, l.strip)
	}
	name := l.base(t) + path
	if len(name) > maxName {
		return "", projector.Refuse("the secret's name would have %d characters, and AWS allows %d: rename the key, or use a shorter prefix", len(name), maxName)
	}
	return name, nil
}

// parse reads a name; ok is false if it is not one of a tenant's secrets. The key is
// empty if the name does not belong to a key.
func (l layout) parse(name string) (t ledger.Tenant, key ledger.Key, ok bool) {
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
