//go:build history

package systemtest

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	jsonpatch "github.com/evanphx/json-patch/v5"
	"github.com/stelehq/stele/internal/ledger"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// traveler reads past states of a running ledger, and knows the answers.
type traveler struct {
	p       program
	g       *gateway
	random  *rand.Rand
	replays []*replay
}

// pick chooses a tenant, one with more commits more often.
func (tr *traveler) pick() *replay {
	total := 0
	for _, r := range tr.replays {
		total += r.head()
	}
	n := tr.random.IntN(total)
	for _, r := range tr.replays {
		if n -= r.head(); n < 0 {
			return r
		}
	}
	panic("no tenant")
}

// state chooses a revision of the tenant's history, and how to ask for it: by
// itself, by a time between its commit and the next one, or by its commit's time,
// which other commits may share.
func (tr *traveler) state(r *replay) (revision int, at *stelev1.At) {
	revision = 1 + tr.random.IntN(r.head())
	if tr.random.IntN(2) == 0 {
		return revision, &stelev1.At{Point: &stelev1.At_Revision{Revision: uint64(revision)}}
	}
	when := r.commits[revision-1].time
	if revision < r.head() {
		if gap := r.commits[revision].time.Sub(when); gap > 0 && tr.random.IntN(2) == 0 {
			when = when.Add(time.Duration(tr.random.Int64N(int64(gap))))
		}
	}
	return r.revisionAt(when), &stelev1.At{Point: &stelev1.At_Time{Time: timestamppb.New(when)}}
}

// prefix chooses everything, or a part of some key's name.
func (tr *traveler) prefix(r *replay) string {
	if tr.random.IntN(5) == 0 {
		return ""
	}
	changes := r.commits[tr.random.IntN(r.head())].changes
	key := changes[tr.random.IntN(len(changes))].key
	segments := strings.SplitAfter(key, "/")
	return strings.Join(segments[:1+tr.random.IntN(len(segments))], "")
}

// list reads the keys under the prefix in a past state; nil for head.
func (tr *traveler) list(t *testing.T, r *replay, at *stelev1.At, prefix string) []exported {
	t.Helper()
	var all []exported
	req := &stelev1.ListRequest{At: at, Prefix: prefix, PageSize: 10_000}
	for {
		resp := untilUp(t, acting(t, r.tenant), tr.g.config.List, req)
		for _, e := range resp.Entries {
			all = append(all, exported{e.Key, exact(value(t, json.RawMessage(e.Value))), e.Revision})
		}
		if req.PageToken = resp.NextPageToken; req.PageToken == "" {
			return all
		}
	}
}

// compareRead compares a read with the replay, and returns how many keys it has.
func (tr *traveler) compareRead(t *testing.T) int {
	t.Helper()
	r := tr.pick()
	revision, at := tr.state(r)
	prefix := tr.prefix(r)
	got, want := tr.list(t, r, at, prefix), set(t, r.state(revision, prefix))
	if len(got)+len(want) > 0 && !reflect.DeepEqual(got, want) {
		t.Fatalf("%s at %v under %q: read %v, the replay has %v", r.tenant, at, prefix, got, want)
	}
	return len(got)
}

// diffLine is what "stele diff -o json" prints of a key.
type diffLine struct {
	Key      string
	From, To struct {
		Revision int
		Value    json.RawMessage
	}
	Patch json.RawMessage
}

// compareDiff compares a diff with the replay, and what its patches make of the
// old values against the new ones. It returns how many keys differ.
func (tr *traveler) compareDiff(t *testing.T) int {
	t.Helper()
	r := tr.pick()
	from, _ := tr.state(r)
	to, at := tr.state(r)
	if from == to {
		from = 0
	}
	from, to = min(from, to), max(from, to)
	name := fmt.Sprint("@", to)
	if when := at.GetTime(); when != nil && r.revisionAt(when.AsTime()) == to {
		name = when.AsTime().Format(time.RFC3339Nano)
	}
	prefix := tr.prefix(r)
	got := objects[diffLine](t, tr.p.run(t, "-t", string(r.tenant), "diff", fmt.Sprint("@", from), name, prefix, "-o", "json"))
	old, now := r.state(from, prefix), r.state(to, prefix)
	var want []string
	for key, e := range now {
		if !same(t, old[key].value, e.value) {
			want = append(want, key)
		}
	}
	slices.Sort(want)
	if len(got) != len(want) {
		t.Fatalf("%s@%d to %d under %q: %d keys differ, in the replay %d", r.tenant, from, to, prefix, len(got), len(want))
	}
	for i, key := range want {
		d, was, is := got[i], old[key], now[key]
		if d.Key != key || d.From.Revision != was.revision || d.To.Revision != is.revision ||
			!same(t, d.From.Value, was.value) || !same(t, d.To.Value, is.value) {
			t.Fatalf("%s@%d to %d: %s is shown as %+v, the replay has %d %s and %d %s",
				r.tenant, from, to, key, d, was.revision, was.value, is.revision, is.value)
		}
		if d.From.Value != nil && d.To.Value != nil && !same(t, patched(t, d), is.value) {
			t.Fatalf("%s@%d to %d: %s: the patch %s makes %s of %s", r.tenant, from, to, key, d.Patch, patched(t, d), was.value)
		}
	}
	return len(got)
}

// patched is the old value with the patch applied. The value is put into an
// object, because the library takes no scalar.
func patched(t *testing.T, d diffLine) json.RawMessage {
	t.Helper()
	var steps []map[string]any
	for _, step := range value(t, d.Patch).([]any) {
		s := step.(map[string]any)
		s["path"] = "/value" + s["path"].(string)
		steps = append(steps, s)
	}
	text, err := json.Marshal(steps)
	if err != nil {
		t.Fatal(err)
	}
	p, err := jsonpatch.DecodePatch(text)
	if err != nil {
		t.Fatal(err)
	}
	document, err := p.Apply([]byte(`{"value":` + string(d.From.Value) + `}`))
	if err != nil {
		t.Fatal(err)
	}
	var out struct{ Value json.RawMessage }
	if err := json.Unmarshal(document, &out); err != nil {
		t.Fatal(err)
	}
	return out.Value
}

// compareRollback rolls back and compares the whole state with the replay: what
// is under the prefix is what it was, and the rest is as before. It returns how
// many keys it sets and deletes.
func (tr *traveler) compareRollback(t *testing.T, r *replay, to int, prefix string) int {
	t.Helper()
	was, rest := set(t, r.state(to, prefix)), set(t, r.state(r.head(), ""))
	sets, deletes := r.roll(t, to, prefix)
	out := tr.p.run(t, "-t", string(r.tenant), "rollback", "--yes", "--to", fmt.Sprint("@", to), prefix, "-o", "json")
	if sets+deletes == 0 {
		if len(out) > 0 {
			t.Fatalf("%s to @%d under %q: there was nothing to do, and it wrote %s", r.tenant, to, prefix, out)
		}
		return 0
	}
	made := objects[struct {
		Revision int
		Time     time.Time
	}](t, out)[0]
	if made.Revision != r.head() {
		t.Fatalf("%s to @%d under %q: it is @%d, not @%d", r.tenant, to, prefix, made.Revision, r.head())
	}
	r.commits[r.head()-1].time = made.Time
	now := tr.list(t, r, nil, "")
	if want := set(t, r.state(r.head(), "")); len(now)+len(want) > 0 && !reflect.DeepEqual(now, want) {
		t.Fatalf("%s@%d, rolled back to @%d under %q: %v, the replay has %v", r.tenant, r.head(), to, prefix, now, want)
	}
	under := func(e exported) bool { return strings.HasPrefix(e.Key, prefix) }
	outside := func(e exported) bool { return !under(e) }
	if got := valuesOf(slices.DeleteFunc(slices.Clone(now), outside)); !reflect.DeepEqual(got, valuesOf(was)) {
		t.Fatalf("%s@%d, rolled back to @%d under %q, is %v there; it was %v", r.tenant, r.head(), to, prefix, got, was)
	}
	if got, before := slices.DeleteFunc(now, under), slices.DeleteFunc(rest, under); len(got)+len(before) > 0 && !reflect.DeepEqual(got, before) {
		t.Fatalf("%s@%d, rolled back to @%d under %q, changed the rest from %v to %v", r.tenant, r.head(), to, prefix, before, got)
	}
	return sets + deletes
}

func valuesOf(entries []exported) map[string]any {
	values := make(map[string]any)
	for _, e := range entries {
		values[e.Key] = e.Value
	}
	return values
}

// TestTimeTravel reads past states of the history in $STELE_HISTORY, and rolls back to
// them.
func TestTimeTravel(t *testing.T) {
	t.Parallel()
	const points, reads, diffs, rollbacks = 40, 1000, 200, 100
	seed := uint64(time.Now().UnixNano())
	fmt.Println("time travel: seed", seed)
	s := openSource(t, os.Getenv("STELE_HISTORY"))
	p := program{filepath.Join(t.TempDir(), "config.yaml")}
	tr := &traveler{p: p, g: startUp(t, t.TempDir(), p.config), random: rand.New(rand.NewPCG(seed, 0))}
	for _, tenant := range s.tenants() {
		tr.replays = append(tr.replays, newReplay(tenant, s.lines[tenant]))
	}
	if n := s.importAll(t, p); n == 0 {
		t.Fatal("nothing was imported")
	}

	for range points {
		r := tr.pick()
		revision, at := tr.state(r)
		if when := at.GetTime(); when != nil {
			// The oracle compares times as texts, to the second.
			at := when.AsTime().Truncate(time.Second)
			r.compareOracle(t, s, r.revisionAt(at), tr.prefix(r), "--time", at.Format(time.RFC3339))
		} else {
			r.compareOracle(t, s, revision, tr.prefix(r), "--revision", fmt.Sprint(revision))
		}
	}
	fmt.Printf("replay: equal to the oracle's in %d of %d states\n", points, points)

	keys := 0
	for range reads {
		keys += tr.compareRead(t)
	}
	fmt.Printf("reads: %d of %d equal to the replay, %d keys together\n", reads, reads, keys)

	keys = 0
	for range diffs {
		keys += tr.compareDiff(t)
	}
	fmt.Printf("diffs: %d of %d equal to the replay, %d keys together, and every patch makes the new value of the old\n", diffs, diffs, keys)

	tr.rollBackAndForth(t, rollbacks)
	keys = 0
	for range reads {
		keys += tr.compareRead(t)
	}
	fmt.Printf("reads after it: %d of %d equal to the replay, %d keys together\n", reads, reads, keys)
}

// rollBackAndForth does that many rollbacks that change something. Some take the
// last rollback of their tenant back, which may itself have been such a one.
func (tr *traveler) rollBackAndForth(t *testing.T, rollbacks int) {
	done, idle, again, keys := 0, 0, 0, 0
	type rolled struct {
		before int // the head that it was made at
		prefix string
	}
	last := make(map[ledger.Tenant]rolled)
	for done < rollbacks {
		r := tr.pick()
		to, _ := tr.state(r)
		prefix := tr.prefix(r)
		before, back := last[r.tenant]
		if back = back && tr.random.IntN(3) == 0; back {
			to, prefix = before.before, before.prefix
		}
		head := r.head()
		n := tr.compareRollback(t, r, to, prefix)
		if n == 0 {
			idle++
			continue
		}
		last[r.tenant] = rolled{head, prefix}
		done++
		keys += n
		if back {
			again++
		}
	}
	fmt.Printf("rollbacks: %d of %d make the state what it was and leave the rest, %d keys together; %d of them take a rollback back, %d more had nothing to do\n",
		done, rollbacks, keys, again, idle)
}
