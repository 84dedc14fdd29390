package render

import (
	"encoding/json"

	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
)

// The objects below are what -o json and -o yaml print.

// Entry is a key and its value.
type Entry struct {
	Key      string          `json:"key"`
	Revision uint64          `json:"revision"`
	Value    json.RawMessage `json:"value"`
	Secret   bool            `json:"secret,omitempty"`
}

// EntryObject returns an entry as -o json and -o yaml print it.
func EntryObject(e *stelev1.Entry) Entry {
	return Entry{e.Key, e.Revision, json.RawMessage(e.Value), e.Secret}
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
