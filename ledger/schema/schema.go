// Package schema holds values against JSON Schemas (2020-12), one a prefix of keys.
//
// A schema is a setting like any other: the value of _schema/PREFIX, so it has a
// history, a blame and a way back. It holds for the key PREFIX and for all below it,
// unless a longer prefix has one. In the ledger's own tenant it holds for every tenant,
// in another tenant for that one; a value must satisfy the one of each that is in force
// for its key.
//
// What a schema refers to is another of the same tenant's, by its prefix:
//
//	{"$ref": "stele:///tenantconfig/units#/$defs/milliseconds"}
//
// or relative to the prefix that refers to it. Nothing else is ever read. Documents and
// values come from anybody who may write, so both are bounded: a document in size,
// depth, patterns and numbers, and a check in the steps that it may take. A library
// reads and compiles the documents; what is applied to values is here, because its own
// takes as long as a document wants it to.
//
// The lane checks a change set against the schemas that the ones before it leave, and
// its own, in the tenant's state at its head: no commit breaks a schema of its tenant
// that is in force when it is made. The ledger's own tenant is in another lane, so its
// schemas are those that this process's replica has.
package schema

import (
	"strings"

	"github.com/stelehq/stele/ledger"
)

// Tag of the keys that hold schemas.
const Tag = "_schema/"

// Limits of documents, and of what is told of those that are broken.
const (
	MaxDocument = 64 << 10 // bytes
	MaxSet      = 1 << 20  // bytes of all of a tenant's documents
	maxDepth    = 100      // objects and arrays in one another
	maxNodes    = 4000     // values in a document
	maxReport   = 20       // violations, or keys, in an answer
)

// KeyOf is the key of a prefix's schema.
func KeyOf(prefix ledger.Prefix) (ledger.Key, error) {
	return ledger.ParseKey(Tag + strings.TrimSuffix(string(prefix), "/"))
}

// PrefixOf is the prefix whose schema a key holds; ok is false for all other keys.
func PrefixOf(k ledger.Key) (prefix ledger.Prefix, ok bool) {
	p, ok := strings.CutPrefix(string(k), Tag)
	return ledger.Prefix(p), ok
}

// covers says whether the prefix selects the key: it is the key, a folder of it, or
// nothing.
func covers(prefix ledger.Prefix, k ledger.Key) bool {
	return ledger.Pattern(prefix).Match(k)
}

// Violation is a place in a value that is not as a schema wants it.
type Violation struct {
	// Pointer to the place (RFC 6901); empty for the value as a whole.
	Pointer string
	// Rule is the keyword that is broken, and Schema where it stands, e.g.
	// _schema/tenantconfig/checkout#/properties/timeout_ms/maximum of acme.
	Rule, Schema string
	// Why says what is wrong there.
	Why string
	// Found is what the value has there, shortened; secret.Mask in a secret.
	Found string
}

func (v Violation) String() string {
	at := "at " + v.Pointer
	if v.Pointer == "" {
		at = "the value"
	}
	text := at + " " + v.Why
	if v.Found != "" {
		text += ", and is " + v.Found
	}
	return text + " (" + v.Schema + ")"
}
