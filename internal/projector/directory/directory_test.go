package directory_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/projector"
	"github.com/stelehq/stele/internal/projector/directory"
	"github.com/stelehq/stele/internal/projector/sinktest"
)

func TestStore(t *testing.T) {
	sinktest.Store(t, func(t *testing.T) sinktest.Place {
		dir := memory(t)
		return sinktest.Place{
			Open: func(ctx context.Context, epoch ledger.Epoch) (projector.Store, error) {
				return open(ctx, projector.Settings{Epoch: epoch, Dir: dir})
			},
			Fit: func(e ledger.Epoch) (projector.Fit, error) {
				return directory.Fit(projector.Settings{Name: "files", Epoch: e, JSON: []byte(`{}`)})
			},
			Put: func(t testing.TB, name, text string) { put(t, filepath.Join(dir, "files", name), text) },
			Delete: func(t testing.TB, name string) {
				if err := os.Remove(filepath.Join(dir, "files", name)); err != nil {
					t.Fatal(err)
				}
			},
			Conditional: true,
			Refused:     projector.Write{Key: ledger.Key("a/" + strings.Repeat("x", 256)), Value: `"x"`},
		}
	})
}

func open(ctx context.Context, s projector.Settings) (projector.Store, error) {
	s.Name = "files"
	if s.JSON == nil {
		s.JSON = []byte(`{}`)
	}
	sink, err := directory.Open(ctx, s)
	if err != nil {
		return nil, err
	}
	return sink.(projector.Store), nil
}

// memory is a folder on a file system in memory, if there is one.
func memory(t testing.TB) string {
	dir, err := os.MkdirTemp("/dev/shm", "stele-*")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// put writes a file by hand.
func put(t failer, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatalf("%v", err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatalf("%v", err)
	}
}
