// Package diff shows how keys differ between two states.
package diff

import (
	"github.com/stelehq/stele/internal/gateway/console/format"
	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/patch"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
)

// OnPage is how many changes a page shows.
const OnPage = 100

// Change is how a key differs between two states.
type Change struct {
	Key      string
	from, to string // JSON text; empty where the key was not set
	// places are the changes inside the value, if it was not replaced as a whole.
	places []patch.Operation
	Same   bool
	// Where the values are inherited from; nil if they are the tenant's own.
	fromBase, toBase *stelev1.BaseRef
}

func (c Change) secret() bool { return format.IsMask(c.from) || format.IsMask(c.to) }

// Mark is the command line's notation.
func (c Change) Mark() string {
	switch {
	case c.from == "" && c.to == "":
		return "·"
	case c.from == "":
		return "+"
	case c.to == "":
		return "-"
	}
	return "~"
}

// Word names the change, for screen readers.
func (c Change) Word() string {
	return map[string]string{"+": "set", "-": "deleted", "~": "changed", "·": "not set, as before"}[c.Mark()]
}

// Of compares two values of a key.
func Of(key, from, to string) Change {
	c := Change{Key: key, from: from, to: to}
	if from == "" || to == "" {
		c.Same = from == to
		return c
	}
	places, err := patch.Between(ledger.Value(from), ledger.Value(to))
	if err != nil { // then the page shows the whole values
		return c
	}
	c.Same = len(places) == 0
	if len(places) > 1 || len(places) == 1 && places[0].Path != "" {
		c.places = places
	}
	return c
}

// OfKey compares two states of a key.
func OfKey(d *stelev1.KeyDiff) Change {
	c := Of(d.Key, d.FromValue, d.ToValue)
	c.fromBase, c.toBase = d.FromBase, d.ToBase
	return c
}

// inheritance says which base the change has to do with; empty for none.
func (c Change) inheritance() string {
	switch {
	case c.toBase != nil:
		return "Inherited from " + format.BaseCommit(c.toBase) + "."
	case c.fromBase != nil && c.to != "":
		return "Overrides the value of " + format.BaseCommit(c.fromBase) + ". Later changes of the base do not reach this key."
	}
	return ""
}

// OfCommit returns the changes of a commit, with the values that they replaced.
func OfCommit(info *stelev1.CommitInfo) []Change {
	out := make([]Change, len(info.Commit.Changes))
	for i, ch := range info.Commit.Changes {
		from := ""
		if i < len(info.PreviousValues) {
			from = info.PreviousValues[i]
		}
		out[i] = Of(ch.Key, from, ch.Value)
		out[i].toBase = ch.Base
	}
	return out
}

// Tally counts changes by kind.
func Tally(changes []Change) string {
	n := map[string]int{}
	for _, c := range changes {
		n[c.Mark()]++
	}
	text := ""
	for _, k := range []struct{ mark, word string }{{"+", " set"}, {"~", " changed"}, {"-", " deleted"}, {"·", " as before"}} {
		if n[k.mark] > 0 {
			if text != "" {
				text += ", "
			}
			text += format.Thousands(uint64(n[k.mark])) + k.word
		}
	}
	return text
}

// placesShown is how many places of one value a page shows.
const placesShown = 100

// markClass is the class of a mark.
func markClass(mark string) string {
	return map[string]string{"+": "come", "-": "gone", "~": "turned"}[mark]
}
