package systemtest

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

// setting is what a key is set to, and by which revision.
type setting struct {
	value    string
	revision uint64
}

// readAnswer is what a read of one key was answered.
type readAnswer struct {
	key           string
	atLeast       uint64 // that was asked for
	snapshot, set uint64 // the revision of the answer, and the one that set the key; 0 for none
	value         string
	asked, age    time.Duration // when, since the begin, and the age that the answer states
}

// honest checks the age of an answer: it has everything that was acknowledged before the time
// that the age goes back to. acks are the times at which revisions were acknowledged.
func (a readAnswer) honest(acks map[uint64]time.Duration, last uint64) error {
	for revision := a.snapshot + 1; revision <= last; revision++ {
		if at, ok := acks[revision]; ok && at < a.asked-a.age {
			return fmt.Errorf("a read of @%d says that it is %s old, and @%d was acknowledged %s before it was asked", a.snapshot, a.age, revision, a.asked-at)
		}
	}
	return nil
}

// keyVersions knows for each key the revisions that have set it, and to what.
type keyVersions struct{ versions map[string][]setting }

func newKeyVersions(chain []recorded) keyVersions {
	r := keyVersions{make(map[string][]setting)}
	for i, c := range chain {
		for _, change := range c.changes {
			key, value, _ := strings.Cut(change, "=")
			r.versions[key] = append(r.versions[key], setting{value, uint64(i + 1)})
		}
	}
	return r
}

// explains compares a read with the state at its revision.
func (r keyVersions) explains(a readAnswer) error {
	var want setting
	for _, v := range r.versions[a.key] {
		if v.revision <= a.snapshot {
			want = v
		}
	}
	switch {
	case a.snapshot < a.atLeast:
		return fmt.Errorf("a read of @%d or later was answered with @%d", a.atLeast, a.snapshot)
	case want != setting{a.value, a.set}:
		return fmt.Errorf("%s at @%d was read as %q of @%d, and is %q of @%d", a.key, a.snapshot, a.value, a.set, want.value, want.revision)
	}
	return nil
}

// TestReadValidators_CatchMutants gives them answers that no ledger may give.
func TestReadValidators_CatchMutants(t *testing.T) {
	chain := []recorded{{"a", []string{"x=1", "y=1"}}, {"b", []string{"x=2"}}, {"c", []string{"y=3"}}}
	acks := map[uint64]time.Duration{1: time.Second, 2: 2 * time.Second, 3: 3 * time.Second}
	for _, tt := range []struct {
		name   string
		answer readAnswer
		good   bool
	}{
		{"the newest", readAnswer{key: "x", snapshot: 3, set: 2, value: "2", asked: 4 * time.Second}, true},
		{"an old one that says so", readAnswer{key: "x", snapshot: 1, set: 1, value: "1", asked: 4 * time.Second, age: 2500 * time.Millisecond}, true},
		{"an old one that does not", readAnswer{key: "x", snapshot: 1, set: 1, value: "1", asked: 4 * time.Second, age: time.Second}, false},
		{"below the bound", readAnswer{key: "x", atLeast: 2, snapshot: 1, set: 1, value: "1", asked: 4 * time.Second, age: time.Minute}, false},
		{"a value of another revision", readAnswer{key: "x", snapshot: 3, set: 1, value: "1", asked: 4 * time.Second}, false},
		{"a value too early", readAnswer{key: "y", snapshot: 2, set: 3, value: "3", asked: 2500 * time.Millisecond}, false},
		{"no value", readAnswer{key: "x", snapshot: 3, asked: 4 * time.Second}, false},
	} {
		a := tt.answer
		if err := errors.Join(newKeyVersions(chain).explains(a), a.honest(acks, 3)); (err == nil) != tt.good {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}
