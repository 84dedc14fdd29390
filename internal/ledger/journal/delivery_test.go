package journal

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stelehq/stele/internal/ledger"
)

// A reader that loses deliveries, with its connection here, reads on; a message that the
// stream does not have is reported.
func TestEvidence_LostDeliveriesAreNotMissingMessages(t *testing.T) {
	s := startTest(t, t.TempDir())
	j := openTest(t, s, Config{})
	const total = 3 * followBatch / 2
	var last ledger.Sequence
	for range total {
		last = mustAppend(t, j, last, "record")
	}
	nc := connect(t, s)
	e, err := OpenEvidence(t.Context(), nc)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var got ledger.Sequence
	end, err := e.Journal(ctx, func(m Message) error {
		if m.Sequence != got+1 {
			return fmt.Errorf("message %d came after %d", m.Sequence, got)
		}
		if got = m.Sequence; got%50 == 10 {
			return nc.ForceReconnect() // what is on its way is lost
		}
		return nil
	})
	if err != nil || end != total || got != total {
		t.Fatalf("read up to %d of %d, the last was %d: %v", end, total, got, err)
	}
}

func TestEvidence_ReportsMissingMessages(t *testing.T) {
	s := startTest(t, t.TempDir())
	j := openTest(t, s, Config{})
	var last ledger.Sequence
	for range 2 * followBatch {
		last = mustAppend(t, j, last, "record")
	}
	e, err := OpenEvidence(t.Context(), connect(t, s))
	if err != nil {
		t.Fatal(err)
	}
	_, err = e.Journal(t.Context(), func(m Message) error {
		if m.Sequence > 1 {
			return nil
		}
		spoiled := j.stream.CachedInfo().Config
		spoiled.MaxMsgsPerSubject = 2
		_, err := j.js.UpdateStream(t.Context(), spoiled)
		return err
	})
	var broken *EvidenceError
	if !errors.As(err, &broken) {
		t.Errorf("got %v, want the missing message", err)
	}
}
