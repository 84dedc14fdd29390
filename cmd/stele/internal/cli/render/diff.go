package render

import (
	"cmp"
	"encoding/json"
	"fmt"

	"github.com/stelehq/stele/cmd/stele/internal/output"
	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/patch"
	"github.com/stelehq/stele/internal/ledger/secret"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
)

// DiffTally counts what became of keys.
type DiffTally struct{ set, changed, deleted int }

// Add counts one key.
func (t *DiffTally) Add(d *stelev1.KeyDiff) {
	switch {
	case d.FromValue == "":
		t.set++
	case d.ToValue == "":
		t.deleted++
	default:
		t.changed++
	}
}

func (t DiffTally) String() string {
	return fmt.Sprintf("%d set, %d changed, %d deleted", t.set, t.changed, t.deleted)
}

// Backwards is the diff in the other direction.
func Backwards(d *stelev1.KeyDiff) *stelev1.KeyDiff {
	return &stelev1.KeyDiff{
		Key: d.Key, FromValue: d.ToValue, FromRevision: d.ToRevision, ToValue: d.FromValue, ToRevision: d.FromRevision,
	}
}

// PrintDiff prints the change of a key for users: in a line, and for an array or an
// object with one line per changed place inside of it. The note ends the first line.
func PrintDiff(s *output.Printer, d *stelev1.KeyDiff, indent, note string) error {
	lines, err := diffLines(d)
	if err != nil {
		return err
	}
	if note != "" {
		lines[0] += "  " + note
	}
	for _, line := range lines {
		if err := s.Printf("%s%s\n", indent, line); err != nil {
			return err
		}
	}
	return nil
}

func diffLines(d *stelev1.KeyDiff) ([]string, error) {
	switch {
	case d.FromValue == "" && d.ToValue == "":
		return []string{output.Bad.Render("-") + " " + d.Key + ", was not set"}, nil
	case d.FromValue == "" || d.ToValue == "":
		return []string{placeLine(d.Key, d.FromValue, d.ToValue)}, nil
	}
	places, err := patch.Between(ledger.Value(d.FromValue), ledger.Value(d.ToValue))
	if err != nil {
		return nil, err
	}
	switch {
	case len(places) == 0 && d.ToValue == string(secret.Mask): // the answer does not show whether it is the same secret
		return []string{placeLine(d.Key, d.ToValue, d.ToValue)}, nil
	case len(places) == 0:
		return []string{placeLine(d.Key, d.ToValue, d.ToValue) + ", as before"}, nil
	case len(places) == 1 && places[0].Path == "":
		return []string{placeLine(d.Key, d.FromValue, d.ToValue)}, nil
	}
	lines := []string{output.Revision.Render("~") + " " + d.Key}
	for _, p := range places {
		lines = append(lines, "    "+placeLine(output.Plain(p.Path), string(p.Was), string(p.Value)))
	}
	return lines, nil
}

// placeLine prints the change of a key, or of a place in its value.
func placeLine(name, from, to string) string {
	switch {
	case from == "":
		return fmt.Sprintf("%s %s = %s", output.Good.Render("+"), name, to)
	case to == "":
		return fmt.Sprintf("%s %s = %s", output.Bad.Render("-"), name, from)
	case from == to:
		return fmt.Sprintf("%s %s = %s", output.Revision.Render("~"), name, to)
	}
	return fmt.Sprintf("%s %s = %s -> %s", output.Revision.Render("~"), name, from, to)
}

// span is the revisions that last touched a key in two states, for users: only one if
// the other state knows no commit of the key.
func span(d *stelev1.KeyDiff) string {
	from, to := ledger.Revision(d.FromRevision).String(), ledger.Revision(d.ToRevision).String()
	switch {
	case d.FromRevision == 0:
		return Revision(to)
	case d.ToRevision == 0:
		return Revision(from)
	}
	return Revision(from + ".." + to)
}

// InheritedFrom names the base that the newer value of a key is inherited from, or else the
// older one; empty if both are the tenant's own.
func InheritedFrom(d *stelev1.KeyDiff) string {
	b := cmp.Or(d.ToBase, d.FromBase)
	if b == nil {
		return ""
	}
	return SetBy(d.ToRevision, b)
}

// KeyDiff is a key in two states, for programs.
type KeyDiff struct {
	Key  string   `json:"key"`
	From keyState `json:"from"`
	To   keyState `json:"to"`
	// Patch makes the second value of the first, where the key has both.
	Patch []patch.Operation `json:"patch,omitempty"`
}

// keyState is a key in one state: the revision that last set or deleted it, 0 if there
// is none, and its value unless it is not set.
type keyState struct {
	Revision uint64          `json:"revision"`
	Value    json.RawMessage `json:"value,omitempty"`
	Base     *Base           `json:"base,omitempty"`
}

// DiffObject returns a key in two states as -o json and -o yaml print it.
func DiffObject(d *stelev1.KeyDiff) (KeyDiff, error) {
	o := KeyDiff{
		Key:  d.Key,
		From: keyState{d.FromRevision, json.RawMessage(d.FromValue), BaseObject(d.FromBase)},
		To:   keyState{d.ToRevision, json.RawMessage(d.ToValue), BaseObject(d.ToBase)},
	}
	if d.FromValue == "" || d.ToValue == "" {
		return o, nil
	}
	var err error
	o.Patch, err = patch.Between(ledger.Value(d.FromValue), ledger.Value(d.ToValue))
	return o, err
}

// WriteDiff prints what became of a key in the printer's format.
func WriteDiff(s *output.Printer, d *stelev1.KeyDiff) error {
	if s.Format == "text" {
		return PrintDiff(s, d, "", span(d))
	}
	o, err := DiffObject(d)
	if err != nil {
		return err
	}
	return s.Object(o)
}
