package parameterstore

import (
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/routes"
	"github.com/stelehq/stele/internal/projector"
	"github.com/stelehq/stele/internal/projector/fakeaws"
)

// TestWrite_DeletedKeysAreForgotten deletes all keys: the sink keeps nothing in memory about
// them, except the deletions that are too recent for AWS.
func TestWrite_DeletedKeysAreForgotten(t *testing.T) {
	aws, err := fakeaws.Start()
	if err != nil {
		t.Fatal(err)
	}
	defer aws.Close()
	s, err := open(t.Context(), projector.Settings{Name: "params", Local: true, Epoch: ledger.Epoch{1}, Log: slog.New(slog.DiscardHandler),
		JSON: fmt.Appendf(nil, `{"endpoint": %q, "region": %q, "rate": 200, "reads": 1000}`, aws.URL, fakeaws.Region)})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	write := func(rev ledger.Revision, value ledger.Value) {
		t.Helper()
		var writes []projector.Write
		for i := range 10 {
			writes = append(writes, projector.Write{Tenant: "acme", Key: ledger.Key(fmt.Sprint("k", i)), Value: value, Revision: rev, Route: &routes.Route{}})
		}
		errs, err := s.Write(t.Context(), writes)
		if err != nil {
			t.Fatal(err)
		}
		for _, err := range errs {
			if err != nil {
				t.Error(err)
			}
		}
	}
	write(1, `1`)
	if len(s.known) != 10 {
		t.Errorf("%d of 10 parameters are known", len(s.known))
	}
	s.deleted["/stele/acme/old"] = time.Now().Add(-s.recreateAfter)
	write(2, "")
	write(3, "") // of keys that have no parameter
	if len(s.known) != 0 || len(s.deleted) != 10 {
		t.Errorf("%d deleted parameters are known, and the times of %d deletions, want those of 10", len(s.known), len(s.deleted))
	}
}
