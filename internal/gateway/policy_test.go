package gateway_test

import (
	"context"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stelehq/stele/internal/gateway"
	"github.com/stelehq/stele/internal/gateway/identity"
	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/journal"
	"github.com/stelehq/stele/internal/ledger/replica"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// A policy is in force for the next read, and one that cannot be read never
// lets a read go unrecorded.
func TestPolicies_ChangeAtRunTime(t *testing.T) {
	f := startRecorded(t)
	ctx := f.as(t, "acme", identity.Auditor)
	f.commit(t, f.as(t, "acme", identity.Writer), set("secrets/a", "1", "public/a", "1"))
	for _, tc := range []struct {
		name, key, policy string // an empty policy is deleted
		want              []string
	}{
		{"none", "policy/other/reads", `{"record":[""]}`, nil},
		{"one", "policy/acme/reads", `{"record":["secrets/"]}`, []string{"secrets/a"}},
		{"another prefix", "policy/acme/reads", `{"record":["public/a","nowhere/"]}`, []string{"public/a"}},
		{"two prefixes", "policy/acme/reads", `{"record":["public/","secrets/"]}`, []string{"secrets/a", "public/a"}},
		{"no prefixes", "policy/acme/reads", `{"record":[]}`, nil},
		{"everything", "policy/acme/reads", `{"record":[""]}`, []string{"secrets/a", "public/a"}},
		{"deleted", "policy/acme/reads", "", nil},
		{"unknown field", "policy/acme/reads", `{"record":["secrets/"],"recrod":[]}`, []string{"secrets/a", "public/a"}},
		{"deleted again", "policy/acme/reads", "", nil},
		{"another case", "policy/acme/reads", `{"Record":["secrets/"]}`, []string{"secrets/a", "public/a"}},
		{"no field", "policy/acme/reads", `{}`, []string{"secrets/a", "public/a"}},
		{"null", "policy/acme/reads", `null`, []string{"secrets/a", "public/a"}},
		{"null prefixes", "policy/acme/reads", `{"record":null}`, []string{"secrets/a", "public/a"}},
		{"no object", "policy/acme/reads", `["secrets/"]`, []string{"secrets/a", "public/a"}},
		{"no list", "policy/acme/reads", `{"record":"secrets/"}`, []string{"secrets/a", "public/a"}},
		{"a number", "policy/acme/reads", `{"record":[1]}`, []string{"secrets/a", "public/a"}},
		{"a bad prefix", "policy/acme/reads", `{"record":["secrets/*a"]}`, []string{"secrets/a", "public/a"}},
		{"fixed", "policy/acme/reads", `{"record":["secrets/"]}`, []string{"secrets/a"}},
		{"a policy for an invalid tenant", "policy/Acme/reads", `{"record":[""]}`, []string{"secrets/a"}},
		{"a policy of another kind", "policy/acme/writes", `{"record":[""]}`, []string{"secrets/a"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			before := len(f.recorded(t, ctx))
			req := set(tc.key, tc.policy)
			req.Changes[0].Delete = tc.policy == ""
			f.commit(t, f.system(t), req)
			for _, key := range []string{"secrets/a", "public/a"} {
				if _, err := f.config.Get(ctx, &stelev1.GetRequest{Key: key}); err != nil {
					t.Fatal(err)
				}
			}
			var got []string
			for _, r := range f.recorded(t, ctx)[before:] {
				got = append(got, r.Keys...)
			}
			if !slices.Equal(got, tc.want) {
				t.Errorf("recorded %q, want %q", got, tc.want)
			}
		})
	}
}

// Only the ledger's processes set the digest of the recorded reads and the records of
// shredded keys; tenants may use the same keys.
func TestCommit_KeysOfTheProcesses(t *testing.T) {
	f := startRecorded(t)
	system := f.system(t)
	f.commit(t, system, set("reads/other", "1"))
	keys := []string{"reads/digest", "shred/acme/k1"}
	for _, key := range keys {
		changes := []ledger.Change{{Key: ledger.Key(key), Value: "2"}}
		if _, err := f.node.Ledger.Commit(t.Context(), ledger.System, ledger.ChangeSet{Author: "ledger", Changes: changes}); err != nil {
			t.Fatal(err)
		}
	}
	before := f.node.Replica.Head(ledger.System).Revision
	for _, key := range keys {
		for name, call := range map[string]func() error{
			"set": func() error { _, err := f.ledger.Commit(system, set(key, "1")); return err },
			"delete": func() error {
				_, err := f.ledger.Commit(system, &stelev1.CommitRequest{Changes: []*stelev1.Change{{Key: key, Delete: true}}})
				return err
			},
			"set a new one": func() error { _, err := f.ledger.Commit(system, set("shred/globex/k1", "1")); return err },
			"plan":          func() error { _, err := f.ledger.Plan(system, &stelev1.PlanRequest{Commit: set(key, "1")}); return err },
			"rename": func() error {
				_, err := f.ledger.Copy(system, &stelev1.CopyRequest{From: key, To: "x/y", Rename: true})
				return err
			},
			"copy to one": func() error {
				_, err := f.ledger.Copy(system, &stelev1.CopyRequest{From: "reads/other", To: "shred/acme/k2"})
				return err
			},
			"revert": func() error {
				_, err := f.ledger.Revert(system, &stelev1.RevertRequest{Revisions: []uint64{2, 3}})
				return err
			},
			"preview a copy": func() error {
				_, err := f.ledger.Copy(system, &stelev1.CopyRequest{From: "reads/other", To: "shred/acme/k2", DryRun: true})
				return err
			},
			"preview a revert": func() error {
				_, err := f.ledger.Revert(system, &stelev1.RevertRequest{Revisions: []uint64{2, 3}, DryRun: true})
				return err
			},
		} {
			if err := call(); status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), "only the ledger's processes") {
				t.Errorf("%s %s: %v", name, key, err)
			}
		}
	}
	if head := f.node.Replica.Head(ledger.System).Revision; head != before {
		t.Errorf("the head is %s, and was %s", head, before)
	}
	// A rollback keeps them as they are.
	done, err := f.ledger.Rollback(system, &stelev1.RollbackRequest{To: &stelev1.At{Point: &stelev1.At_Revision{}}})
	if err != nil || done.Deletes != 1 {
		t.Errorf("a rollback of all keys deletes %d keys: %v", done.GetDeletes(), err)
	}
	f.commit(t, f.as(t, "acme", identity.Writer), set("reads/digest", "1", "shred/acme/k1", "1"))
}

// slowJournal is a journal that holds back the messages after one until it is opened.
type slowJournal struct {
	*journal.Journal
	after ledger.Sequence
	open  chan struct{}
}

func (j *slowJournal) Follow(ctx context.Context, after journal.Message, handle func(journal.Message) error) error {
	return j.Journal.Follow(ctx, after, func(m journal.Message) error {
		if m.Sequence > j.after {
			select {
			case <-j.open:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		return handle(m)
	})
}

// A new replica may hold a tenant before it holds the policies.
func TestPolicies_ReadsWaitForThem(t *testing.T) {
	first := startRecorded(t)
	const tenant = "acme"
	first.commit(t, first.as(t, tenant, identity.Writer), set("secrets/a", "1"))
	j := &slowJournal{first.node.Journal, first.node.Replica.Position(), make(chan struct{})}
	first.setPolicy(t, tenant, `{"record":["secrets/"]}`)

	r, err := replica.Open(replica.Config{Path: filepath.Join(t.TempDir(), "replica.db")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	f := startRecorded(t, func(c *gateway.Config) { c.Replica = r })
	if err := r.Follow(j); err != nil {
		t.Fatal(err)
	}
	until(t, func() bool { return r.Head(tenant).Revision == 1 })
	ctx := f.as(t, tenant, identity.Auditor)
	if _, err := f.config.Get(ctx, &stelev1.GetRequest{Key: "secrets/a"}); status.Code(err) != codes.Unavailable {
		t.Errorf("Get before the policies are known: %v, want UNAVAILABLE", err)
	}
	if _, err := f.config.List(ctx, &stelev1.ListRequest{Prefix: "public/"}); status.Code(err) != codes.Unavailable {
		t.Errorf("List before the policies are known: %v, want UNAVAILABLE", err)
	}
	if _, err := f.ledger.GetHead(ctx, &stelev1.GetHeadRequest{}); status.Code(err) != codes.Unavailable {
		t.Errorf("GetHead before it is known who may ask: %v, want UNAVAILABLE", err)
	}
	if st, err := f.ledger.GetStatus(ctx, &stelev1.GetStatusRequest{}); err != nil || len(st.Principal.Allowed) > 0 {
		t.Errorf("GetStatus = %v, %v; want the status, and nothing allowed", st, err)
	}
	close(j.open)
	until(t, r.Ready)
	if _, err := f.config.Get(ctx, &stelev1.GetRequest{Key: "secrets/a"}); err != nil {
		t.Fatal(err)
	}
	if reads := f.recorded(t, ctx); len(reads) != 1 {
		t.Errorf("%d records, want the one of the read that was answered", len(reads))
	}
}

// until waits for a condition.
func until(t testing.TB, reached func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !reached(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it does not come")
		}
	}
}
