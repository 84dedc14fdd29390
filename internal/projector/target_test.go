package projector

import (
	"errors"
	"testing"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/journal"
	"github.com/stelehq/stele/internal/ledger/ledgertest"
)

// TestStopper_AnswerIsLost stops a sink while the stream stores messages without
// acknowledging them. The sink is stopped, and an operator can let it run again.
func TestStopper_AnswerIsLost(t *testing.T) {
	node := ledgertest.Start(t, ledgertest.Server(t), ledgertest.Config{})
	bucket, err := node.Journal.OpenBucket(t.Context(), journal.Sinks)
	if err != nil {
		t.Fatal(err)
	}
	js, err := jetstream.New(node.Conn)
	if err != nil {
		t.Fatal(err)
	}
	acknowledge := func(does bool) {
		t.Helper()
		stream, err := js.Stream(t.Context(), "STELE-SINKS")
		if err != nil {
			t.Fatal(err)
		}
		cfg := stream.CachedInfo().Config
		cfg.NoAck = !does
		if _, err := js.UpdateStream(t.Context(), cfg); err != nil {
			t.Fatal(err)
		}
	}
	var s stopper
	if err := s.load(t.Context(), bucket, "store"); err != nil {
		t.Fatal(err)
	}
	acknowledge(false)
	if err := s.set(t.Context(), "all items are missing"); !errors.Is(err, ledger.ErrUnknownOutcome) {
		t.Fatalf("got %v, want an unknown outcome", err)
	}
	acknowledge(true)
	if why := s.reason(); why != "all items are missing" {
		t.Errorf("the reason is %q, although another is stored", why)
	}
	if err := s.set(t.Context(), ""); err != nil {
		t.Error(err)
	}
	stored, _, err := readStop(t.Context(), bucket, "store")
	if err != nil {
		t.Fatal(err)
	}
	if stored.Reason != "" || s.stopped() {
		t.Errorf("the sink is still stopped: stored is %q, in memory %q", stored.Reason, s.reason())
	}
}

// TestStopper_AnotherProcessSetsIt replaces what another process has stored: the first try
// learns of it, the next one succeeds.
func TestStopper_AnotherProcessSetsIt(t *testing.T) {
	node := ledgertest.Start(t, ledgertest.Server(t), ledgertest.Config{})
	bucket, err := node.Journal.OpenBucket(t.Context(), journal.Sinks)
	if err != nil {
		t.Fatal(err)
	}
	var ours, theirs stopper
	for _, s := range []*stopper{&ours, &theirs} {
		if err := s.load(t.Context(), bucket, "store"); err != nil {
			t.Fatal(err)
		}
	}
	if err := theirs.set(t.Context(), "theirs"); err != nil {
		t.Fatal(err)
	}
	if err := ours.set(t.Context(), "ours"); !errors.Is(err, journal.ErrConflict) {
		t.Fatalf("got %v, want a conflict", err)
	}
	if why := ours.reason(); why != "theirs" {
		t.Errorf("the reason is %q, not the stored one", why)
	}
	if err := ours.set(t.Context(), ""); err != nil {
		t.Error(err)
	}
	if stored, _, err := readStop(t.Context(), bucket, "store"); err != nil || stored.Reason != "" {
		t.Errorf("stored is %q, %v", stored.GetReason(), err)
	}
}
