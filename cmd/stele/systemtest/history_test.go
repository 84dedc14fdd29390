//go:build history

package systemtest

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"github.com/stelehq/stele/internal/ledger"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
)

// compareExport compares an export with the oracle, line by line. It returns the
// number of keys.
func (s *source) compareExport(t *testing.T, p program, tenant ledger.Tenant, at string, oracle ...string) int {
	t.Helper()
	args := []string{"-t", string(tenant), "export"}
	if at != "" {
		args = append(args, "--at", at)
	}
	got := objects[exported](t, p.run(t, args...))
	want := objects[exported](t, output(t, exec.Command("python3", append([]string{s.oracle, s.file, "--tenant", string(tenant)}, oracle...)...)))
	if len(got) != len(want) {
		t.Fatalf("export of %s %s has %d keys, the oracle %d", tenant, at, len(got), len(want))
	}
	for i := range got {
		got[i].Value, want[i].Value = exact(got[i].Value), exact(want[i].Value)
		if !reflect.DeepEqual(got[i], want[i]) {
			t.Fatalf("export of %s %s, line %d: %v, the oracle has %v", tenant, at, i+1, got[i], want[i])
		}
	}
	return len(got)
}

// shown is what "stele show -o json" prints.
type shown struct {
	Revision uint64    `json:"revision"`
	Time     time.Time `json:"time"`
	Author   string    `json:"author"`
	Message  string    `json:"message"`
	Recorded time.Time `json:"recorded"`
	Importer string    `json:"importer"`
	Changes  []struct {
		Key    string `json:"key"`
		Value  any    `json:"value"`
		Delete bool   `json:"delete"`
	} `json:"changes"`
}

// compareCommit compares a commit with its line.
func (s *source) compareCommit(t *testing.T, p program, tenant ledger.Tenant, revision int) {
	t.Helper()
	line := s.lines[tenant][revision-1]
	got := objects[shown](t, p.run(t, "-t", string(tenant), "show", fmt.Sprint("@", revision), "-o", "json"))[0]
	if got.Revision != uint64(revision) || !got.Time.Equal(line.Time) || got.Author != line.Author || got.Message != line.Message {
		t.Fatalf("%s@%d is %+v, its line %+v", tenant, revision, got, line)
	}
	if got.Importer == "" || got.Recorded.Before(line.Time) {
		t.Fatalf("%s@%d came in at %s by %q", tenant, revision, got.Recorded, got.Importer)
	}
	if len(got.Changes) != len(line.Changes) {
		t.Fatalf("%s@%d has %d changes, its line %d", tenant, revision, len(got.Changes), len(line.Changes))
	}
	for i, want := range line.Changes {
		ch := got.Changes[i]
		same := ch.Delete || reflect.DeepEqual(exact(ch.Value), exact(objects[any](t, want.Value)[0]))
		if ch.Key != want.Key || ch.Delete != want.Delete || !same {
			t.Fatalf("%s@%d changes %v, its line %s = %s (delete: %v)", tenant, revision, ch, want.Key, want.Value, want.Delete)
		}
	}
}

// tally is what "stele import -o json" prints of a tenant.
type tally struct {
	Tenant   ledger.Tenant `json:"tenant"`
	Revision int           `json:"revision"`
	Written  int           `json:"written"`
	Present  int           `json:"present"`
}

// importAll imports the whole log and returns how many lines were written now.
func (s *source) importAll(t *testing.T, p program) (written int) {
	t.Helper()
	tallies := objects[tally](t, p.run(t, "import", s.file, "-o", "json"))
	if len(tallies) != len(s.lines) {
		t.Fatalf("the import reports %d tenants, the log has %d", len(tallies), len(s.lines))
	}
	for _, got := range tallies {
		if lines := len(s.lines[got.Tenant]); got.Revision != lines || got.Written+got.Present != lines {
			t.Fatalf("the import reports %+v, the log has %d lines", got, lines)
		}
		written += got.Written
	}
	return written
}

// TestHistory_EqualsTheOracle imports the history in $STELE_HISTORY.
func TestHistory_EqualsTheOracle(t *testing.T) {
	t.Parallel() // with TestTimeTravel: each waits for one process at a time
	seed := uint64(time.Now().UnixNano())
	random := rand.New(rand.NewPCG(seed, 0))
	fmt.Println("history: seed", seed)
	s := openSource(t, os.Getenv("STELE_HISTORY"))
	lines := 0
	largest := s.tenants()[0]
	for tenant, of := range s.lines {
		lines += len(of)
		if len(of) > len(s.lines[largest]) {
			largest = tenant
		}
	}
	p := program{filepath.Join(t.TempDir(), "config.yaml")}
	g := startUp(t, t.TempDir(), p.config)

	begun := time.Now()
	third := uint64(len(s.lines[largest]) / 3)
	interrupted := launch(t, environment(p.config), "stele", "import", s.file)
	await(t, "a third of the import", func() bool {
		return untilUp(t, acting(t, largest), g.ledger.GetHead, &stelev1.GetHeadRequest{}).Snapshot.Head >= third
	})
	interrupted.kill()
	written := s.importAll(t, p)
	if written == 0 || written == lines {
		t.Fatalf("the second run wrote %d of %d lines: the first was not interrupted on its way", written, lines)
	}
	fmt.Printf("import: %d change sets of %d tenants in %s, killed once after %d\n", lines, len(s.lines), time.Since(begun).Round(time.Millisecond), lines-written)
	if again := s.importAll(t, p); again != 0 {
		t.Fatalf("importing it again wrote %d", again)
	}
	fmt.Printf("import again: 0 written, %d already there\n", lines)

	const states, commits = 5, 20
	for _, tenant := range s.tenants() {
		of := s.lines[tenant]
		keys := s.compareExport(t, p, tenant, "")
		compared := keys
		for range states {
			n := 1 + random.IntN(len(of))
			compared += s.compareExport(t, p, tenant, fmt.Sprint("@", n), "--revision", fmt.Sprint(n))
		}
		first, last := of[0].Time, of[len(of)-1].Time
		for range states {
			at := first.Add(time.Duration(random.Int64N(int64(last.Sub(first)) + 1))).Format(time.RFC3339)
			compared += s.compareExport(t, p, tenant, "@"+at, "--time", at)
		}
		// A time at which something was committed, and perhaps more than once.
		at := of[random.IntN(len(of))].Time.Format(time.RFC3339)
		compared += s.compareExport(t, p, tenant, "@"+at, "--time", at)
		for range commits {
			s.compareCommit(t, p, tenant, 1+random.IntN(len(of)))
		}
		fmt.Printf("%s@%d: %d keys at head, %d lines in 1 + %d + %d + 1 exports (head, revisions, times, a commit's time) equal to the oracle's; %d commits have their line's time, author, message and changes\n",
			tenant, len(of), keys, compared, states, states, commits)
	}
	s.compareHeirs(t, p, g, random, largest)
}
