package projector_test

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/journal"
	"github.com/stelehq/stele/internal/ledger/ledgertest"
	"github.com/stelehq/stele/internal/ledger/routes"
	"github.com/stelehq/stele/internal/projector"
)

// at runs a part of a test in a world whose journal is in a folder, with a projector, and
// stops all of it.
func at(t *testing.T, dir string, store *store, do func(*world)) {
	t.Helper()
	server, err := journal.StartServer(journal.ServerConfig{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	w := &world{t: t, server: server, store: store, bus: &bus{}}
	w.node = ledgertest.Start(t, server, ledgertest.Config{Dir: t.TempDir()})
	defer w.node.Close()
	table, err := routes.Parse([]byte(`{"sinks":{"store":{}},"routes":[{"prefix":"a/","sinks":["store"],"drift":"adopt","adopt_deletions":true}]}`))
	if err != nil {
		t.Fatal(err)
	}
	w.routes = routes.NewSource(w.node.Replica, table, slog.New(slog.DiscardHandler))
	p := w.start(w.node, true)
	defer p.Close()
	do(w)
}

func copyDir(t *testing.T, from, to string) {
	t.Helper()
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
}

// TestRestore_StoreFollowsTheRestoredLedger restores a backup under a store that has later
// commits. Items of these commits are written again, and never adopted, also if the
// positions are newer than the backup.
func TestRestore_StoreFollowsTheRestoredLedger(t *testing.T) {
	for _, newerPositions := range []bool{false, true} {
		t.Run(fmt.Sprintf("newer positions %t", newerPositions), func(t *testing.T) {
			original, backup := filepath.Join(t.TempDir(), "original"), filepath.Join(t.TempDir(), "backup")
			store := newStore()
			at(t, original, store, func(w *world) {
				w.commit("acme", map[ledger.Key]string{"a/old": "1", "a/both": "1", "a/gone": "1"})
				w.equal("a/", "acme")
			})
			copyDir(t, original, backup)
			at(t, original, store, func(w *world) {
				w.commit("acme", map[ledger.Key]string{"a/both": `"lost"`})
				w.commit("acme", map[ledger.Key]string{"a/old": `"lost"`})
				w.commit("acme", map[ledger.Key]string{"a/lost": `"lost"`})
				w.commit("acme", map[ledger.Key]string{"a/gone": ""})
				w.equal("a/", "acme")
			})
			if newerPositions {
				copyPositions(t, original, backup)
			}
			store.edit(func(map[string]projector.Item) { clear(store.newest) }) // it goes back, this once
			at(t, backup, store, func(w *world) {
				for i := range 4 {
					w.commit("acme", map[ledger.Key]string{"a/both": fmt.Sprintf(`"new %d"`, i)})
				}
				until(t, func() bool {
					w.check("store")
					return fmt.Sprint(store.values()) == `map[acme:a/both:"new 3" acme:a/gone:1 acme:a/old:1]`
				}, func() string { return fmt.Sprint(store.values()) })
				w.equal("a/", "acme")
				if head := w.head("acme"); head != 5 {
					t.Errorf("the head is %s: something of the lost history was adopted", head)
				}
			})
		})
	}
}

// copyPositions replaces the sink positions of the journal to with the ones of the journal from.
func copyPositions(t *testing.T, from, to string) {
	t.Helper()
	const stream = "STELE-SINKS"
	err := filepath.WalkDir(from, func(path string, d os.DirEntry, err error) error {
		if err != nil || !d.IsDir() || d.Name() != stream {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		if err := os.RemoveAll(filepath.Join(to, rel)); err != nil {
			return err
		}
		if err := os.CopyFS(filepath.Join(to, rel), os.DirFS(path)); err != nil {
			return err
		}
		return filepath.SkipDir
	})
	if err != nil {
		t.Fatal(err)
	}
}
