// Package migrate reads configurations that are kept elsewhere as lines for the
// importer.
//
// A Source yields steps, oldest first: the changes that were made together, with their
// time and author. A Reader maps each name to a key of the ledger by a Mapping and
// makes a line of every tenant's part of a step. Names and values that the ledger would
// reject are reported with the reason before anything is written: an import reads the
// source once for that, and a second time for the lines, so a Source yields the same
// steps each time.
//
// Nothing is written twice. A step's lines have request ids made from the source's name
// and the step's id; a step that is a state becomes the difference to the ledger's
// state.
package migrate

import (
	"context"
	"iter"
	"time"

	"github.com/stelehq/stele/internal/ledger"
)

// Source is a history, or a state, that is kept elsewhere.
type Source interface {
	// Name identifies this source, wherever it is read; it is in the message of commits
	// whose step does not have one.
	Name() string
	// Steps yields the steps, oldest first, and the same ones each time: what comes
	// in meanwhile is left for the next import. An error ends it.
	Steps(context.Context) iter.Seq2[Step, error]
}

// Step is what changed at one time in a source.
type Step struct {
	// ID names the step within its source permanently: "revision 42".
	ID string
	// Number is the step's, in a source that counts them and forgets the oldest; 0
	// elsewhere. From such a source, only steps after the newest one that the ledger has
	// are imported.
	Number uint64
	// Time and Author are empty in a source that keeps none: the commit is then
	// the importer's, of now.
	Time time.Time
	// Claimed is the time that the source has, if the source itself does not believe it
	// and Time is another; zero otherwise.
	Claimed time.Time
	Author  string
	Message string
	// State is set if Items are all that there is, not what changed. Only the first
	// step may be one.
	State bool
	Items []Item
}

// place is the step's id for a report; empty for the only state of a source without a history.
func (s Step) place() string {
	if s.State && s.Number == 0 {
		return ""
	}
	return s.ID
}

// Item is one name that is set or deleted.
type Item struct {
	Name string
	// Value is text: text that is JSON stays JSON, any other becomes a string.
	Value string
	// JSON is set if the source's values are JSON, and Value is one.
	JSON   bool
	Delete bool
	// Secret reports that the source keeps the value encrypted: it is not written in
	// plain text into a ledger that keeps it permanently.
	Secret bool
	// Fault is why the source could not read the value; nil when it could.
	Fault error
	// Remark only describes how the source has read the name's values, if that is not
	// certain.
	Remark string
	// Repaired means only that the source can again read an item that had a Fault.
	Repaired bool
}

// Ledger is what a Reader asks the ledger for.
type Ledger interface {
	// Head is the tenant's newest commit's revision and time; zero without one.
	Head(context.Context, ledger.Tenant) (ledger.Revision, time.Time, error)
	// Entries are the tenant's keys below the prefix, secrets revealed.
	Entries(context.Context, ledger.Tenant, ledger.Prefix) (map[ledger.Key]ledger.Value, error)
	// Message is the newest commit's whose message begins with the text; empty
	// without one.
	Message(ctx context.Context, t ledger.Tenant, begins string) (string, error)
}
