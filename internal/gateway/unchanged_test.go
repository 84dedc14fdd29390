package gateway_test

import (
	"testing"

	"github.com/stelehq/stele/internal/gateway/identity"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
)

// "Nothing changes" reveals the values to the caller: only a caller that may read the
// keys gets this answer, and it is recorded as a read of them.
func TestCommit_UnchangedIsAnAnswerForReadersOfTheKeys(t *testing.T) {
	f := startRecorded(t)
	f.commit(t, f.as(t, "acme", identity.Writer), set("a/x", "1", "b/x", "1"))
	f.setGrants(t, "acme", `{"grants":[
		{"subjects":["alice"],"operations":["write"]},
		{"subjects":["alice"],"operations":["read"],"prefixes":["a"]},
		{"roles":["auditor"]}]}`)
	f.setPolicy(t, "acme", `{"record":["a","b"]}`)
	alice := f.as(t, "acme", identity.Writer)
	remove := func(key string) *stelev1.CommitRequest {
		return &stelev1.CommitRequest{Changes: []*stelev1.Change{{Key: key, Delete: true}}}
	}
	for _, tc := range []struct {
		name      string
		req       *stelev1.CommitRequest
		unchanged bool
		revision  uint64
	}{
		{"a key that it may read", set("a/x", "1"), true, 1},
		{"a key that it may not read", set("b/x", "1"), false, 2},
		{"a deletion of nothing that it may see", remove("a/none"), true, 2},
		{"a deletion of nothing that it may not see", remove("b/none"), false, 3},
		{"both", set("a/x", "1", "b/x", "1"), false, 4},
	} {
		got := f.commit(t, alice, tc.req)
		if got.Unchanged != tc.unchanged || got.Revision != tc.revision {
			t.Errorf("%s: %v", tc.name, got)
		}
	}
	var got []string
	for _, r := range f.recorded(t, f.as(t, "acme", identity.Auditor)) {
		got = append(got, formatRead(r))
	}
	if len(got) != 2 || got[0] != "Commit a/x @0" || got[1] != "Commit a/none @0" {
		t.Errorf("recorded are %q", got)
	}
}
