package eventbridge

import (
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"pgregory.net/rapid"
)

// Every event is in one request, in order; no request is too large, and none could
// have held the next one's first event.
func TestBatches(t *testing.T) {
	text := strings.Repeat("x", maxRequest)
	rapid.Check(t, func(t *rapid.T) {
		var all []event
		for i, n := range rapid.SliceOfN(rapid.SampledFrom([]int{100, 99_000, 249_900, 990_000}), 1, 60).Draw(t, "sizes") {
			e := event{write: i}
			e.entry.Source, e.entry.DetailType, e.entry.Detail = aws.String("stele"), aws.String("type"), aws.String(text[:n])
			all = append(all, e)
		}
		next, room := 0, -1
		for _, b := range batches(all) {
			size := 0
			for _, e := range b {
				if e.write != next {
					t.Fatalf("event %d comes after %d", e.write, next-1)
				}
				next++
				size += e.size()
			}
			if len(b) == 0 || len(b) > maxEntries || size >= maxRequest {
				t.Fatalf("a request has %d events of %d bytes", len(b), size)
			}
			if b[0].size() < room {
				t.Fatalf("event %d would have fitted into the request before", b[0].write)
			}
			room = maxRequest - size
			if len(b) == maxEntries {
				room = -1
			}
		}
		if next != len(all) {
			t.Fatalf("%d of %d events are in requests", next, len(all))
		}
	})
}
