package directory_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/projector"
)

// churnDir has a test binary write to a sink below it until it is killed.
const churnDir = "STELE_TEST_CHURN"

func TestMain(m *testing.M) {
	if dir := os.Getenv(churnDir); dir != "" {
		fmt.Fprintln(os.Stderr, churn(dir))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// churned are the keys of each commit; all are set to the commit's revision.
const churned = 20

func churnKey(i int) string { return fmt.Sprintf("tag%d/k%d", i%3, i) }

// churn writes commits and says so, each by a sink that has just been opened, which
// does not rest.
func churn(dir string) error {
	first, _ := strconv.Atoi(os.Getenv("FIRST"))
	for rev := first; ; rev++ {
		s, err := open(context.Background(), projector.Settings{Epoch: ledger.Epoch{1}, Dir: dir})
		if err != nil {
			return err
		}
		var writes []projector.Write
		for i := range churned {
			writes = append(writes, projector.Write{Tenant: "acme", Key: ledger.Key(churnKey(i)), Value: ledger.Value(strconv.Itoa(rev)), Revision: ledger.Revision(rev)})
		}
		if _, err := s.Write(context.Background(), writes); err != nil {
			return err
		}
		fmt.Println(rev)
	}
}

// version returns the folder of the version in use, empty before the first one.
func version(t *testing.T, acme string) string {
	t.Helper()
	link, err := os.Readlink(acme + "/..data")
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return link
}

// commit reads all files of one version as a program should, and returns their
// revision. It is 0 while there is none.
func commit(t *testing.T, acme string) int {
	t.Helper()
again:
	for {
		in := version(t, acme)
		if in == "" {
			return 0
		}
		var all []string
		for i := range churned {
			text, err := os.ReadFile(filepath.Join(acme, in, churnKey(i)))
			if os.IsNotExist(err) && version(t, acme) != in { // it was replaced and removed meanwhile
				continue again
			}
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, string(text))
		}
		for _, text := range all {
			if text != all[0] || text == "" {
				t.Fatalf("a version mixes commits: %q", all)
			}
		}
		rev, err := strconv.Atoi(all[0])
		if err != nil {
			t.Fatal(err)
		}
		return rev
	}
}

// read reads a file by its path as a program should. A path whose version is replaced and
// removed while the path is resolved is missing for a moment. The error is of a path that is
// missing in the version in use.
func read(t *testing.T, acme, path string) ([]byte, error) {
	t.Helper()
	for {
		in := version(t, acme)
		text, err := os.ReadFile(filepath.Join(acme, path))
		if os.IsNotExist(err) && version(t, acme) != in {
			continue
		}
		return text, err
	}
}

// Programs see whole commits while a process writes that is killed again and again,
// and what it has said is written is there.
func TestWrite_KilledWhileProgramsRead(t *testing.T) {
	dir := memory(t)
	acme := filepath.Join(dir, "files", "acme")
	acknowledged := 0
	for kill := range 10 {
		child := exec.Command(os.Args[0])
		child.Env = append(os.Environ(), churnDir+"="+dir, fmt.Sprintf("FIRST=%d", acknowledged+1))
		child.Stderr = os.Stderr
		out, err := child.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := child.Start(); err != nil {
			t.Fatal(err)
		}
		said := make(chan int)
		go func() {
			defer close(said)
			for lines := bufio.NewScanner(out); lines.Scan(); {
				rev, _ := strconv.Atoi(lines.Text())
				said <- rev
			}
		}()
		for n := range 20 {
			seen := commit(t, acme)
			if seen < acknowledged {
				t.Errorf("@%d is written, programs see @%d", acknowledged, seen)
			}
			if one, err := read(t, acme, churnKey(0)); err == nil {
				if rev, err := strconv.Atoi(string(one)); err != nil || rev < seen {
					t.Errorf("a path says %q after @%d", one, seen)
				}
			} else if seen > 0 {
				t.Errorf("a path that was there is not: %v", err)
			}
			rev, ok := <-said
			if !ok {
				t.Fatal("the writer ended by itself")
			}
			acknowledged = rev
			if n == 10+kill {
				break
			}
		}
		child.Process.Kill()
		for rev := range said {
			acknowledged = rev
		}
		child.Wait()
		if seen := commit(t, acme); seen < acknowledged {
			t.Errorf("@%d is written, programs see @%d after the kill", acknowledged, seen)
		}
	}
}
