package asof

import (
	"errors"
	"testing"
	"time"

	"github.com/stelehq/stele/internal/ledger"
)

var now = time.Date(2025, 3, 4, 12, 0, 0, 0, time.UTC)

func TestParse(t *testing.T) {
	for text, want := range map[string]Ref{
		"@42":                       {Revision: 42},
		"42":                        {Revision: 42},
		"@0":                        {},
		"@HEAD":                     {FromHead: true},
		"HEAD~3":                    {FromHead: true, Revision: 3},
		"@2h":                       {Time: now.Add(-2 * time.Hour)},
		"@1h30m":                    {Time: now.Add(-90 * time.Minute)},
		"2h ago":                    {Time: now.Add(-2 * time.Hour)},
		"@7d ago":                   {Time: now.AddDate(0, 0, -7)},
		"@7d":                       {Time: now.AddDate(0, 0, -7)},
		"@2w":                       {Time: now.AddDate(0, 0, -14)},
		"@2025-03-04T08:00Z":        {Time: now.Add(-4 * time.Hour)},
		"@2025-03-04T08:00":         {Time: now.Add(-4 * time.Hour)},
		"@2025-03-04T09:00+01:00":   {Time: now.Add(-4 * time.Hour)},
		"@2025-03-04T08:00:00Z":     {Time: now.Add(-4 * time.Hour)},
		"@2025-03-04T08:00:00.005Z": {Time: now.Add(-4*time.Hour + 5*time.Millisecond)},
		"@2025-03-04":               {Time: now.Add(-12 * time.Hour)},
		"2025-03":                   {Time: now.Add(-12*time.Hour).AddDate(0, 0, -3)},
		"2025-03-04 08:00":          {Time: now.Add(-4 * time.Hour)},
		"2025-03-04 08:00:00":       {Time: now.Add(-4 * time.Hour)},
		"2025-03-04T09:30+05:30":    {Time: now.Add(-8 * time.Hour)},
		"2h30m":                     {Time: now.Add(-150 * time.Minute)},
		"5d":                        {Time: now.AddDate(0, 0, -5)},
		"now":                       {Time: now},
		"today":                     {Time: now.Add(-12 * time.Hour)},
		"Yesterday":                 {Time: now.Add(-36 * time.Hour)},
		"5 minutes ago":             {Time: now.Add(-5 * time.Minute)},
		"1 hour ago":                {Time: now.Add(-time.Hour)},
		"an hour ago":               {Time: now.Add(-time.Hour)},
		"3 days":                    {Time: now.AddDate(0, 0, -3)},
		"2 weeks ago":               {Time: now.AddDate(0, 0, -14)},
		"a month ago":               {Time: now.AddDate(0, -1, 0)},
		"2 years ago":               {Time: now.AddDate(-2, 0, 0)},
		"2026":                      {Revision: 2026},
		" @42 ":                     {Revision: 42},
	} {
		got, err := Parse(text, now)
		if err != nil || got.FromHead != want.FromHead || got.Revision != want.Revision || !got.Time.Equal(want.Time) {
			t.Errorf("%q is %+v, %v; want %+v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "@", "@@4", "-1", "@HEAD~", "@HEAD~-1", "@HEADx", "@head", "@2x", "@h", "@0s", "@99999999999d",
		"@18446744073709551616", "@2025-13-04", "acme@4", "2025-13", " ago", "2 ago", "42 ago", "HEAD ago", "2h agone", "0001-01-01T00:00:00Z", "0001-01",
		"0 days ago", "-1 days ago", "99999999999 days ago", "999999 months ago", "5 minutes hence", "five minutes ago", "tomorrow"} {
		if got, err := Parse(text, now); err == nil {
			t.Errorf("%q is taken for %+v", text, got)
		}
	}
}

func TestParse_HEAD(t *testing.T) {
	head := func() (ledger.Revision, error) { return 10, nil }
	for text, want := range map[string]uint64{"@HEAD": 10, "@HEAD~1": 9, "@HEAD~10": 0, "@7": 7} {
		m, err := Parse(text, now)
		if err != nil {
			t.Fatal(err)
		}
		if at, err := m.At(head); err != nil || at.GetRevision() != want {
			t.Errorf("%s is %v, %v; want revision %d", text, at, err, want)
		}
	}
	m, _ := Parse("@HEAD~11", now)
	var before *BeforeFirstError
	if _, err := m.At(head); !errors.As(err, &before) {
		t.Errorf("@HEAD~11 of 10 revisions: %v", err)
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"@42", "@HEAD~1", "@2h", "@2025-03-04T08:00Z", "@1w2d3h4m5s"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		m, err := Parse(s, now)
		if err != nil {
			return
		}
		if !m.Time.IsZero() && (m.FromHead || m.Revision != 0) {
			t.Errorf("%q is both a time and a revision: %+v", s, m)
		}
		at, err := m.At(func() (ledger.Revision, error) { return 1 << 63, nil })
		if err != nil {
			var before *BeforeFirstError
			if !errors.As(err, &before) {
				t.Errorf("%q: %v", s, err)
			}
			return
		}
		if at.GetTime() != nil && at.GetTime().CheckValid() != nil {
			t.Errorf("%q is a time that cannot be sent: %v", s, at)
		}
	})
}
