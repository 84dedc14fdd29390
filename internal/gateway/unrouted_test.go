package gateway_test

import (
	"fmt"
	"log/slog"
	"slices"
	"testing"

	"github.com/stelehq/stele/internal/gateway"
	"github.com/stelehq/stele/internal/gateway/identity"
	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/routes"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
)

// routed gives a gateway routes that the ledger does not have.
func routed(t testing.TB, document string) func(*gateway.Config) {
	t.Helper()
	table, err := routes.Parse([]byte(document))
	if err != nil {
		t.Fatal(err)
	}
	return func(c *gateway.Config) {
		c.Routes = routes.NewSource(c.Replica, table, slog.New(slog.DiscardHandler))
	}
}

// A route's prefix is by segments: keys that begin with it and are not below it have none.
func TestStatus_CountsKeysNextToARoutesPrefix(t *testing.T) {
	f := startRecorded(t, routed(t, `{"sinks": {"files": {}}, "routes": [{"prefix": "b", "sinks": ["files"]}]}`))
	f.commit(t, f.as(t, "acme", identity.Writer), set("b", "1", "b-x", "1", "b/1", "1", "b/2", "1", "bz", "1"))
	st, err := f.ledger.GetStatus(f.as(t, "acme", identity.Operator), &stelev1.GetStatusRequest{})
	if err != nil || st.Unrouted != 2 || !slices.Equal(st.UnroutedKeys, []string{"b-x", "bz"}) {
		t.Errorf("%d, first %v, %v", st.GetUnrouted(), st.GetUnroutedKeys(), err)
	}
}

func TestStatus_CountsKeysWithoutARoute(t *testing.T) {
	f := startRecorded(t, routed(t, `{
		"sinks": {"files": {}},
		"routes": [
			{"prefix": "a/", "sinks": ["files"]}, {"prefix": "a/deep/", "sinks": []},
			{"prefix": "b*", "sinks": []}, {"prefix": "z/z*", "sinks": ["files"]}
		]
	}`))
	acme, other := f.as(t, "acme", identity.Writer), f.as(t, "other", identity.Writer)
	req := set("a/1", "1", "a/deep/1", "1", "a/z", "1", "a0", "1", "b", "1", "b/1", "1", "bz", "1", "c/gone", "1", "z/a", "1", "z/zz", "1", "zz", "1")
	for i := range 600 { // more than are read at a time
		req.Changes = append(req.Changes, &stelev1.Change{Key: fmt.Sprintf("a/many/%d", i), Value: "1"}, &stelev1.Change{Key: fmt.Sprintf("c/many/%03d", i), Value: "1"})
	}
	f.commit(t, acme, req)
	f.commit(t, acme, &stelev1.CommitRequest{Changes: []*stelev1.Change{{Key: "c/gone", Delete: true}}})
	f.commit(t, other, set("secrets/a", "1"))
	for _, tc := range []struct {
		name   string
		tenant ledger.Tenant
		policy string // that is set first
		count  uint64
		first  []string
	}{
		{"its own keys", "acme", "", 603, []string{"a0", "c/many/000", "c/many/001", "c/many/002", "c/many/003"}},
		{"another's", "other", "", 1, []string{"secrets/a"}},
		{"none", "nobody", "", 0, nil},
		{"keys whose reads are recorded", "acme", `{"record":["c/","a*"]}`, 603, []string{"z/a", "zz"}},
		{"the ledger's own", ledger.System, "", 0, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if tc.policy != "" {
				f.setPolicy(t, tc.tenant, tc.policy)
			}
			st, err := f.ledger.GetStatus(f.as(t, tc.tenant, identity.Operator), &stelev1.GetStatusRequest{})
			if err != nil || st.Unrouted != tc.count || !slices.Equal(st.UnroutedKeys, tc.first) {
				t.Errorf("%d, first %v, %v; want %d, %v", st.GetUnrouted(), st.GetUnroutedKeys(), err, tc.count, tc.first)
			}
		})
	}
	// Routes of the ledger's own are in force for the next call.
	f.commit(t, f.system(t), set("projector/routes", `{"sinks":{},"routes":[]}`))
	if st, err := f.ledger.GetStatus(other, &stelev1.GetStatusRequest{}); err != nil || st.Unrouted != 0 {
		t.Errorf("without a sink there are %d, %v", st.GetUnrouted(), err)
	}
}
