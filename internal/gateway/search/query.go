// Package search finds the keys whose name, value or member of a value matches a
// pattern or a condition. It limits what one search costs, and never looks into secrets.
package search

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/schema"
	"github.com/stelehq/stele/internal/ledger/secret"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
)

// maxProgram is the size of the largest pattern, in instructions. The maximal cost of a
// match is this size times the length of the text.
const maxProgram = 500

// maxText is how many bytes of a match are shown.
const maxText = 200

// Query is what a search looks for, and what it has cost. It belongs to one goroutine.
type Query struct {
	pattern *regexp.Regexp // nil matches everything
	size    int            // of the pattern, in instructions
	in      stelev1.SearchRequest_In
	path    jsontext.Pointer
	where   *condition // nil is always true
	steps   int
}

// Outcome is what became of one key.
type Outcome int

const (
	// NoMatch: the key was searched and does not match.
	NoMatch Outcome = iota
	// Match: the key matches.
	Match
	// Skipped: the value is a secret, which is not searched.
	Skipped
	// NotComparable: the condition does not apply to the value.
	NotComparable
)

// Compile checks a request and prepares its search. Errors are a *ledger.InvalidError.
func Compile(req *stelev1.SearchRequest) (*Query, error) {
	if req.Pattern == "" && req.Where == "" {
		return nil, ledger.Invalid("pattern", "name a pattern or a condition")
	}
	q := &Query{in: req.In, path: jsontext.Pointer(req.Path), size: 1}
	if !q.path.IsValid() {
		return nil, ledger.Invalid("path", "it is not a JSON Pointer (RFC 6901), for example /limits/timeout_ms")
	}
	if q.path != "" && q.in == stelev1.SearchRequest_IN_KEYS {
		return nil, ledger.Invalid("path", "a path selects a member of values, and only keys are searched: remove one of both")
	}
	if req.Pattern != "" {
		text := req.Pattern
		if req.IgnoreCase {
			text = "(?i)" + text
		}
		re, size, err := schema.CompilePattern(text)
		if err == nil && size > maxProgram {
			err = fmt.Errorf("it has %d instructions when its repetitions are expanded, more than %d", size, maxProgram)
		}
		if err != nil {
			return nil, ledger.Invalid("pattern", err.Error())
		}
		q.pattern, q.size = re, size
	}
	if req.Where != "" {
		var err error
		if q.where, err = compile(req.Where); err != nil {
			return nil, ledger.Invalid("where", err.Error())
		}
	}
	return q, nil
}

// Steps is the maximal cost of all tests until now: a step looks at one byte with one
// instruction of a pattern.
func (q *Query) Steps() int { return q.steps }

// Test searches a key and its value. The value is empty if it is a secret. text is what
// matched, as it is shown.
func (q *Query) Test(ctx context.Context, key ledger.Key, v ledger.Value) (text string, o Outcome, err error) {
	q.steps += q.size * (len(key) + len(v))
	if v == "" {
		text, o = q.testSecret(key)
		return text, o, nil
	}
	if q.path != "" {
		member, ok := memberOf(v, q.path)
		if !ok {
			return "", NoMatch, nil
		}
		v = member
	}
	shown, ok := q.find(key, v)
	if !ok {
		return "", NoMatch, nil
	}
	if q.where == nil {
		return shown, Match, nil
	}
	yes, cost, err := q.where.holds(ctx, key, v)
	q.steps += cost * stepsPerCost
	switch {
	case errors.Is(err, errNotComparable):
		return "", NotComparable, nil
	case err != nil:
		return "", NoMatch, err
	case !yes:
		return "", NoMatch, nil
	}
	return shown, Match, nil
}

// testSecret searches the name of a secret. The answer does not depend on the value.
func (q *Query) testSecret(key ledger.Key) (string, Outcome) {
	switch {
	case q.where != nil || q.path != "" || q.in == stelev1.SearchRequest_IN_VALUES:
		return "", Skipped
	case q.pattern.MatchString(string(key)):
		return string(secret.Mask), Match
	case q.in == stelev1.SearchRequest_IN_KEYS:
		return "", NoMatch
	}
	return "", Skipped
}

// find looks for the pattern, and returns the text in which it is.
func (q *Query) find(key ledger.Key, v ledger.Value) (string, bool) {
	inKeys, inValues := q.path == "" && q.in != stelev1.SearchRequest_IN_VALUES, q.in != stelev1.SearchRequest_IN_KEYS
	if q.pattern != nil && !inValues && !q.pattern.MatchString(string(key)) {
		return "", false // the value costs nothing
	}
	value := v.Text()
	if q.pattern == nil || !inValues {
		return around(value, 0, 0), true
	}
	if at := q.pattern.FindStringIndex(value); at != nil {
		return around(value, at[0], at[1]), true
	}
	if inKeys && q.pattern.MatchString(string(key)) {
		return around(value, 0, 0), true
	}
	return "", false
}

// around cuts a long text to what is around a match.
func around(text string, from, to int) string {
	if len(text) <= maxText {
		return text
	}
	const ellipsis = "…"
	room := maxText - 2*len(ellipsis)
	start := max(0, min(from-(room-min(to-from, room))/2, len(text)-room))
	for start > 0 && !utf8.RuneStart(text[start]) {
		start++
	}
	end := min(start+room, len(text))
	for end < len(text) && !utf8.RuneStart(text[end]) {
		end--
	}
	cut := text[start:end]
	if start > 0 {
		cut = ellipsis + cut
	}
	if end < len(text) {
		cut += ellipsis
	}
	return cut
}
