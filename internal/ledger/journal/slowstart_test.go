package journal

import (
	"log/slog"
	"testing"
	"time"
)

// A server that opens its streams slowly is waited for, and the log says so meanwhile.
func TestServer_WaitsForASlowStart(t *testing.T) {
	waiting := make(chan struct{}, 1)
	log := slog.New(slog.NewTextHandler(notify{waiting}, &slog.HandlerOptions{Level: slog.LevelWarn}))
	s, err := StartServer(ServerConfig{
		Dir: t.TempDir(), Log: log, slowStart: time.Millisecond,
		starting: func() { <-waiting }, // the message that this test is about
	})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	mustAppend(t, openTest(t, s, Config{}), 0, "one")
}

// notify sends a token for what is written, if there is room.
type notify struct{ to chan<- struct{} }

func (n notify) Write(b []byte) (int, error) {
	select {
	case n.to <- struct{}{}:
	default:
	}
	return len(b), nil
}
