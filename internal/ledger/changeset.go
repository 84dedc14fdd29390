package ledger

import (
	"fmt"
	"time"
)

// Limits of one change set. A commit of the largest size, with all that surrounds its keys
// and values, is below 4 MiB, which is the longest message that gRPC clients receive by
// default.
const (
	MaxChanges   = 10_000
	MaxChangeSet = 7 << 19 // bytes of keys and values: 3.5 MiB
	MaxMessage   = 4096    // bytes
	MaxAuthor    = 256     // bytes
	MaxRequestID = 128     // bytes
)

// Change is one key set or deleted.
type Change struct {
	Key Key
	// Value is the new value; unset for a delete.
	Value  Value
	Delete bool
	// Previous is the revision that last set or deleted the key, 0 if there is none.
	// The ledger writes it.
	Previous Revision
	// Base is where readers of the tenant inherit the value from. It is set only in a
	// commit as its readers see it, never in a stored one.
	Base Source
}

// Fitting returns how many of the first changes fit into one change set; at least one.
func Fitting(changes []Change) int {
	size := 0
	for i, c := range changes {
		size += len(c.Key) + len(c.Value) + len(c.Base.Tenant)
		if i > 0 && (i == MaxChanges || size > MaxChangeSet) {
			return i
		}
	}
	return len(changes)
}

// ChangeSet is a write request. It is applied atomically.
type ChangeSet struct {
	Author string
	// ByOperator reports that the author acted as an operator from outside the tenant.
	ByOperator bool
	Message    string
	// RequestID is the author's idempotency key: a repeated request gets the outcome of the
	// first one, and a request with the same id and other content is a *RequestError. It is
	// optional.
	RequestID string
	// requestHash is set if the changes differ from those in the request.
	requestHash   []byte
	Changes       []Change
	Preconditions []Precondition
	// ExpectedHead, when set, must be the tenant's head.
	ExpectedHead *Revision
	// ExpectedHeadID, unless it is empty, is what the head's id must begin with.
	ExpectedHeadID []byte
	// Import, when set, keeps the time of a change made elsewhere.
	Import *Import
	// Origin, if set, is where the changes come from.
	Origin Origin
	// AllowInvalid allows schemas that existing values violate. The values in the change set
	// itself must still satisfy them.
	AllowInvalid bool
	// Viewer is the caller that gets the outcome; nil for the process itself.
	Viewer Viewer
	// AllowEmpty writes all changes, even those without effect. Otherwise changes without
	// effect are left out, and nothing is written if none remain.
	AllowEmpty bool
	// Yields lets the change sets of other writers go first: it waits for a place in one of
	// their records, or until the journal is idle.
	Yields bool
}

// Restores reports whether the changes are stored values, whose secrets are already sealed.
func (cs *ChangeSet) Restores() bool { return restores(cs.Origin) }

// Precondition is a condition on a key that must hold when the change set is applied.
type Precondition struct {
	Key Key
	// Revision is the revision that last set the key; 0 if the key must be absent.
	Revision Revision
	// ID, unless it is empty, is what the id of the commit Revision must begin with.
	ID []byte
}

// Import marks a change set that was made elsewhere; its Author is the source's.
type Import struct {
	// Time of the change at its source: not before the tenant's head, not in
	// the future.
	Time time.Time
	// Importer is the subject that imported it.
	Importer string
}

// validate makes the checks that need no state: limits, no key twice, and no key that callers
// cannot set.
func (cs *ChangeSet) validate(t Tenant) error {
	var inv InvalidError
	switch n := len(cs.Changes); {
	case n == 0 && !resetsClock(cs.Origin):
		inv.Add("changes", "a change set needs at least one change")
	case n > MaxChanges:
		inv.Add("changes", fmt.Sprintf("%d changes are more than %d: split the change set", n, MaxChanges))
	}
	if n := len(cs.Message); n > MaxMessage {
		inv.Add("message", fmt.Sprintf("%d bytes are more than %d", n, MaxMessage))
	}
	if n := len(cs.Author); n > MaxAuthor {
		inv.Add("author", fmt.Sprintf("%d bytes are more than %d", n, MaxAuthor))
	}
	if n := len(cs.RequestID); n > MaxRequestID {
		inv.Add("request_id", fmt.Sprintf("%d bytes are more than %d", n, MaxRequestID))
	}
	size := 0
	var first map[Key]int // of several changes
	if len(cs.Changes) > 1 {
		first = make(map[Key]int, len(cs.Changes))
	}
	for i, c := range cs.Changes {
		size += len(c.Key) + len(c.Value)
		if c.Delete != (c.Value == "") {
			inv.Add(fmt.Sprintf("changes[%d]", i), "set a value or delete the key, one of the two")
		}
		if cs.Viewer != nil && t.setByProcesses(c.Key) {
			inv.Add(fmt.Sprintf("changes[%d].key", i), fmt.Sprintf("%s in %s: only the ledger's processes set and delete this key", c.Key, t))
		}
		if j, twice := first[c.Key]; twice {
			inv.Add(fmt.Sprintf("changes[%d].key", i), fmt.Sprintf("%s is changed twice, first in changes[%d]: a key may occur once", c.Key, j))
			continue
		}
		if first != nil {
			first[c.Key] = i
		}
	}
	if size > MaxChangeSet {
		inv.Add("changes", fmt.Sprintf("keys and values have %d bytes, more than %d: split the change set", size, MaxChangeSet))
	}
	return inv.OrNil()
}
