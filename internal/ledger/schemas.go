package ledger

import (
	"context"
	"errors"
)

// ErrUnchecked: a value cannot be checked against its schema now, because it is a
// secret that cannot be decrypted. Nothing was written.
var ErrUnchecked = errors.New("the value cannot be checked against its schema")

// Schemas validate values.
type Schemas interface {
	// Admit rejects a change set before it waits for its lane, for checks that take
	// longer than a lane has time for. Its errors are those of InForce.Check.
	Admit(ctx context.Context, t Tenant, cs *ChangeSet) error
	// In are those that are in force in a state.
	In(t Tenant, s State) (InForce, error)
}

// InForce are the schemas that are in force in a tenant's state, and in those that
// change sets make of it. It is good while the state is open.
type InForce interface {
	// Check rejects changes with an *InvalidError whose fields are those of a change
	// set. plain are the changes before Config.Seal.
	Check(ctx context.Context, cs *ChangeSet, plain []Change) error
	// Add makes the last checked change set a part of the state, as of that revision.
	Add(plain []Change, at Revision)
}

// Viewer is the caller that the outcome of a check is reported to. A check reads no
// stored value that its viewer may not read, and decrypts no stored secret that it may
// not reveal: the outcome depends on nothing else. Reads are collected, so that they
// can be recorded. A check without a viewer is the process's own and reads everything.
type Viewer interface {
	// Reads reports whether the viewer may read a key.
	Reads(t Tenant, k Key) bool
	// Looked notes that a stored value under the prefix was looked at.
	Looked(t Tenant, p Prefix)
	// Opens reports whether a stored secret may be opened for the viewer, and notes that it
	// is, or that it is left unchecked.
	Opens(t Tenant, k Key) bool
	// Attaches reports whether the viewer may make base a base of t, and records that it
	// does: the values of base can be read in t from then on.
	Attaches(ctx context.Context, t, base Tenant) bool
}

// noSchemas refuses nothing.
type noSchemas struct{}

func (noSchemas) Admit(context.Context, Tenant, *ChangeSet) error   { return nil }
func (noSchemas) In(Tenant, State) (InForce, error)                 { return noSchemas{}, nil }
func (noSchemas) Check(context.Context, *ChangeSet, []Change) error { return nil }
func (noSchemas) Add([]Change, Revision)                            {}
