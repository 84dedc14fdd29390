package projector

import "time"

// speed measures how fast a sink is written to.
type speed struct {
	samples []speedSample // the oldest first
}

type speedSample struct {
	at     time.Time
	writes uint64
}

// speedWindow is how long a sample counts.
const speedWindow = 30 * time.Second

// sample notes how many writes there were up to now.
func (s *speed) sample(now time.Time, writes uint64) {
	s.samples = append(s.samples, speedSample{now, writes})
	for len(s.samples) > 2 && now.Sub(s.samples[0].at) > speedWindow {
		s.samples = s.samples[1:]
	}
}

// left estimates how long so many writes take; ok is false while none is made.
func (s *speed) left(pending uint64) (left time.Duration, ok bool) {
	if pending == 0 || len(s.samples) < 2 {
		return 0, false
	}
	first, last := s.samples[0], s.samples[len(s.samples)-1]
	writes, took := last.writes-first.writes, last.at.Sub(first.at)
	if writes == 0 || took <= 0 {
		return 0, false
	}
	return time.Duration(float64(took) * float64(pending) / float64(writes)), true
}
