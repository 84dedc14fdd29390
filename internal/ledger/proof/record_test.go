package proof

import (
	"slices"
	"strings"
	"testing"

	"github.com/stelehq/stele/internal/ledger"
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

// The tree reads the same commits from a record as the ledger.
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
	f.Add(slices.Concat(benchRecord(f, 1), record))
	other, err := proto.Marshal(&stelev1.Record{Commits: [][]byte{commit[:len(commit)-len(more)]}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(slices.Concat(benchRecord(f, 1), other))                    // of two ledgers
	f.Add(slices.Concat(benchRecord(f, 1), other, benchRecord(f, 1))) // a tenant in two places
	f.Fuzz(func(t *testing.T, body []byte) {
		commits, err := ledger.DecodeRecord(body)
		if err != nil {
			return
		}
		epoch := commits[0].Epoch
		runs, err := readRecord(body, epoch)
		if err != nil {
			for _, c := range commits {
				if c.Epoch != epoch {
					return // the replica refuses it when it applies it
				}
			}
			t.Fatalf("the ledger decodes it and the tree does not: %v", err)
		}
		for _, r := range runs {
			if r.tenant != commits[0].Tenant || r.first != commits[0].Revision || r.parent != commits[0].Parent {
				t.Fatalf("the commits of %s begin with %s after %s, want %s%s after %s", r.tenant, r.first, r.parent, commits[0].Tenant, commits[0].Revision, commits[0].Parent)
			}
			for i, leaf := range r.leaves {
				c := commits[0]
				if commits = commits[1:]; c.Tenant != r.tenant || c.Revision != r.first+ledger.Revision(i) || leaf != tlog.Hash(c.ID) {
					t.Fatalf("leaf %d of %s is %s, want %s%s, %s", i, r.tenant, leaf, c.Tenant, c.Revision, c.ID)
				}
			}
		}
		if len(commits) > 0 {
			t.Fatalf("%d commits are no leaves", len(commits))
		}
	})
}
