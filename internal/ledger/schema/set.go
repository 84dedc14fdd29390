package schema

import (
	"context"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/stelehq/stele/internal/ledger"
)

// Document is a schema as it is in the ledger.
type Document struct {
	Prefix   ledger.Prefix
	Text     ledger.Value
	Revision ledger.Revision // that set it; 0 while its commit is not made
}

// Set is the schemas of a tenant in one state. It does not change; nil is an empty one.
type Set struct {
	tenant    ledger.Tenant
	documents map[ledger.Prefix]Document

	mu       sync.Mutex // guards compiled
	compiled map[ledger.Prefix]*compiled
}

// with is the set with some documents replaced; one without a text is taken away. What
// is compiled already, and has nothing to do with these, is not compiled again.
func (s *Set) with(t ledger.Tenant, changed []Document) *Set {
	next := &Set{tenant: t, documents: make(map[ledger.Prefix]Document), compiled: make(map[ledger.Prefix]*compiled)}
	if s != nil {
		next.tenant = s.tenant
		maps.Copy(next.documents, s.documents)
		s.mu.Lock()
		maps.Copy(next.compiled, s.compiled)
		s.mu.Unlock()
	}
	for _, d := range changed {
		if d.Text == "" {
			delete(next.documents, d.Prefix)
		} else {
			next.documents[d.Prefix] = d
		}
		maps.DeleteFunc(next.compiled, func(_ ledger.Prefix, c *compiled) bool { return slices.Contains(c.uses, d.Prefix) })
	}
	if len(next.documents) == 0 {
		return nil
	}
	return next
}

// same reports whether two sets have the same documents.
func (s *Set) same(other *Set) bool {
	return s != nil && other != nil && maps.Equal(s.documents, other.documents)
}

// Documents are all of the set, sorted by prefix.
func (s *Set) Documents() []Document {
	if s == nil {
		return nil
	}
	return slices.SortedFunc(maps.Values(s.documents), func(a, b Document) int { return strings.Compare(string(a.Prefix), string(b.Prefix)) })
}

// For is the document that is in force for a key: the one with the longest prefix.
func (s *Set) For(k ledger.Key) (Document, bool) {
	if s == nil {
		return Document{}, false
	}
	for p := string(k); ; {
		if d, ok := s.documents[ledger.Prefix(p)]; ok {
			return d, true
		}
		i := strings.LastIndexByte(p, '/')
		if i < 0 {
			return Document{}, false
		}
		p = p[:i]
	}
}

func (s *Set) compile(p ledger.Prefix) *compiled {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.compiled[p]
	if c == nil {
		c = compile(p, func(p ledger.Prefix) (ledger.Value, bool) {
			d, ok := s.documents[p]
			return d.Text, ok
		})
		s.compiled[p] = c
	}
	return c
}

// Tenant is the one that has set the schemas.
func (s *Set) Tenant() ledger.Tenant { return s.tenant }

// Check checks a value against the schema that is in force for its key. hidden says that
// the value is a secret. more counts the violations that found does not list. The error is
// the context's error; the context is also checked in the middle of a value.
func (s *Set) Check(ctx context.Context, k ledger.Key, v ledger.Value, hidden bool) (found []Violation, more int, err error) {
	d, ok := s.For(k)
	if !ok {
		return nil, 0, nil
	}
	c := s.compile(d.Prefix)
	if c.err != nil { // it was valid for the version of Stele that set it, a newer or an older one
		return []Violation{{Schema: Tag + string(d.Prefix) + " of " + string(s.tenant), Why: "cannot be checked, because its schema cannot be read: " + c.err.Error()}}, 0, nil
	}
	return apply(ctx, c, s.tenant, v, hidden)
}

// seenBy is the part of the set that a viewer sees: the documents for keys that it may read,
// which say what values may be there, with those that they refer to.
func (s *Set) seenBy(v ledger.Viewer) *Set {
	if s == nil || v == nil {
		return s
	}
	seen := make(map[ledger.Prefix]Document)
	for p, d := range s.documents {
		if v.Reads(s.tenant, ledger.Key(Tag+string(p))) || v.Reads(s.tenant, ledger.Key(p)) {
			seen[p] = d
		}
	}
	if len(seen) == len(s.documents) {
		return s
	}
	for p := range maps.Clone(seen) {
		for _, used := range s.compile(p).uses {
			if d, ok := s.documents[used]; ok {
				seen[used] = d
			}
		}
	}
	return &Set{tenant: s.tenant, documents: seen, compiled: make(map[ledger.Prefix]*compiled)}
}

// size is that of all documents together, in bytes.
func (s *Set) size() (n int) {
	for _, d := range s.Documents() {
		n += len(d.Text)
	}
	return n
}

// broken are the documents that are not schemas, among those that use the changed ones.
func (s *Set) broken(changed []ledger.Prefix) map[ledger.Prefix]error {
	out := make(map[ledger.Prefix]error)
	for _, d := range s.Documents() {
		if c := s.compile(d.Prefix); c.err != nil && uses(c, changed) {
			out[d.Prefix] = c.err
		}
	}
	return out
}

// touched are the prefixes under which values have another schema now than they had: the
// changed ones, and those whose schemas use one of them.
func (s *Set) touched(changed []ledger.Prefix) []ledger.Prefix {
	out := slices.Clone(changed)
	for _, d := range s.Documents() {
		if uses(s.compile(d.Prefix), changed) {
			out = append(out, d.Prefix)
		}
	}
	slices.Sort(out)
	var kept []ledger.Prefix // without those that are below another
	for _, p := range out {
		if !slices.ContainsFunc(kept, func(above ledger.Prefix) bool { return covers(above, ledger.Key(p)) }) {
			kept = append(kept, p)
		}
	}
	return kept
}

func uses(c *compiled, any []ledger.Prefix) bool {
	return slices.ContainsFunc(c.uses, func(p ledger.Prefix) bool { return slices.Contains(any, p) })
}
