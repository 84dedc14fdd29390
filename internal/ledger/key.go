package ledger

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/stelehq/stele/internal/text"
)

// MaxKey is the longest key, in bytes.
const MaxKey = 512

// maxTenant is the longest tenant name, in bytes.
const maxTenant = 63

// Tenant names whose configuration something is: [a-z0-9][a-z0-9_-]{0,62}.
// Names that begin with "_" are the ledger's own.
type Tenant string

// System is the ledger's own tenant: routes, policy and schemas.
const System Tenant = "_system"

// ParseTenant checks a tenant's name. The ledger's own tenants are valid as well; a
// caller that accepts a tenant from a request must check Reserved.
func ParseTenant(s string) (Tenant, error) {
	switch {
	case s == "":
		return "", fmt.Errorf("tenant is empty")
	case len(s) > maxTenant:
		return "", fmt.Errorf("tenant has %d bytes, more than %d", len(s), maxTenant)
	}
	for i := range len(s) {
		c := s[i]
		switch {
		case 'a' <= c && c <= 'z', '0' <= c && c <= '9', c == '_':
		case c == '-' && i > 0:
		default:
			return "", fmt.Errorf("tenant %q has %s: use a-z, 0-9, \"_\" and, after the first character, \"-\"", clip(s), characterAt(s, i))
		}
	}
	return Tenant(s), nil
}

// Reserved reports whether the tenant is the ledger's own.
func (t Tenant) Reserved() bool { return strings.HasPrefix(string(t), "_") }

// Key names one setting: tag/path, 1 to MaxKey bytes of [A-Za-z0-9._/-] with no
// empty, "." or ".." segment.
type Key string

// ParseKey checks a key.
func ParseKey(s string) (Key, error) {
	switch {
	case s == "":
		return "", fmt.Errorf("key is empty")
	case len(s) > MaxKey:
		return "", fmt.Errorf("key %q has %d bytes, more than %d", clip(s), len(s), MaxKey)
	}
	start := 0
	for i := 0; i <= len(s); i++ {
		if i < len(s) && s[i] != '/' {
			if !keyByte(s[i]) {
				return "", fmt.Errorf("key %q has %s: use A-Z, a-z, 0-9, \".\", \"_\", \"-\" and \"/\"", clip(s), characterAt(s, i))
			}
			continue
		}
		switch s[start:i] {
		case "", ".", "..":
			return "", fmt.Errorf("key %q has the segment %q at character %d: a segment is not empty, \".\" or \"..\"", clip(s), s[start:i], start+1)
		}
		start = i + 1
	}
	return Key(s), nil
}

// Reserved reports whether the key's tag is one of the ledger's own, which begin with "_".
// They go to no sink, and are never secret.
func (k Key) Reserved() bool { return strings.HasPrefix(string(k), "_") }

// Keys of the ledger's own tenant that only the ledger's processes set.
const (
	// ReadsDigest binds the recorded reads to the history.
	ReadsDigest Key = "reads/digest"
	// Shredded is followed by the tenant and the id of a key that was shredded.
	Shredded Prefix = "shred/"
)

// setByProcesses reports whether only the ledger's processes set a key of the tenant.
func (t Tenant) setByProcesses(k Key) bool {
	return t == System && (k == ReadsDigest || Shredded.Match(k))
}

// Prefix selects the keys that begin with it, byte by byte; the empty prefix
// selects all.
type Prefix string

// ParsePrefix checks a prefix. It need not end at a segment's end.
func ParsePrefix(s string) (Prefix, error) {
	if len(s) > MaxKey {
		return "", fmt.Errorf("prefix %q has %d bytes, more than %d", clip(s), len(s), MaxKey)
	}
	for i := range len(s) {
		if !keyByte(s[i]) && s[i] != '/' {
			return "", fmt.Errorf("prefix %q has %s: use A-Z, a-z, 0-9, \".\", \"_\", \"-\" and \"/\"", clip(s), characterAt(s, i))
		}
	}
	return Prefix(s), nil
}

// Match reports whether the key begins with the prefix.
func (p Prefix) Match(k Key) bool { return strings.HasPrefix(string(k), string(p)) }

// Covers reports whether what is done to all keys of the prefix includes a key that begins
// with it: the ledger's own settings, for example schemas, only if the prefix names them.
func (p Prefix) Covers(k Key) bool { return !k.Reserved() || Key(p).Reserved() }

func keyByte(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '.' || c == '_' || c == '-'
}

// characterAt describes the character that begins at byte i: itself, and its position
// counted from 1. A byte that is not UTF-8 is written as \xff.
func characterAt(s string, i int) string {
	_, size := utf8.DecodeRuneInString(s[i:])
	return fmt.Sprintf("%q at character %d", s[i:i+size], utf8.RuneCountInString(s[:i])+1)
}

// clip keeps a hostile name from filling an error message.
func clip(s string) string { return text.Clip(s, 80) }
