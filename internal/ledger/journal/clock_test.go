package journal

import (
	"errors"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/journal/internal/host"
)

func TestClock_ComparesWithServers(t *testing.T) {
	var wall time.Time
	var elapsed time.Duration
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	answer := func(at time.Time) *jetstream.StreamInfo { return &jetstream.StreamInfo{TimeStamp: at} }
	type step struct {
		name    string
		pass    time.Duration // of real time
		wall    time.Duration // what the process's clock shows after start
		servers time.Duration // what an answer then says; 0 for no answer
		ahead   time.Duration // what is reported; 0 for nothing
	}
	for _, tc := range []struct {
		name     string
		embedded bool
		steps    []step
	}{
		{"servers elsewhere", false, []step{
			{"right", time.Second, time.Second, time.Second, 0},
			{"within the bound", time.Second, time.Minute, 0, 0},
			{"a jump between two answers", time.Second, time.Hour, 0, time.Hour - 3*time.Second},
			{"still there at the next answer", time.Second, time.Hour, 4 * time.Second, time.Hour - 4*time.Second},
			{"back", time.Second, 5 * time.Second, 0, 0},
			{"behind", time.Second, -time.Hour, 6 * time.Second, -time.Hour - 6*time.Second},
			{"the servers' clock is corrected, and this one", time.Second, 2 * time.Hour, 2 * time.Hour, 0},
		}},
		{"embedded server", true, []step{
			{"right", time.Second, time.Second, time.Second, 0},
			{"a jump", time.Second, time.Hour, 0, time.Hour - 2*time.Second},
			{"the server jumps with it", time.Second, time.Hour, time.Hour, time.Hour - 3*time.Second},
			{"back", time.Second, 4 * time.Second, 4 * time.Second, 0},
			{"slow drift is followed", time.Hour, time.Hour + 40*time.Second, time.Hour + 40*time.Second, 0},
			{"and further", time.Hour, 2*time.Hour + 80*time.Second, 2*time.Hour + 80*time.Second, 0},
			{"sleep", 8 * time.Hour, 10*time.Hour + 80*time.Second, 0, 0},
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			wall, elapsed = start, 0
			c := clock{now: func() time.Time { return wall }, elapsed: func() time.Duration { return elapsed }, embedded: tc.embedded}
			c.observe(answer(start))
			for _, s := range tc.steps {
				elapsed += s.pass
				wall = start.Add(s.wall)
				if s.servers != 0 {
					c.observe(answer(start.Add(s.servers)))
				}
				_, err := c.read()
				var wrong *ledger.ClockError
				switch {
				case s.ahead == 0 && err != nil:
					t.Errorf("%s: %v", s.name, err)
				case s.ahead != 0 && (!errors.As(err, &wrong) || wrong.Ahead != s.ahead):
					t.Errorf("%s: %v, want a clock that is %s ahead", s.name, err, s.ahead)
				}
			}
		})
	}
}

func TestSinceBoot_Grows(t *testing.T) {
	a := host.SinceBoot()
	if b := host.SinceBoot(); b < a || a <= 0 {
		t.Errorf("host.SinceBoot = %s, then %s", a, b)
	}
}

func BenchmarkClock_Read(b *testing.B) {
	c := clock{now: time.Now, elapsed: host.SinceBoot}
	c.observe(&jetstream.StreamInfo{TimeStamp: time.Now()})
	for b.Loop() {
		if _, err := c.read(); err != nil {
			b.Fatal(err)
		}
	}
}
