// Package change describes a write to those who hear of changes.
package change

import (
	"github.com/go-json-experiment/json/jsontext"
	"github.com/stelehq/stele/internal/projector"
	"github.com/stelehq/stele/schemas/events"
)

// MaxEvent is the most bytes of an event that carries a value. Buses take more, but
// what they send it to often takes 262,144 bytes, with an envelope around the event.
const MaxEvent = 250_000

// Of returns the event of a write. It carries the value if the key's route says so.
func Of(w projector.Write) events.ConfigurationChanged {
	e := events.ConfigurationChanged{
		Tenant:           string(w.Tenant),
		Tag:              events.Tag(string(w.Key)),
		Key:              string(w.Key),
		Operation:        events.Set,
		Revision:         uint64(w.Revision),
		PreviousRevision: uint64(w.Previous),
		CommitID:         w.Commit.String(),
		Position:         w.Position,
		Time:             w.Time.UTC(),
		Author:           w.Author,
		Message:          w.Message,
	}
	switch {
	case w.Deleted():
		e.Operation = events.Delete
		return e
	case w.Base.Inherited():
		e.Base = &events.Base{Tenant: string(w.Base.Tenant), Revision: uint64(w.Base.Revision)}
	}
	if w.Route != nil && w.Route.Values {
		e.Value = jsontext.Value(w.Value)
	}
	return e
}

// Without returns the event without its value, which was left out for a reason.
func Without(e events.ConfigurationChanged, reason events.Omission) events.ConfigurationChanged {
	e.Value, e.ValueOmitted = nil, reason
	return e
}
