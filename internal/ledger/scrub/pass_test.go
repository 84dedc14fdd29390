package scrub

import (
	"errors"
	"log/slog"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stelehq/stele/internal/ledger/journal"
)

func TestPass_KeepsTheRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &pass{paced: time.Now()}
		begun := time.Now()
		for range 1000 {
			if err := p.pace(t.Context(), rate/100); err != nil {
				t.Fatal(err)
			}
		}
		if took := time.Since(begun); took < 9*time.Second || took > 11*time.Second {
			t.Errorf("10 s of reading took %s", took)
		}
	})
}

// A pass that failed has not read everything: earlier findings stay.
func TestResults_FailedPassKeepsWhatIsKnown(t *testing.T) {
	r, err := OpenResults(filepath.Join(t.TempDir(), "scrub.json"), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	r.keep([]string{"n1"})
	found := func(messages ...journal.Damage) *pass {
		p := new(pass)
		for _, m := range messages {
			p.damaged(m)
		}
		return p
	}
	first, second := journal.Damaged(3, "cannot be read"), journal.Damaged(7, "cannot be read")
	r.note("n1", time.Now(), found(second), nil)
	r.note("n1", time.Now(), found(first), errors.New("the server is gone"))
	st := r.Status()[0]
	if want := []string{second.String(), first.String()}; !slices.Equal(st.Findings, want) || st.Damaged != 1 || st.Failed == "" {
		t.Errorf("after a pass that failed it says %+v, want %q", st, want)
	}
	r.note("n1", time.Now(), found(first), nil)
	if st := r.Status()[0]; !slices.Equal(st.Findings, []string{first.String()}) || st.Failed != "" {
		t.Errorf("after a whole pass it says %+v", st)
	}
}

func TestStatus_Due(t *testing.T) {
	now := time.Now()
	for _, test := range []struct {
		name string
		st   Status
		want bool
	}{
		{"never read", Status{}, true},
		{"read a moment ago", Status{Begun: now.Add(-time.Minute), earlier: true}, false},
		{"read an interval ago", Status{Begun: now.Add(-time.Hour)}, true},
		{"read while the clock was ahead", Status{Begun: now.Add(time.Hour)}, true},
		{"failed since", Status{Begun: now, Failed: "no"}, true},
		{"damaged", Status{Begun: now, Damaged: 1}, false},
		{"damaged, after a restart", Status{Begun: now, Damaged: 1, earlier: true}, true},
	} {
		if got := test.st.due(now, time.Hour); got != test.want {
			t.Errorf("%s: due() = %t", test.name, got)
		}
	}
}
