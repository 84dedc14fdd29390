// Package asof parses a reference to a state in a tenant's history as users write it:
//
//	@42                        revision 42
//	@HEAD, @HEAD~1             the head, the revision one before it
//	@2h, @1h30m, 7d ago        that long ago (s, m, h, d, w)
//	5 minutes ago, an hour ago the same in words (second, minute, hour, day, week, month, year)
//	today, yesterday           the start of that day, UTC
//	@2025-03-04T08:00Z         a time; UTC if it names no zone
//	@2025-03-04                the start of that day, UTC
//	@2025-03                   the start of that month, UTC
//
// The "@" may be left out. A bare number is always a revision.
package asof

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/stelehq/stele/internal/ledger"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// Ref refers to a state by one of three: a time, a number of revisions before the head, or a
// revision.
type Ref struct {
	// Time is zero unless the reference is a time.
	Time time.Time
	// FromHead is set if Revision counts back from the head.
	FromHead bool
	Revision ledger.Revision
}

// Parse parses a reference; durations count back from now.
func Parse(s string, now time.Time) (Ref, error) {
	text := strings.TrimPrefix(strings.TrimSpace(s), "@")
	if n, err := strconv.ParseUint(text, 10, 64); err == nil {
		return Ref{Revision: ledger.Revision(n)}, nil
	}
	if rest, ok := strings.CutPrefix(text, "HEAD"); ok {
		if rest == "" {
			return Ref{FromHead: true}, nil
		}
		if back, ok := strings.CutPrefix(rest, "~"); ok {
			if n, err := strconv.ParseUint(back, 10, 64); err == nil {
				return Ref{FromHead: true, Revision: ledger.Revision(n)}, nil
			}
		}
		return Ref{}, malformed(s)
	}
	if t, ok := parseWords(text, now); ok {
		return Ref{Time: t}, nil
	}
	for _, layout := range []string{
		time.RFC3339Nano, "2006-01-02T15:04Z07:00",
		"2006-01-02T15:04:05.999999999", "2006-01-02T15:04", time.DateOnly, "2006-01",
		"2006-01-02 15:04:05", "2006-01-02 15:04", "2006-01-02 15:04:05Z07:00", "2006-01-02 15:04Z07:00",
	} {
		if t, err := time.Parse(layout, text); err == nil && !t.IsZero() { // the zero time means that none is given
			return Ref{Time: t}, nil
		}
	}
	return Ref{}, malformed(s)
}

// parseWords reads a duration before now, or a day, in words.
func parseWords(text string, now time.Time) (time.Time, bool) {
	words := strings.Fields(strings.ToLower(text))
	day := now.UTC().Truncate(24 * time.Hour)
	switch {
	case len(words) == 1 && words[0] == "now":
		return now, true
	case len(words) == 1 && words[0] == "today":
		return day, true
	case len(words) == 1 && words[0] == "yesterday":
		return day.AddDate(0, 0, -1), true
	}
	if len(words) > 0 && words[len(words)-1] == "ago" {
		words = words[:len(words)-1]
	}
	switch len(words) {
	case 1:
		if ago, ok := parseAgo(words[0]); ok {
			return now.Add(-ago), true
		}
	case 2:
		n, err := strconv.ParseInt(words[0], 10, 64)
		if words[0] == "a" || words[0] == "an" {
			n, err = 1, nil
		}
		unit := words[1]
		if len(unit) > 1 {
			unit = strings.TrimSuffix(unit, "s")
		}
		if err != nil || n < 1 || n > maxCount {
			return time.Time{}, false
		}
		switch unit { // days and longer by the calendar
		case "month":
			return now.AddDate(0, -int(n), 0), n <= maxCount/1000
		case "year":
			return now.AddDate(-int(n), 0, 0), n <= 200
		}
		short := map[string]string{
			"second": "s", "sec": "s", "minute": "m", "min": "m", "hour": "h", "hr": "h", "day": "d", "week": "w", "s": "s", "m": "m", "h": "h", "d": "d", "w": "w",
		}[unit]
		if ago, ok := parseAgo(fmt.Sprint(n, short)); ok {
			return now.Add(-ago), true
		}
	}
	return time.Time{}, false
}

// maxCount bounds the number in front of a unit.
const maxCount = 1_000_000

// maxAgo keeps a time within the range of a timestamp.
const maxAgo = 200 * 365 * 24 * time.Hour

// parseAgo reads numbers with units, e.g. 1h30m.
func parseAgo(s string) (time.Duration, bool) {
	units := map[byte]time.Duration{
		's': time.Second, 'm': time.Minute, 'h': time.Hour, 'd': 24 * time.Hour, 'w': 7 * 24 * time.Hour,
	}
	var sum time.Duration
	for s != "" {
		i := strings.IndexFunc(s, func(c rune) bool { return c < '0' || c > '9' })
		if i <= 0 {
			return 0, false
		}
		n, err := strconv.ParseInt(s[:i], 10, 64)
		unit, known := units[s[i]]
		if err != nil || !known || n > int64((maxAgo-sum)/unit) {
			return 0, false
		}
		sum += time.Duration(n) * unit
		s = s[i+1:]
	}
	return sum, sum > 0
}

func malformed(s string) error {
	return fmt.Errorf("%q is not a revision or time: write @42, @HEAD, @HEAD~1, 2h (ago), yesterday or 2025-03-04T08:00Z", s)
}

// At is the reference as a request carries it. head is called only if the
// reference counts back from it.
func (m Ref) At(head func() (ledger.Revision, error)) (*stelev1.At, error) {
	if !m.Time.IsZero() {
		return &stelev1.At{Point: &stelev1.At_Time{Time: timestamppb.New(m.Time)}}, nil
	}
	rev := m.Revision
	if m.FromHead {
		h, err := head()
		if err != nil {
			return nil, err
		}
		if rev > h {
			return nil, &BeforeFirstError{Back: rev, Head: h}
		}
		rev = h - rev
	}
	return &stelev1.At{Point: &stelev1.At_Revision{Revision: uint64(rev)}}, nil
}

// BeforeFirstError is a reference to a state before the beginning of the history.
type BeforeFirstError struct{ Back, Head ledger.Revision }

func (e *BeforeFirstError) Error() string {
	return fmt.Sprintf("@HEAD~%d is before the first revision: the head is %s", uint64(e.Back), e.Head)
}
