package ledger

import (
	"fmt"
	"strings"
)

// Pattern selects keys as users write a prefix, by whole segments:
//
//	a/b     the key a/b and all keys below it, but not a/bc
//	a/b/    the keys below a/b
//	a/b*    all keys that begin with the bytes a/b
//	        all keys
type Pattern string

// ParsePattern checks a pattern.
func ParsePattern(s string) (Pattern, error) {
	if _, err := ParsePrefix(strings.TrimSuffix(s, "*")); err != nil {
		if strings.Contains(strings.TrimSuffix(s, "*"), "*") {
			return "", fmt.Errorf(`prefix %q: "*" stands at the end only`, clip(s))
		}
		return "", err
	}
	return Pattern(s), nil
}

// Match reports whether the pattern selects the key.
func (p Pattern) Match(k Key) bool {
	rest, ok := strings.CutPrefix(string(k), string(p.Range()))
	return ok && (p.whole() || rest == "" || rest[0] == '/')
}

// Range is the longest prefix that all selected keys begin with, byte by byte. Keys that
// begin with it are not all selected.
func (p Pattern) Range() Prefix { return Prefix(strings.TrimSuffix(string(p), "*")) }

// whole reports whether all keys that begin with Range are selected.
func (p Pattern) whole() bool {
	return p == "" || strings.HasSuffix(string(p), "*") || strings.HasSuffix(string(p), "/")
}

// Covers reports whether the pattern selects all keys that q selects. Of two patterns
// that select a common key, one covers the other.
func (p Pattern) Covers(q Pattern) bool {
	rest, ok := strings.CutPrefix(string(q.Range()), string(p.Range()))
	return ok && (p.whole() || rest == "" && !q.whole() || rest != "" && rest[0] == '/')
}

// Split returns the single key that the pattern selects, if any, and the prefix of all
// other keys that it selects.
func (p Pattern) Split() (key Key, below Prefix) {
	if p.whole() {
		return "", p.Range()
	}
	return Key(p), Prefix(p) + "/"
}

// Name selects one key, or the keys of a pattern that does not select a key and the keys
// below it:
//
//	a/b     the key a/b
//	a/b/    the keys below a/b
//	a/b*    all keys that begin with the bytes a/b
type Name string

// Names are the names that select the keys of the pattern; none if it selects all.
func (p Pattern) Names() []Name {
	switch {
	case p == "":
		return nil
	case p.whole():
		return []Name{Name(p)}
	}
	return []Name{Name(p), Name(p) + "/"}
}

// IsKey reports whether the name selects one key.
func (n Name) IsKey() bool { return !Pattern(n).whole() }

// Match reports whether the name selects the key.
func (n Name) Match(k Key) bool {
	if n.IsKey() {
		return k == Key(n)
	}
	return Pattern(n).Match(k)
}

// Range is the longest prefix that all selected keys begin with, byte by byte.
func (n Name) Range() Prefix { return Pattern(n).Range() }
