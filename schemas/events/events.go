// Package events is what Stele says on event buses and to webhooks. Each kind of
// event has a struct, and a JSON Schema for those who read it in another language.
package events

import (
	_ "embed"
	"errors"
	"fmt"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// ConfigurationChangedType is the detail-type of an event whose detail is a
// ConfigurationChanged.
const ConfigurationChangedType = "Configuration Changed"

// CloudEventType is the type of a CloudEvent whose data is a ConfigurationChanged.
const CloudEventType = "dev.stele.configuration.changed"

// ConfigurationChangedSchema is the JSON Schema (2020-12) of a
// ConfigurationChanged.
//
//go:embed configuration-changed.json
var ConfigurationChangedSchema []byte

// ConfigurationChanged says that a key was set or deleted. It may come more than
// once; CommitID and Position together name the change, and so do Tenant,
// Revision and Position within one ledger.
type ConfigurationChanged struct {
	Tenant string `json:"tenant"`
	// Tag is the beginning of the key: see Tag.
	Tag       string    `json:"tag"`
	Key       string    `json:"key"`
	Operation Operation `json:"operation"`
	// Revision is the number of the commit within its tenant. An event with a lower
	// revision than one seen of the key is old.
	Revision uint64 `json:"revision"`
	// PreviousRevision had last set or deleted the key; 0 when nothing had.
	PreviousRevision uint64 `json:"previous_revision"`
	// CommitID is in hexadecimal.
	CommitID string `json:"commit_id"`
	// Position is the change's place in the commit, from 0.
	Position int `json:"position"`
	// Base set the value, and the tenant inherits it; nil for the tenant's own value and
	// for a deletion.
	Base *Base `json:"base,omitzero"`
	// Time is the commit's.
	Time    time.Time `json:"time"`
	Author  string    `json:"author,omitzero"`
	Message string    `json:"message,omitzero"`
	// Value is the new value of the key, if the route includes values in events.
	Value jsontext.Value `json:"value,omitzero"`
	// ValueOmitted says why an event that should carry the value does not. Ask a
	// gateway for it.
	ValueOmitted Omission `json:"value_omitted,omitzero"`
}

// Base is the tenant that an inherited value comes from, and its revision that set the value.
type Base struct {
	Tenant   string `json:"tenant"`
	Revision uint64 `json:"revision"`
}

// Operation is what happened to a key.
type Operation string

const (
	Set    Operation = "set"
	Delete Operation = "delete"
)

// Omission is why a value is not in an event.
type Omission string

const (
	TooLarge Omission = "size"    // the event would be larger than buses and targets take
	Refused  Omission = "refused" // the bus would reject it, e.g. for how deep it is nested
)

// ParseConfigurationChanged reads a detail. Unknown members come from a newer version,
// and are ignored.
func ParseConfigurationChanged(detail []byte) (ConfigurationChanged, error) {
	var e ConfigurationChanged
	err := json.Unmarshal(detail, &e)
	if err == nil {
		err = e.check()
	}
	if err != nil {
		return e, fmt.Errorf("read the detail of %q: %w", ConfigurationChangedType, err)
	}
	return e, nil
}

func (e ConfigurationChanged) check() error {
	switch {
	case e.Tenant == "":
		return errors.New("it has no tenant")
	case e.Key == "":
		return errors.New("it has no key")
	case e.Revision == 0:
		return errors.New("it has no revision")
	case e.Operation != Set && e.Operation != Delete:
		return fmt.Errorf("the operation is %q, neither %q nor %q", e.Operation, Set, Delete)
	}
	return nil
}
