package git

import (
	"slices"
	"time"
)

// arrange gives each commit a time that is not before the time of the previous commit,
// and not in the future. As many commits as possible keep their own times: the commits
// of a longest sequence whose times do not decrease. Any other has a clock that was
// wrong; it gets the time of the commit before it, and its own is kept as claimed.
func arrange(commits []commit, now time.Time) {
	keep := make([]bool, len(commits))
	// From the last commit to the first, so that of two equally long sequences the one
	// that begins earlier is kept. ends[n] is the commit with the latest time that begins
	// a sequence of n+1 commits.
	var ends []int
	after := make([]int, len(commits))
	for i := len(commits) - 1; i >= 0; i-- {
		if commits[i].time.After(now) {
			continue
		}
		at, _ := slices.BinarySearchFunc(ends, commits[i].time, func(end int, t time.Time) int {
			if commits[end].time.Before(t) {
				return 1
			}
			return -1
		})
		if after[i] = -1; at > 0 {
			after[i] = ends[at-1]
		}
		if at == len(ends) {
			ends = append(ends, i)
		} else {
			ends[at] = i
		}
	}
	if len(ends) > 0 {
		for i := ends[len(ends)-1]; i >= 0; i = after[i] {
			keep[i] = true
		}
	}
	var last time.Time
	if first := slices.Index(keep, true); first >= 0 {
		last = commits[first].time
	} else {
		last = now.UTC().Truncate(time.Second)
	}
	for i := range commits {
		if !keep[i] {
			commits[i].claimed, commits[i].time = commits[i].time, last
		}
		last = commits[i].time
	}
}

// note is a commit's message, its id and, if the commit is written with another time,
// its own time.
func (c commit) note() string {
	text := c.message + "\n\ngit: " + c.id
	if !c.claimed.IsZero() {
		text += "\ngit time: " + c.claimed.Format(time.RFC3339)
	}
	return text
}
