package directory_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stelehq/stele/ledger"
	"github.com/stelehq/stele/projector"
	"github.com/stelehq/stele/projector/directory"
	"github.com/stelehq/stele/projector/sinktest"
)

func TestStore(t *testing.T) {
	sinktest.Store(t, func(t *testing.T) sinktest.Place {
		dir := t.TempDir()
		return sinktest.Place{
			Open: func(ctx context.Context, epoch ledger.Epoch) (projector.Store, error) {
				return open(ctx, projector.Settings{Epoch: epoch, Dir: dir})
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

// put writes a file by hand.
func put(t testing.TB, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
