//go:build faults

package systemtest

import (
	"testing"

	"github.com/stelehq/stele/internal/ledger"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
)

// link is a commit as a gateway returns it.
type link struct {
	id        ledger.CommitID
	requestID string
}

// walk returns a tenant's commits @1, @2, ... at a gateway that holds at least
// so many, and fails where one is missing or not the parent of the next.
func walk(t *testing.T, g *gateway, tenant ledger.Tenant, atLeast uint64) []link {
	t.Helper()
	head := untilUp(t, acting(t, tenant), g.ledger.GetHead, &stelev1.GetHeadRequest{MinRevision: atLeast})
	next, id := head.Snapshot.Revision, ledger.CommitID(head.Id) // going down from the head
	if next < atLeast {
		t.Fatalf("%s is at @%d, and @%d was acknowledged", tenant, next, atLeast)
	}
	links := make([]link, next)
	req := &stelev1.ListCommitsRequest{PageSize: 1000, OmitValues: true, MinRevision: next}
	for next > 0 {
		page := untilUp(t, acting(t, tenant), g.ledger.ListCommits, req)
		for _, info := range page.Commits {
			c := info.Commit
			if c.Revision > next { // written since the head was asked for
				continue
			}
			if c.Revision != next || ledger.CommitID(info.Id) != id {
				t.Fatalf("%s@%d must come next, as %s: it is @%d, %x", tenant, next, id, c.Revision, info.Id)
			}
			links[next-1] = link{id, c.RequestId}
			if next--; next > 0 {
				id = ledger.CommitID(c.Parent)
			} else if len(c.Parent) > 0 {
				t.Fatalf("%s@1 has a parent, %x", tenant, c.Parent)
			}
		}
		if req.PageToken = page.NextPageToken; req.PageToken == "" && next > 0 {
			t.Fatalf("%s: the commits end above @%d", tenant, next)
		}
	}
	return links
}

// checkCommit asks for one commit and hashes its stored bytes.
func checkCommit(t *testing.T, g *gateway, tenant ledger.Tenant, revision uint64, want ledger.CommitID) {
	t.Helper()
	got := untilUp(t, acting(t, tenant), g.ledger.GetCommit, &stelev1.GetCommitRequest{
		Commit: &stelev1.GetCommitRequest_Revision{Revision: revision}, Encoded: true, MinRevision: revision,
	})
	if id := ledger.CommitID(got.Info.Id); id != want {
		t.Fatalf("%s@%d was acknowledged as %s and is %s", tenant, revision, want, id)
	}
	if id := ledger.IDOf(got.Info.Encoded); id != want {
		t.Fatalf("%s@%d has the id %s, and its bytes hash to %s", tenant, revision, want, id)
	}
}

// replay is the state that a tenant's first lines leave.
func (h history) replay(tenant ledger.Tenant, revision int) map[string]setting {
	state := make(map[string]setting)
	for i, line := range h[tenant][:revision] {
		for _, ch := range line.ChangeSet.Changes {
			if ch.Delete {
				delete(state, string(ch.Key))
			} else {
				state[string(ch.Key)] = setting{string(ch.Value), uint64(i + 1)}
			}
		}
	}
	return state
}

// checkState compares a tenant's state at a revision with a replay. It returns
// the number of keys.
func checkState(t *testing.T, g *gateway, tenant ledger.Tenant, revision uint64, want map[string]setting) int {
	t.Helper()
	keys := 0
	req := &stelev1.ListRequest{PageSize: 10_000, MinRevision: revision, At: &stelev1.At{Point: &stelev1.At_Revision{Revision: revision}}}
	for {
		page := untilUp(t, acting(t, tenant), g.config.List, req)
		for _, e := range page.Entries {
			if got := (setting{e.Value, e.Revision}); got != want[e.Key] {
				t.Fatalf("%s@%d: %s is %v, the replay has %v", tenant, revision, e.Key, got, want[e.Key])
			}
			keys++
		}
		if req.PageToken = page.NextPageToken; req.PageToken == "" {
			break
		}
	}
	if keys != len(want) {
		t.Fatalf("%s@%d has %d keys, the replay %d", tenant, revision, keys, len(want))
	}
	return keys
}
