package ledgertest

import (
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// RecreateStream creates a stream with the name of one that was deleted. The server may still be
// deleting the folder of that one, and then refuses: the attempt is repeated.
func RecreateStream(tb testing.TB, js jetstream.JetStream, cfg jetstream.StreamConfig) {
	tb.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		_, err := js.CreateStream(tb.Context(), cfg)
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			tb.Fatal(err)
		}
	}
}
