// Package moment reads how people write a moment of a tenant's history:
//
//	@42                        revision 42
//	@HEAD, @HEAD~1             the head, the revision one before it
//	@2h, @1h30m, 7d ago        that long ago (s, m, h, d, w)
//	@2025-03-04T08:00Z         a time; UTC where it names no zone
//	@2025-03-04                the first moment of that day, UTC
//
// The "@" may be left out.
package moment

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/stelehq/stele/ledger"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// Moment is one of three: a time, a number of revisions before the head, or a
// revision.
type Moment struct {
	// Time is zero unless the moment is a time.
	Time time.Time
	// FromHead says that Revision counts back from the head.
	FromHead bool
	Revision ledger.Revision
}

// Parse reads a moment; now is what durations count back from.
func Parse(s string, now time.Time) (Moment, error) {
	text := strings.TrimPrefix(s, "@")
	if n, err := strconv.ParseUint(text, 10, 64); err == nil {
		return Moment{Revision: ledger.Revision(n)}, nil
	}
	if rest, ok := strings.CutPrefix(text, "HEAD"); ok {
		if rest == "" {
			return Moment{FromHead: true}, nil
		}
		if back, ok := strings.CutPrefix(rest, "~"); ok {
			if n, err := strconv.ParseUint(back, 10, 64); err == nil {
				return Moment{FromHead: true, Revision: ledger.Revision(n)}, nil
			}
		}
		return Moment{}, malformed(s)
	}
	if ago, ok := parseAgo(strings.TrimSuffix(text, " ago")); ok {
		return Moment{Time: now.Add(-ago)}, nil
	}
	for _, layout := range []string{
		time.RFC3339Nano, "2006-01-02T15:04Z07:00",
		"2006-01-02T15:04:05.999999999", "2006-01-02T15:04", time.DateOnly,
	} {
		if t, err := time.Parse(layout, text); err == nil {
			return Moment{Time: t}, nil
		}
	}
	return Moment{}, malformed(s)
}

// maxAgo keeps a moment within what a timestamp can say.
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
	return fmt.Errorf("%q is no revision: write @42, @HEAD, @HEAD~1, @2h (ago) or @2025-03-04T08:00Z", s)
}

// At is the moment as a request carries it. head is asked for only where the
// moment counts back from it.
func (m Moment) At(head func() (ledger.Revision, error)) (*stelev1.At, error) {
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

// BeforeFirstError is a moment further back than the history goes.
type BeforeFirstError struct{ Back, Head ledger.Revision }

func (e *BeforeFirstError) Error() string {
	return fmt.Sprintf("@HEAD~%d is before the first revision: the head is %s", uint64(e.Back), e.Head)
}
