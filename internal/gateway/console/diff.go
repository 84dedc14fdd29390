package console

import (
	"unicode/utf8"

	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/patch"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
)

// keyChange is what became of a key between two states.
type keyChange struct {
	key      string
	from, to string // JSON text; empty where the key was not set
	// places are the changes inside the value, if it was not replaced as a whole.
	places []patch.Operation
	same   bool
}

// mark is the command line's notation.
func (c keyChange) mark() string {
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

// word says it, for those who don't see the mark.
func (c keyChange) word() string {
	return map[string]string{"+": "set", "-": "deleted", "~": "changed", "·": "not set before, either"}[c.mark()]
}

// changeOf compares two values of a key.
func changeOf(key, from, to string) keyChange {
	c := keyChange{key: key, from: from, to: to}
	if from == "" || to == "" {
		c.same = from == to
		return c
	}
	places, err := patch.Between(ledger.Value(from), ledger.Value(to))
	if err != nil { // then there is no more to tell than the values
		return c
	}
	c.same = len(places) == 0
	if len(places) > 1 || len(places) == 1 && places[0].Path != "" {
		c.places = places
	}
	return c
}

// changesOf are those of a commit, with the values that they replaced.
func changesOf(info *stelev1.CommitInfo) []keyChange {
	out := make([]keyChange, len(info.Commit.Changes))
	for i, ch := range info.Commit.Changes {
		from := ""
		if i < len(info.PreviousValues) {
			from = info.PreviousValues[i]
		}
		out[i] = changeOf(ch.Key, from, ch.Value)
	}
	return out
}

// tally counts what became of keys.
func tally(changes []keyChange) string {
	n := map[string]int{}
	for _, c := range changes {
		n[c.mark()]++
	}
	text := ""
	for _, k := range []struct{ mark, word string }{{"+", " set"}, {"~", " changed"}, {"-", " deleted"}, {"·", " as before"}} {
		if n[k.mark] > 0 {
			if text != "" {
				text += ", "
			}
			text += thousands(uint64(n[k.mark])) + k.word
		}
	}
	return text
}

// placesShown is how many places of one value a page shows.
const placesShown = 100

func markClass(mark string) string {
	return map[string]string{"+": "come", "-": "gone", "~": "turned"}[mark]
}

// oneLine is the longest value, in bytes, that stays in one line.
const oneLine = 72

// sideValue is how much of one value of a pair is shown, in bytes.
const sideValue = 4 << 10

// leadIn is how much of what two values have in common is shown before the first
// difference, in bytes.
const leadIn = 256

// sides is what became of a value, each side as much as a page has room for. If either
// is longer, both begin shortly before they differ.
func sides(was, is string) (string, string) {
	was, is = valueLayout(was), valueLayout(is)
	if max(len(was), len(is)) <= sideValue {
		return was, is
	}
	from := 0
	if was != "" && is != "" {
		for from < min(len(was), len(is)) && was[from] == is[from] {
			from++
		}
		from = max(0, from-leadIn)
	}
	return excerpt(was, from), excerpt(is, from)
}

// valueLayout is a value as a page shows it: in one line if it is short.
func valueLayout(value string) string {
	if len(value) <= oneLine {
		return visible(value)
	}
	return pretty(value)
}

// excerpt is a text from a byte on, with a note about the omitted part.
func excerpt(s string, from int) string {
	for from < len(s) && !utf8.RuneStart(s[from]) {
		from++
	}
	from = min(from, len(s))
	out, cut := begin(s[from:], sideValue)
	if from > 0 {
		out = "… from byte " + thousands(uint64(from)) + "\n" + out
	}
	if cut {
		out += "\n… " + sizeOf(len(s)) + " in all"
	}
	return out
}
