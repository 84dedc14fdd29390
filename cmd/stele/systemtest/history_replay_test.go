//go:build history

package systemtest

import (
	"encoding/json"
	"fmt"
	"os/exec"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stelehq/stele/internal/ledger"
)

// replay answers by itself what a tenant's settings were: it plays the changes
// again from the first one on, each time.
type replay struct {
	tenant  ledger.Tenant
	commits []replayed // commits[0] made revision 1
}

// replayed is a commit: its time and its changes.
type replayed struct {
	time    time.Time
	changes []replayedChange
}

type replayedChange struct {
	key    string
	value  json.RawMessage
	delete bool
}

// entry is the last thing that happened to a key.
type entry struct {
	revision int
	value    json.RawMessage // nil where the key was deleted
}

func newReplay(tenant ledger.Tenant, lines []sourceLine) *replay {
	r := &replay{tenant: tenant}
	for _, l := range lines {
		c := replayed{time: l.Time}
		for _, ch := range l.Changes {
			c.changes = append(c.changes, replayedChange{ch.Key, ch.Value, ch.Delete})
		}
		r.commits = append(r.commits, c)
	}
	return r
}

func (r *replay) head() int { return len(r.commits) }

// state is what had happened to each key under the prefix by a revision.
func (r *replay) state(revision int, prefix string) map[string]entry {
	state := make(map[string]entry)
	for i, c := range r.commits[:revision] {
		for _, ch := range c.changes {
			switch {
			case !strings.HasPrefix(ch.key, prefix):
			case ch.delete:
				state[ch.key] = entry{i + 1, nil}
			default:
				state[ch.key] = entry{i + 1, ch.value}
			}
		}
	}
	return state
}

// revisionAt is the last revision that is not later, 0 before the first.
func (r *replay) revisionAt(at time.Time) int {
	n := 0
	for n < len(r.commits) && !r.commits[n].time.After(at) {
		n++
	}
	return n
}

// set is the keys that are set, sorted, as an export has them.
func set(t *testing.T, state map[string]entry) []exported {
	t.Helper()
	var all []exported
	for key, e := range state {
		if e.value != nil {
			all = append(all, exported{key, exact(value(t, e.value)), uint64(e.revision)})
		}
	}
	slices.SortFunc(all, func(a, b exported) int { return strings.Compare(a.Key, b.Key) })
	return all
}

// value reads a JSON text, with its numbers as they are written.
func value(t *testing.T, text json.RawMessage) any {
	t.Helper()
	return objects[any](t, text)[0]
}

// same reports whether two texts mean the same; nil is a key that is not set.
func same(t *testing.T, a, b json.RawMessage) bool {
	t.Helper()
	if a == nil || b == nil {
		return a == nil && b == nil
	}
	return reflect.DeepEqual(exact(value(t, a)), exact(value(t, b)))
}

// roll appends the commit that makes the keys under the prefix equal to an earlier
// revision, its time still unknown, and returns how many it sets and deletes; it
// appends nothing if there are none.
func (r *replay) roll(t *testing.T, to int, prefix string) (sets, deletes int) {
	t.Helper()
	now, then := r.state(r.head(), prefix), r.state(to, prefix)
	var changes []replayedChange
	for key, is := range now { // a key that was ever set stays in every later state
		was := then[key]
		switch {
		case same(t, is.value, was.value):
		case was.value == nil:
			changes = append(changes, replayedChange{key: key, delete: true})
			deletes++
		default:
			changes = append(changes, replayedChange{key: key, value: was.value})
			sets++
		}
	}
	if len(changes) > 0 {
		r.commits = append(r.commits, replayed{changes: changes})
	}
	return sets, deletes
}

// compareOracle compares the replay with the oracle in the state of a revision or a
// time.
func (r *replay) compareOracle(t *testing.T, s *source, revision int, prefix string, asOf ...string) {
	t.Helper()
	args := append([]string{s.oracle, s.file, "--tenant", string(r.tenant), "--prefix", prefix}, asOf...)
	want := objects[exported](t, output(t, exec.Command("python3", args...)))
	for i := range want {
		want[i].Value = exact(want[i].Value)
	}
	if got := set(t, r.state(revision, prefix)); !reflect.DeepEqual(got, want) && len(got)+len(want) > 0 {
		t.Fatalf("%s %v under %q: the replay has %s, the oracle %s", r.tenant, asOf, prefix, fmt.Sprint(got), fmt.Sprint(want))
	}
}
