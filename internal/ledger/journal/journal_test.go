package journal

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/stelehq/stele/internal/ledger"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// startTest runs a server on the folder until the test ends.
func startTest(t testing.TB, dir string) *Server {
	t.Helper()
	s, err := StartServer(ServerConfig{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// connect opens a connection until the test ends.
func connect(t testing.TB, s *Server) *nats.Conn {
	t.Helper()
	nc, err := s.Connect()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc
}

// openTest opens the journal of an embedded server until the test ends.
func openTest(t testing.TB, s *Server, cfg Config) *Journal {
	t.Helper()
	cfg.Embedded = s
	j, err := Open(context.Background(), connect(t, s), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(j.Close)
	return j
}

func mustAppend(t *testing.T, j *Journal, expected ledger.Sequence, record string) ledger.Sequence {
	t.Helper()
	unknown := false
	for end := time.Now().Add(time.Minute); ; {
		seq, err := j.Append(t.Context(), expected, []byte(record))
		switch {
		case err == nil:
			return seq
		case errors.Is(err, ledger.ErrUnknownOutcome) && time.Now().Before(end): // the disk is busy
			unknown = true
			continue
		case unknown && errors.Is(err, ErrConflict):
			if last, err := j.Last(t.Context()); err == nil && last == expected+1 {
				return last
			}
			if time.Now().Before(end) {
				continue // it is in flight
			}
		}
		t.Error(err)
		return seq
	}
}
