//go:build faults

package main_test

import (
	"testing"

	"github.com/stelehq/stele/ledger"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
)

// link is a commit as a gateway tells it.
type link struct {
	id        ledger.CommitID
	requestID string
}

// walk returns a tenant's commits @1, @2, ... at a gateway that holds at least
// so many, and fails where one is missing or not the parent of the next.
func walk(t *testing.T, g *gateway, tenant ledger.Tenant, atLeast uint64) []link {
	t.Helper()
	var links []link // newest first
	var parent ledger.CommitID
	req := &stelev1.ListCommitsRequest{PageSize: 1000, OmitValues: true, MinRevision: atLeast}
	for {
		page := patient(t, acting(t, tenant), g.ledger.ListCommits, req)
		if links == nil {
			links = make([]link, page.Snapshot.Revision)
			if page.Snapshot.Revision < atLeast {
				t.Fatalf("%s is at @%d, and @%d was acknowledged", tenant, page.Snapshot.Revision, atLeast)
			}
			atLeast = page.Snapshot.Revision + 1 // the revision that comes next, going down
		}
		for _, info := range page.Commits {
			c, id := info.Commit, ledger.CommitID(info.Id)
			switch {
			case c.Revision != atLeast-1:
				t.Fatalf("%s: below @%d comes @%d", tenant, atLeast, c.Revision)
			case int(c.Revision) < len(links) && id != parent:
				t.Fatalf("%s@%d is %s, and its child's parent is %s", tenant, c.Revision, id, parent)
			case c.Revision == 1 && len(c.Parent) > 0:
				t.Fatalf("%s@1 has a parent", tenant)
			}
			links[c.Revision-1] = link{id, c.RequestId}
			if c.Revision > 1 {
				parent = ledger.CommitID(c.Parent)
			}
			atLeast = c.Revision
		}
		if req.PageToken = page.NextPageToken; req.PageToken == "" {
			break
		}
	}
	if atLeast > 1 && len(links) > 0 {
		t.Fatalf("%s: nothing comes below @%d", tenant, atLeast)
	}
	return links
}

// checkCommit asks for one commit and hashes its stored bytes.
func checkCommit(t *testing.T, g *gateway, tenant ledger.Tenant, revision uint64, want ledger.CommitID) {
	t.Helper()
	got := patient(t, acting(t, tenant), g.ledger.GetCommit, &stelev1.GetCommitRequest{
		Commit: &stelev1.GetCommitRequest_Revision{Revision: revision}, Encoded: true, MinRevision: revision,
	})
	if id := ledger.CommitID(got.Info.Id); id != want {
		t.Fatalf("%s@%d was acknowledged as %s and is %s", tenant, revision, want, id)
	}
	if id := ledger.IDOf(got.Info.Encoded); id != want {
		t.Fatalf("%s@%d has the id %s, and its bytes hash to %s", tenant, revision, want, id)
	}
}

// setting is what a key is set to, and by which revision.
type setting struct {
	value    string
	revision uint64
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
		page := patient(t, acting(t, tenant), g.config.List, req)
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
