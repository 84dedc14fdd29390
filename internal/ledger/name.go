package ledger

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
