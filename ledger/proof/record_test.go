package proof

import (
	"slices"
	"strings"
	"testing"

	"github.com/stelehq/stele/ledger"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"golang.org/x/mod/sumdb/tlog"
	"google.golang.org/protobuf/proto"
)

// benchRecord is acme's first record, of one commit.
func benchRecord(tb testing.TB, changes int) []byte {
	tb.Helper()
	c := &stelev1.Commit{Epoch: []byte{1, 0, 0, 0, 0, 0, 0, 0}, Tenant: "acme", Revision: 1, Author: "alice"}
	for range changes {
		c.Changes = append(c.Changes, &stelev1.Change{Key: "tenantconfig/checkout/timeout_ms", Value: `"` + strings.Repeat("x", 100) + `"`})
	}
	b, err := proto.Marshal(c)
	if err != nil {
		tb.Fatal(err)
	}
	if b, err = proto.Marshal(&stelev1.Record{Commits: [][]byte{b}}); err != nil {
		tb.Fatal(err)
	}
	return b
}

// What the ledger takes for a record, the tree takes for the same commits.
func FuzzReadRecord(f *testing.F) {
	f.Add(benchRecord(f, 2))
	f.Add(slices.Concat(benchRecord(f, 1), benchRecord(f, 0)))
	// A commit whose tenant and revision come twice: the last ones count.
	commit, err := proto.Marshal(&stelev1.Commit{Epoch: make([]byte, 8), Tenant: "globex", Revision: 7})
	if err != nil {
		f.Fatal(err)
	}
	more, err := proto.Marshal(&stelev1.Commit{Epoch: []byte{1, 0, 0, 0, 0, 0, 0, 0}, Tenant: "acme", Revision: 1})
	if err != nil {
		f.Fatal(err)
	}
	record, err := proto.Marshal(&stelev1.Record{Commits: [][]byte{append(commit, more...)}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(record)
	f.Fuzz(func(t *testing.T, body []byte) {
		commits, err := ledger.DecodeRecord(body)
		if err != nil {
			return
		}
		first := commits[0]
		r, err := readRecord(body, first.Epoch, first.Tenant)
		if err != nil {
			for _, c := range commits {
				if c.Tenant != first.Tenant || c.Epoch != first.Epoch {
					return // the replica refuses it when it applies it
				}
			}
			t.Fatalf("the ledger decodes it and the tree does not: %v", err)
		}
		if r.first != first.Revision || r.parent != first.Parent || len(r.leaves) != len(commits) {
			t.Fatalf("%d commits from %s after %s, want %d from %s after %s", len(r.leaves), r.first, r.parent, len(commits), first.Revision, first.Parent)
		}
		for i, c := range commits {
			if r.leaves[i] != tlog.Hash(c.ID) {
				t.Errorf("leaf %d is %s, want %s", i, r.leaves[i], c.ID)
			}
		}
	})
}
