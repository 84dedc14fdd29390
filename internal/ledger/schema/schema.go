// Package schema validates values with JSON Schemas (2020-12), one per prefix of keys.
//
// A schema is itself an ordinary setting: the value of _schema/PREFIX, so it has a
// history, a blame and a rollback. It applies to the key PREFIX and to all keys below
// it, unless a longer prefix has one. In the ledger's own tenant it applies to every
// tenant, in another tenant to that one; a value must satisfy the schema of each that
// is in force for its key.
//
// A schema refers to other schemas of the same tenant, by their prefix:
//
//	{"$ref": "stele:///tenantconfig/units#/$defs/milliseconds"}
//
// or relative to the prefix that refers to it. Nothing else is ever read. Documents and
// values come from any caller with permission to write, so both are bounded: a document
// in size, depth, patterns and numbers, and a check in the steps that it may take. A
// library reads and compiles the documents; their evaluation is implemented here,
// because the library's has no bound.
//
// The lane checks a change set against the schemas that the ones before it leave, and
// its own, in the tenant's state at its head: no commit violates a schema of its tenant
// that is in force when it is made. The ledger's own tenant is in another lane, so its
// schemas are those that this process's replica has.
package schema

import (
	"strings"

	"github.com/stelehq/stele/internal/ledger"
)

// Tag of the keys that hold schemas.
const Tag = "_schema/"

// Limits of documents, and of the number of reported violations.
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

// covers reports whether the prefix selects the key: it is the key, a folder of it, or
// nothing.
func covers(prefix ledger.Prefix, k ledger.Key) bool {
	return ledger.Pattern(prefix).Match(k)
}

// Violation is a place in a value that violates a schema.
type Violation struct {
	// Pointer to the place (RFC 6901); empty for the value as a whole.
	Pointer string
	// Rule is the violated keyword, and Schema its place, e.g.
	// _schema/tenantconfig/checkout#/properties/timeout_ms/maximum of acme.
	Rule, Schema string
	// Why describes the violation.
	Why string
	// Found is the value at that place, shortened; secret.Mask in a secret.
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
