package parameterstore_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/projector"
	"github.com/stelehq/stele/internal/projector/fakeaws"
	"github.com/stelehq/stele/internal/projector/parameterstore"
)

// A scan reads descriptions first; what changes before it comes to the values is
// seen as it is then.
func TestScan_ConcurrentChanges(t *testing.T) {
	aws := start(t)
	s := open(t, aws, "")
	must(t, s, keys(10, 1)...)
	must(t, s, write(1, "last/edited", `1`), write(1, "last/removed", `1`))
	seen := make(map[ledger.Key]projector.Item)
	err := s.Scan(t.Context(), "acme", func(i projector.Item) error {
		if len(seen) == 0 {
			aws.Parameters.Remove("/stele/acme/last/removed")
			if err := aws.Parameters.Edit("/stele/acme/last/edited", func(v *fakeaws.Version) { v.Value, v.Description = "text", "mine" }); err != nil {
				return err
			}
			if err := aws.Parameters.Edit("/stele/acme/last/new", func(v *fakeaws.Version) { v.Value = "new" }); err != nil {
				return err
			}
		}
		seen[i.Key] = i
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if i := seen["last/edited"]; i.Revision != 0 || i.Value != `"text"` {
		t.Errorf("what was edited is %s with %s", i.Revision, i.Value)
	}
	if i := seen["last/new"]; i.Value != `"new"` {
		t.Errorf("what was added is %q", i.Value)
	}
	if i, ok := seen["last/removed"]; ok || len(seen) != 12 {
		t.Errorf("%d are seen, and what was removed is %s", len(seen), i.Value)
	}
}

// A value and a description that are read together are of the same version, whatever
// edits happen between the two requests.
func TestScan_ValueAndDescriptionOfOneVersion(t *testing.T) {
	aws := start(t)
	s := open(t, aws, "")
	must(t, s, write(1, "a", `1`))
	var editing sync.WaitGroup
	defer editing.Wait()
	done := make(chan struct{})
	defer close(done)
	editing.Go(func() {
		for rev := 2; ; rev++ {
			select {
			case <-done:
				return
			default:
			}
			edit := func(v *fakeaws.Version) {
				v.Value, v.Description = fmt.Sprint(rev), fmt.Sprintf("stele %s/%d json", epoch, rev)
			}
			if err := aws.Parameters.Edit("/stele/acme/a", edit); err != nil {
				t.Error(err)
				return
			}
		}
	})
	for range 20 {
		i, ok, err := s.Read(t.Context(), "/stele/acme/a")
		if err != nil {
			if !strings.Contains(err.Error(), "not of the same version") {
				t.Fatal(err)
			}
			continue
		}
		if !ok || string(i.Value) != fmt.Sprint(uint64(i.Revision)) {
			t.Fatalf("%s of revision %s was read", i.Value, i.Revision)
		}
	}
}

// A manual change that was not detected yet is overwritten by the ledger's next one,
// and the log records it.
func TestWrite_OverwrittenEditIsLogged(t *testing.T) {
	aws := start(t)
	var log bytes.Buffer
	cfg := settings(aws, epoch, "")
	cfg.Log = slog.New(slog.NewTextHandler(&log, nil))
	sink, err := parameterstore.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer sink.Close()
	s := sink.(projector.Store)
	must(t, s, write(1, "a", `1`))
	must(t, s, write(2, "a", `2`))
	if log.Len() > 0 {
		t.Errorf("without an edit the log says %s", &log)
	}
	if err := aws.Parameters.Edit("/stele/acme/a", func(v *fakeaws.Version) { v.Value = "by hand" }); err != nil {
		t.Fatal(err)
	}
	must(t, s, write(3, "a", `3`))
	if !strings.Contains(log.String(), "overwritten") || !strings.Contains(log.String(), "parameter=/stele/acme/a version=3") {
		t.Errorf("the log says %q", &log)
	}
}
