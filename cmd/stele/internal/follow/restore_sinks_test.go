package follow_test

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/stelehq/stele/internal/ledger/routes"
	"github.com/stelehq/stele/internal/projector/fakeaws"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"pgregory.net/rapid"
)

// sinks are the stores that the projector of a ledger writes to. They outlive the ledger.
type sinks struct {
	aws   *fakeaws.Server
	files string
	table *routes.Table
}

// openSinks starts empty stores. setenv directs the process to AWS's fake.
func openSinks(t *rapid.T, dir string, setenv func(name, value string)) *sinks {
	s := &sinks{files: filepath.Join(dir, "files")}
	var err error
	if s.aws, err = fakeaws.Start(); err != nil {
		t.Fatal(err)
	}
	for _, e := range s.aws.Environ() {
		name, value, _ := strings.Cut(e, "=")
		setenv(name, value)
	}
	route := map[string]any{"prefix": "a/", "sinks": []string{"files", "params"}, "drift": rapid.SampledFrom([]string{"report", "repair", "adopt"}).Draw(t, "drift")}
	if route["drift"] == "adopt" {
		route["adopt_deletions"] = true
	}
	text, err := json.Marshal(map[string]any{
		"sinks": map[string]any{
			"files":  map[string]any{"kind": "directory", "path": s.files},
			"params": map[string]any{"kind": "parameterstore", "endpoint": s.aws.URL, "rate": 100000, "reads": 100000, "recreate_after": "0s"},
		},
		"routes": []any{route},
	})
	if err != nil {
		t.Fatal(err)
	}
	if s.table, err = routes.Parse(text); err != nil {
		t.Fatal(err)
	}
	return s
}

// read returns the values of each store, by key.
func (s *sinks) read(t *rapid.T) map[string]map[string]string {
	stores := map[string]map[string]string{"files": {}, "params": {}}
	const prefix = "/stele/acme/"
	for _, name := range s.aws.Parameters.Names() {
		if v, ok := s.aws.Parameters.Get(name); ok {
			stores["params"][strings.TrimPrefix(name, prefix)] = v.Value
		}
	}
	keys, err := os.ReadDir(filepath.Join(s.files, "acme", "a"))
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	for _, e := range keys {
		if text, err := os.ReadFile(filepath.Join(s.files, "acme", "a", e.Name())); err == nil { // a write may have replaced the folder
			stores["files"]["a/"+e.Name()] = string(text)
		}
	}
	return stores
}

// equalSinks waits until the stores hold exactly the keys of the ledger.
func (w *restored) equalSinks(ctx context.Context) {
	list, err := w.config.List(w.as(ctx), &stelev1.ListRequest{})
	if err != nil {
		w.t.Fatal(err)
	}
	want := make(map[string]string)
	for _, e := range list.Entries {
		want[e.Key] = e.Value
	}
	for {
		stores := w.sinks.read(w.t)
		equal := true
		for name, has := range stores {
			if maps.Equal(has, want) {
				continue
			}
			equal = false
			// Do not wait for the next sweep. The sink may be starting.
			_, _ = stelev1.NewSinksClient(w.conn).CheckDrift(w.asOperator(ctx), &stelev1.CheckDriftRequest{Sink: name})
		}
		if equal {
			return
		}
		select {
		case <-ctx.Done():
			w.t.Fatalf("the sinks have %v, and the ledger %v", stores, want)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// checkSinks checks that the stores become equal to the restored ledger, and that nothing of
// the lost commits was adopted from them.
func (w *restored) checkSinks(ctx context.Context, now *stelev1.GetHeadResponse) {
	w.equalSinks(ctx)
	if head := w.head(ctx); string(head.Id) != string(now.Id) {
		w.t.Errorf("the head was %s, and is %s: a value of a lost commit was adopted", headName(now), headName(head))
	}
}

func headName(head *stelev1.GetHeadResponse) string {
	return fmt.Sprintf("@%d %x", head.Snapshot.GetRevision(), head.Id)
}
