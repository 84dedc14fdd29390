package ledger_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/ledgertest"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// commitProto is a commit that decodes; change makes it another.
func commitProto(change func(*stelev1.Commit)) []byte {
	p := &stelev1.Commit{
		Epoch:    []byte{1, 2, 3, 4, 5, 6, 7, 8},
		Tenant:   "acme",
		Revision: 2,
		Parent:   make([]byte, 32),
		Time:     timestamppb.New(time.Date(2024, 2, 29, 12, 0, 0, 1, time.UTC)),
		Author:   "alice",
		Message:  "why",
		Changes: []*stelev1.Change{
			{Key: "a/b", Value: `{"n":9007199254740993}`, PreviousRevision: 1},
			{Key: "c", Delete: true},
		},
		Origin: &stelev1.Origin{Kind: &stelev1.Origin_Import{Import: &stelev1.ImportOrigin{
			Recorded: timestamppb.New(time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC)), Importer: "root",
		}}},
	}
	if change != nil {
		change(p)
	}
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(p)
	if err != nil {
		panic(err)
	}
	return b
}

func TestDecodeCommit_Invalid(t *testing.T) {
	if _, err := ledger.DecodeCommit(commitProto(nil)); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name   string
		change func(*stelev1.Commit)
		want   string
	}{
		{"no epoch", func(c *stelev1.Commit) { c.Epoch = nil }, "epoch"},
		{"a long epoch", func(c *stelev1.Commit) { c.Epoch = make([]byte, 9) }, "epoch"},
		{"no tenant", func(c *stelev1.Commit) { c.Tenant = "" }, "tenant"},
		{"a hostile tenant", func(c *stelev1.Commit) { c.Tenant = "a.>" }, "tenant"},
		{"no revision", func(c *stelev1.Commit) { c.Revision = 0 }, "no revision"},
		{"no parent", func(c *stelev1.Commit) { c.Parent = nil }, "parent"},
		{"a short parent", func(c *stelev1.Commit) { c.Parent = make([]byte, 31) }, "parent"},
		{"a long parent", func(c *stelev1.Commit) { c.Parent = make([]byte, 33) }, "parent"},
		{"a first commit with a parent", func(c *stelev1.Commit) { c.Revision = 1 }, "parent"},
		{"no time", func(c *stelev1.Commit) { c.Time = nil }, "time"},
		{"an impossible time", func(c *stelev1.Commit) { c.Time.Nanos = -1 }, "time"},
		{"a time that nanoseconds cannot hold", func(c *stelev1.Commit) { c.Time.Seconds = 1 << 34 }, "time"},
		{"a hostile key", func(c *stelev1.Commit) { c.Changes[0].Key = "../x" }, "key"},
		{"an empty key", func(c *stelev1.Commit) { c.Changes[1].Key = "" }, "key"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if _, err := ledger.DecodeCommit(commitProto(tc.change)); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("%v, want an error about its %s", err, tc.want)
			}
		})
	}
}

// Nanoseconds since 1970 hold no time before 1677: one of 1500 turns up in 2084,
// and every later commit would have had to be after that.
func TestCommit_ImportFromBefore1970(t *testing.T) {
	n := ledgertest.Start(t, ledgertest.Server(t), ledgertest.Config{})
	for _, year := range []int{1, 1500, 1700, 1969} {
		set := set("a", "1")
		set.Import = &ledger.Import{Time: time.Date(year, 1, 1, 0, 0, 0, 0, time.UTC)}
		got, err := n.Ledger.Commit(t.Context(), acme, set)
		var invalid *ledger.InvalidError
		if !errors.As(err, &invalid) || invalid.Violations[0].Field != "import.time" {
			t.Errorf("an import of the year %d: %v, %v", year, got, err)
		}
	}
}

func TestDecodeRecord_TenantsChainsStandTogether(t *testing.T) {
	first := commitProto(func(c *stelev1.Commit) { c.Revision, c.Parent = 1, nil })
	id := ledger.IDOf(first)
	next := func(change func(*stelev1.Commit)) []byte {
		return commitProto(func(c *stelev1.Commit) {
			c.Parent = id[:]
			if change != nil {
				change(c)
			}
		})
	}
	other := commitProto(func(c *stelev1.Commit) { c.Tenant, c.Revision, c.Parent = "beta", 1, nil })
	otherID := ledger.IDOf(other)
	otherNext := commitProto(func(c *stelev1.Commit) { c.Tenant, c.Parent = "beta", otherID[:] })
	for _, tc := range []struct {
		name    string
		commits [][]byte
		ok      bool
	}{
		{"one", [][]byte{first}, true},
		{"two", [][]byte{first, next(nil)}, true},
		{"none", nil, false},
		{"an empty one", [][]byte{{}}, false},
		{"the same twice", [][]byte{first, first}, false},
		{"in the wrong order", [][]byte{next(nil), first}, false},
		{"with a gap", [][]byte{first, next(func(c *stelev1.Commit) { c.Revision = 3 })}, false},
		{"of another parent", [][]byte{first, commitProto(nil)}, false},
		{"back in time", [][]byte{first, next(func(c *stelev1.Commit) { c.Time.Nanos-- })}, false},
		{"two tenants", [][]byte{first, other}, true},
		{"two of two tenants", [][]byte{other, otherNext, first, next(nil)}, true},
		{"a gap in the second tenant", [][]byte{first, next(nil), other, commitProto(func(c *stelev1.Commit) { c.Tenant = "beta" })}, false},
		{"a tenant in two places", [][]byte{first, other, next(nil)}, false},
		{"a fork in two places", [][]byte{first, other, first}, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			body, err := proto.Marshal(&stelev1.Record{Commits: tc.commits})
			if err != nil {
				t.Fatal(err)
			}
			got, err := ledger.DecodeRecord(body)
			if (err == nil) != tc.ok || tc.ok && len(got) != len(tc.commits) {
				t.Errorf("%d commits, %v", len(got), err)
			}
		})
	}
}

func FuzzDecodeCommit(f *testing.F) {
	f.Add(commitProto(nil))
	f.Add(commitProto(func(c *stelev1.Commit) { c.Revision, c.Parent, c.Origin = 1, nil, nil }))
	f.Add(commitProto(func(c *stelev1.Commit) { c.RequestId, c.RequestHash = "r", []byte("h") }))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, encoded []byte) {
		c, err := ledger.DecodeCommit(encoded)
		if err != nil {
			return
		}
		checkDecoded(t, c)
		if string(c.Encoded) != string(encoded) {
			t.Fatal("it does not keep the bytes that it was decoded from")
		}
		// Written again it may have other bytes, but the same meaning.
		p := c.Proto()
		p.RequestHash = c.RequestHash // answers do not have it
		b, err := proto.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		again, err := ledger.DecodeCommit(b)
		if err != nil {
			t.Fatalf("written again it is not decoded: %v", err)
		}
		again.ID, again.Encoded = c.ID, c.Encoded
		if diff := cmp.Diff(c, again); diff != "" {
			t.Fatal(diff)
		}
	})
}

func FuzzDecodeRecord(f *testing.F) {
	first := commitProto(func(c *stelev1.Commit) { c.Revision, c.Parent = 1, nil })
	id := ledger.IDOf(first)
	next := commitProto(func(c *stelev1.Commit) { c.Parent = id[:] })
	other := commitProto(func(c *stelev1.Commit) { c.Tenant, c.Revision, c.Parent = "beta", 1, nil })
	for _, commits := range [][][]byte{{first}, {first, next}, {other, first, next}, {first, other, next}, {}, {{}}} {
		body, err := proto.Marshal(&stelev1.Record{Commits: commits})
		if err != nil {
			f.Fatal(err)
		}
		f.Add(body)
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		commits, err := ledger.DecodeRecord(body)
		if err != nil {
			return
		}
		if len(commits) == 0 {
			t.Fatal("a record without a commit was decoded")
		}
		seen := make(map[ledger.Tenant]bool)
		for i, c := range commits {
			checkDecoded(t, c)
			switch next := i > 0 && c.Tenant == commits[i-1].Tenant; {
			case next && c.Follows(commits[i-1].Head(0)) != nil:
				t.Fatal("a record that is no chain was decoded")
			case !next && seen[c.Tenant]:
				t.Fatal("a record with a tenant in two places was decoded")
			}
			seen[c.Tenant] = true
		}
	})
}

// checkDecoded checks what every commit of the package promises.
func checkDecoded(t *testing.T, c *ledger.Commit) {
	t.Helper()
	if c.ID != ledger.IDOf(c.Encoded) {
		t.Fatal("the id is not the hash of its bytes")
	}
	if _, err := ledger.ParseTenant(string(c.Tenant)); err != nil {
		t.Fatal(err)
	}
	if c.Revision == 0 || c.Revision == 1 && c.Parent != (ledger.CommitID{}) {
		t.Fatalf("%s has the parent %s", c.Revision, c.Parent)
	}
	if !time.Unix(0, c.Head(0).Time).Equal(c.Time) {
		t.Fatalf("its time %s is %s in its head", c.Time, time.Unix(0, c.Head(0).Time))
	}
	for _, ch := range c.Changes {
		if _, err := ledger.ParseKey(string(ch.Key)); err != nil {
			t.Fatal(err)
		}
	}
}
