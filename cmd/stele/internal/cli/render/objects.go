package render

import (
	"encoding/json"

	"github.com/stelehq/stele/internal/ledger"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
)

// The objects below are what -o json and -o yaml print.

// Entry is a key and its value.
type Entry struct {
	Key      string          `json:"key"`
	Revision uint64          `json:"revision"`
	Value    json.RawMessage `json:"value"`
	Secret   bool            `json:"secret,omitempty"`
	// Base is where the value is inherited from.
	Base *Base `json:"base,omitempty"`
}

// Base is the commit of a base that set an inherited value.
type Base struct {
	Tenant   string `json:"tenant"`
	Revision uint64 `json:"revision"`
}

// BaseObject returns a base as -o json and -o yaml print it; nil for a tenant's own value.
func BaseObject(b *stelev1.BaseRef) *Base {
	if b == nil {
		return nil
	}
	return &Base{b.Tenant, b.Revision}
}

// SetBy is the revision that set a value: @42 for the tenant's own, defaults@18 for a
// base's.
func SetBy(revision uint64, b *stelev1.BaseRef) string {
	if b == nil {
		return Revision(ledger.Revision(revision).String())
	}
	return Revision(b.Tenant + ledger.Revision(b.Revision).String())
}

// EntryObject returns an entry as -o json and -o yaml print it.
func EntryObject(e *stelev1.Entry) Entry {
	return Entry{e.Key, e.Revision, json.RawMessage(e.Value), e.Secret, BaseObject(e.Base)}
}

type change struct {
	Key      string          `json:"key"`
	Value    json.RawMessage `json:"value,omitempty"`
	Delete   bool            `json:"delete,omitempty"`
	Previous uint64          `json:"previous_revision,omitempty"`
	// Was is the value before, where it was asked for.
	Was json.RawMessage `json:"was,omitempty"`
}

func changeObjects(changes []*stelev1.Change) []change {
	objects := make([]change, len(changes))
	for i, c := range changes {
		objects[i] = change{Key: c.Key, Delete: c.Delete, Previous: c.PreviousRevision, Value: json.RawMessage(c.Value)}
	}
	return objects
}
