package verify

import (
	"strings"
	"testing"

	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/journal"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// chain are a tenant's first commits.
func chain(t *testing.T, epoch ledger.Epoch, tenant string, commits int) (out [][]byte) {
	t.Helper()
	for i := range commits {
		c := &stelev1.Commit{Epoch: epoch[:], Tenant: tenant, Revision: uint64(i + 1), Time: &timestamppb.Timestamp{Seconds: int64(i)}}
		if i > 0 {
			id := ledger.IDOf(out[i-1])
			c.Parent = id[:]
		}
		encoded, err := proto.Marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, encoded)
	}
	return out
}

func TestWalk_RecordsOfSeveralTenants(t *testing.T) {
	epoch := ledger.Epoch{1, 2, 3}
	acme, beta := chain(t, epoch, "acme", 4), chain(t, epoch, "beta", 3)
	alien := chain(t, ledger.Epoch{9}, "beta", 1)
	type record = [][]byte
	for _, tc := range []struct {
		name    string
		records []record
		want    string // of the finding; empty for none
	}{
		{"two tenants", []record{{acme[0], acme[1], beta[0]}, {beta[1], acme[2]}, {acme[3]}, {beta[2]}}, ""},
		{"a gap in the second tenant", []record{{acme[0], beta[0]}, {acme[1], beta[2]}}, "STELE, message 2: beta@3: it stands where @2 must"},
		{"a commit of the second tenant again", []record{{acme[0], beta[0]}, {acme[1], beta[0]}}, "STELE, message 2: beta@1: it stands where @2 must"},
		{"a second tenant of another ledger", []record{{acme[0], alien[0]}}, "STELE, message 1: beta@1: it is of the ledger 0900000000000000"},
		{"a tenant in two places", []record{{acme[0], beta[0], acme[1]}}, "STELE, message 1: acme@2: its message holds the tenant's commits in two places"},
		{"no commit", []record{{acme[0], beta[0]}, {}}, "STELE, message 2: it holds no commit"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := &walk{epoch: epoch, tenants: make(map[ledger.Tenant]*history)}
			var err error
			commits := 0
			for i, commit := range tc.records {
				body, e := proto.Marshal(&stelev1.Record{Commits: commit})
				if e != nil {
					t.Fatal(e)
				}
				if err = w.record(journal.Message{Sequence: ledger.Sequence(i + 1), Record: body}); err != nil {
					break
				}
				commits += len(commit)
			}
			switch {
			case tc.want == "" && (err != nil || w.roots.Size() != int64(commits) || len(w.tenants) != 2 || w.messages != len(tc.records)):
				t.Errorf("%v; %d commits of %d tenants in %d messages", err, w.roots.Size(), len(w.tenants), w.messages)
			case tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)):
				t.Errorf("got %v, want %q", err, tc.want)
			}
		})
	}
}
