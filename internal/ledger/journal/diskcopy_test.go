package journal

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stelehq/stele/internal/ledger"
)

// The report of damage names the file that has it, also at the border between two files.
func TestDiskCopy_NamesTheDamagedFile(t *testing.T) {
	dir := t.TempDir()
	j := openTest(t, startTest(t, dir), Config{})
	files := filepath.Join(diskCopy{dir}.folder(streamName), "%.blk")
	first, second := strings.Replace(files, "%", "1", 1), strings.Replace(files, "%", "2", 1)
	var last ledger.Sequence
	large := strings.Repeat("x", 1<<20)
	for {
		last = mustAppend(t, j, last, large)
		if _, err := os.Stat(second); err == nil {
			break
		}
		if last > 64 {
			t.Fatal("64 MB are in one file")
		}
	}
	whole, err := os.ReadFile(first)
	if err != nil {
		t.Fatal(err)
	}
	read := func() (found []string) {
		t.Helper()
		err := diskCopy{dir}.readAll(t.Context(), streamName, subject, last, skip, func(d Damage) { found = append(found, d.What) })
		if err != nil {
			t.Fatal(err)
		}
		return found
	}
	if found := read(); found != nil {
		t.Fatalf("of a whole journal it says %q", found)
	}
	if err := os.WriteFile(first, slices.Concat(whole[:len(whole)-100], []byte{whole[len(whole)-100] ^ 1}, whole[len(whole)-99:]), 0o600); err != nil {
		t.Fatal(err)
	}
	if found := read(); len(found) != 1 || !strings.Contains(found[0], first+" is damaged") {
		t.Errorf("of damage at the end of the first file it says %q", found)
	}
	if err := os.Remove(first); err != nil {
		t.Fatal(err)
	}
	if found := read(); len(found) != 1 || !strings.Contains(found[0], "no file in "+filepath.Dir(first)+" has it") {
		t.Errorf("without the first file it says %q", found)
	}
}
