package projector

import (
	"errors"
	"log/slog"
	"testing"
	"time"
)

// However often a write has failed, and whatever else succeeds, it is retried. Only
// what the sink refuses is parked.
func TestOutcome_OnlyRefusalsPark(t *testing.T) {
	now := time.Now()
	sink := &target{p: &Projector{metrics: NewMetrics()}, name: "params", log: slog.New(slog.DiscardHandler)}
	r := &writer{builder: &builder{target: sink}, queue: newQueue(false, false), parked: &parked{letters: make(map[slot]parkedLetter)}}
	l := r.queue.line("acme")
	l.read, l.head = 1, 1
	r.queue.add(l, "a", change{revision: 1}, now)
	e := l.entries["a"]
	denied := errors.New("AccessDeniedException: not authorized to perform ssm:PutParameter")
	for range 1000 {
		now = now.Add(time.Minute)
		taken, _ := r.queue.take(now, 1)
		if len(taken) != 1 {
			t.Fatal("it is tried no longer")
		}
		if err := r.takeResult(t.Context(), e, Write{Tenant: "acme", Key: "a", Revision: 1}, denied, now); err != nil {
			t.Fatal(err)
		}
		if wait := e.not.Sub(now); wait > longestPause {
			t.Fatalf("it waits for %s", wait)
		}
	}
	if len(r.parked.letters) != 0 || l.position() != 0 {
		t.Errorf("parked are %v, the position is %s", r.parked.letters, l.position())
	}
	since, why := r.failing("")
	if !errors.Is(why, denied) || since.IsZero() || !errors.Is(second(r.failing("acme")), denied) {
		t.Errorf("failing: %v since %s", why, since)
	}
	if _, why := r.failing("globex"); why != nil {
		t.Errorf("another tenant's writes fail: %v", why)
	}
	r.queue.done(e, 1)
	if _, why := r.failing(""); why != nil {
		t.Errorf("once it is written: %v", why)
	}
}

func second(_ time.Time, err error) error { return err }

// Parked keys are tried again now and then, those that were given up are not.
func TestParked_IsTriedAgain(t *testing.T) {
	p := &parked{letters: make(map[slot]parkedLetter)}
	now := time.Now()
	for _, l := range []letter{
		{Tenant: "acme", Key: "a", Revision: 1, Reason: "a label", Attempts: 1, Since: now},
		{Tenant: "acme", Key: "skipped", Revision: 1, Skipped: true},
	} {
		p.letters[p.slot(l.Tenant, l.Key, l.Revision)] = parkedLetter{storedLetter: storedLetter{letter: l}}
	}
	due := func(at time.Time) []letter { return p.due(at.Add(-retryParked), retriedAtOnce) }
	if l := due(now); len(l) != 1 || l[0].Key != "a" {
		t.Errorf("when they are read, due are %v", l)
	}
	if l := due(now.Add(retryParked / 2)); len(l) != 0 {
		t.Errorf("soon after that, due are %v", l)
	}
	if l := due(now.Add(2 * retryParked)); len(l) != 1 {
		t.Errorf("later, due are %v", l)
	}
	again := letter{Tenant: "acme", Key: "a", Revision: 1, Reason: "a label", Attempts: 1}
	if !p.countAttempt(again, now) || p.letters[slot{"acme", "a", 0}].Attempts != 2 || !p.letters[slot{"acme", "a", 0}].Since.Equal(now) {
		t.Errorf("after one more try: %+v", p.letters)
	}
	again.Revision = 2
	if p.countAttempt(again, now) {
		t.Error("another revision counts as the same letter")
	}
}

func TestSpeed(t *testing.T) {
	var s speed
	at := time.Now()
	if _, ok := s.left(400); ok {
		t.Error("the time left is known without a sample")
	}
	for i := range uint64(60) {
		s.sample(at.Add(time.Duration(i)*time.Second), 3*i)
	}
	if left, ok := s.left(300); !ok || left != 100*time.Second {
		t.Errorf("300 at 3 a second take %s, %v", left, ok)
	}
	for i := range 60 {
		s.sample(at.Add(time.Duration(60+i)*time.Second), 3*59)
	}
	if left, ok := s.left(300); ok {
		t.Errorf("at 0 a second they take %s", left)
	}
}
