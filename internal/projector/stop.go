package projector

import (
	"context"
	"fmt"
	"sync"

	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/journal"
	sinkstatev1 "github.com/stelehq/stele/internal/projector/sinkstate/v1"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// stopper stops a sink that has lost or changed more than its drift limit, until an
// operator resolves it. The decision to stop is stored in an auxiliary stream, so that
// no other process writes to the sink either.
type stopper struct {
	mu    sync.Mutex // guards all below
	notes *journal.Bucket
	sink  string
	seq   ledger.Sequence
	why   string
}

func stopName(sink string) string { return "stopped." + sink }

func readStop(ctx context.Context, notes *journal.Bucket, sink string) (*sinkstatev1.Stop, ledger.Sequence, error) {
	note, err := notes.Get(ctx, stopName(sink))
	if err != nil {
		return nil, 0, err
	}
	stop := &sinkstatev1.Stop{}
	if err := proto.Unmarshal(note.Body, stop); err != nil {
		return nil, 0, fmt.Errorf("decode %s: %w", note.Name, err)
	}
	return stop, note.Sequence, nil
}

func (s *stopper) load(ctx context.Context, notes *journal.Bucket, sink string) error {
	stop, seq, err := readStop(ctx, notes, sink)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.notes, s.sink, s.seq, s.why = notes, sink, seq, stop.Reason
	return nil
}

// set stops the sink for a reason; an empty one lets it run again. If it cannot be made
// durable, nothing changes.
func (s *stopper) set(ctx context.Context, why string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if why == s.why {
		return nil
	}
	var body []byte
	if why != "" {
		var err error
		if body, err = proto.Marshal(&sinkstatev1.Stop{Reason: why, Since: timestamppb.Now()}); err != nil {
			return fmt.Errorf("encode why sink %s stops: %w", s.sink, err)
		}
	}
	seq, err := s.notes.Put(ctx, stopName(s.sink), s.seq, body)
	if err != nil {
		return fmt.Errorf("save whether sink %s has stopped: %w", s.sink, err)
	}
	s.seq, s.why = seq, why
	return nil
}

func (s *stopper) reason() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.why
}

func (s *stopper) stopped() bool { return s.reason() != "" }
