package verify_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/journal"
	"github.com/stelehq/stele/internal/ledger/ledgertest"
	"github.com/stelehq/stele/internal/ledger/readlog"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/protobuf/proto"
)

// recordReads records reads, and binds them if bind is set.
func (f *folder) recordReads(t *testing.T, n int, bind bool) {
	t.Helper()
	f.serve(t, func(s *journal.Server) {
		node := ledgertest.Start(t, s, ledgertest.Config{Dir: f.dir})
		defer node.Close()
		stream, err := node.Journal.OpenAuxStream(t.Context(), journal.Reads)
		if err != nil {
			t.Fatal(err)
		}
		for i := range n {
			body, err := proto.Marshal(&stelev1.ReadRecord{Tenant: "acme", Subject: "ann", Revision: uint64(i)})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := stream.Append(t.Context(), "acme", body); err != nil {
				t.Fatal(err)
			}
		}
		if bind {
			if err := readlog.Bind(t.Context(), node.Replica, stream, node.Ledger, 0); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// serve runs the journal's server for the time of the call.
func (f *folder) serve(t *testing.T, do func(*journal.Server)) {
	t.Helper()
	s, err := journal.StartServer(journal.ServerConfig{Dir: filepath.Join(f.dir, "journal")})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	do(s)
}

// editReads creates the stream again, with other records; nil removes it.
func (f *folder) editReads(t *testing.T, edit func(records [][]byte) [][]byte) {
	t.Helper()
	const stream, subject = "STELE-READS", "stele.reads.v1.acme"
	f.serve(t, func(s *journal.Server) {
		nc, err := s.Connect()
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		js, err := jetstream.New(nc)
		if err != nil {
			t.Fatal(err)
		}
		old, err := js.Stream(t.Context(), stream)
		if err != nil {
			t.Fatal(err)
		}
		var records [][]byte
		for seq := uint64(1); seq <= old.CachedInfo().State.LastSeq; seq++ {
			m, err := old.GetMsg(t.Context(), seq)
			if err != nil {
				t.Fatal(err)
			}
			records = append(records, m.Data)
		}
		if err := js.DeleteStream(t.Context(), stream); err != nil {
			t.Fatal(err)
		}
		records = edit(records)
		if records == nil {
			return
		}
		ledgertest.RecreateStream(t, js, old.CachedInfo().Config)
		for _, r := range records {
			m := nats.NewMsg(subject)
			m.Data = r
			if _, err := js.PublishMsg(t.Context(), m); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// Recorded reads that the history binds cannot be changed, removed, inserted or moved
// unnoticed; those after the newest digest are not covered.
func TestVerify_RecordedReads(t *testing.T) {
	other := func(t *testing.T) []byte {
		body, err := proto.Marshal(&stelev1.ReadRecord{Tenant: "acme", Subject: "eve"})
		if err != nil {
			t.Fatal(err)
		}
		return body
	}
	whole := newFolder(t, 3)
	whole.recordReads(t, 4, true)
	whole.recordReads(t, 5, true)
	whole.recordReads(t, 2, false)
	for name, tc := range map[string]struct {
		edit func(t *testing.T, r [][]byte) [][]byte
		want string // of the finding; empty for none
	}{
		"as they were":       {func(_ *testing.T, r [][]byte) [][]byte { return r }, ""},
		"an unbound cut":     {func(_ *testing.T, r [][]byte) [][]byte { return r[:9] }, ""},
		"changed":            {func(t *testing.T, r [][]byte) [][]byte { r[1] = other(t); return r }, "STELE-READS: records 1 to 4 are not those that _system@1 binds"},
		"changed later":      {func(t *testing.T, r [][]byte) [][]byte { r[4] = other(t); return r }, "STELE-READS: records 5 to 9 are not those that _system@2 binds"},
		"removed":            {func(_ *testing.T, r [][]byte) [][]byte { return slices.Delete(r, 5, 6) }, "STELE-READS: records 5 to 9 are not those that _system@2 binds"},
		"moved":              {func(_ *testing.T, r [][]byte) [][]byte { r[5], r[6] = r[6], r[5]; return r }, "STELE-READS: records 5 to 9 are not those that _system@2 binds"},
		"inserted":           {func(t *testing.T, r [][]byte) [][]byte { return slices.Insert(r, 0, other(t)) }, "STELE-READS: records 1 to 4 are not those that _system@1 binds"},
		"cut":                {func(_ *testing.T, r [][]byte) [][]byte { return r[:7] }, "STELE-READS: records 8 to 9 are missing: it has 7, and _system@2 binds 9"},
		"deleted":            {func(*testing.T, [][]byte) [][]byte { return nil }, "STELE-READS: records 1 to 9 are missing: it has 0, and _system@2 binds 9"},
		"created again":      {func(*testing.T, [][]byte) [][]byte { return [][]byte{} }, "STELE-READS: records 1 to 9 are missing: it has 0, and _system@2 binds 9"},
		"created and filled": {func(t *testing.T, _ [][]byte) [][]byte { return slices.Repeat([][]byte{other(t)}, 20) }, "STELE-READS: records 1 to 4 are not those that _system@1 binds"},
	} {
		t.Run(name, func(t *testing.T) {
			f := &folder{dir: t.TempDir(), key: whole.key}
			if err := os.CopyFS(f.dir, os.DirFS(whole.dir)); err != nil {
				t.Fatal(err)
			}
			f.editReads(t, func(r [][]byte) [][]byte { return tc.edit(t, r) })
			r := f.verify(t)
			switch {
			case tc.want == "" && (len(r.Findings) > 0 || r.ReadsBound != 9):
				t.Errorf("%d records are bound, findings: %v", r.ReadsBound, r.Findings)
			case tc.want != "" && (len(r.Findings) != 1 || !strings.HasPrefix(r.Findings[0].String(), tc.want)):
				t.Errorf("findings: %v", r.Findings)
			}
		})
	}
}

// A digest that no process of the ledger has written is reported with its commit.
func TestVerify_InvalidDigestOfReads(t *testing.T) {
	f := newFolder(t, 3)
	f.serve(t, func(s *journal.Server) {
		node := ledgertest.Start(t, s, ledgertest.Config{Dir: f.dir})
		defer node.Close()
		if _, err := node.Ledger.Commit(t.Context(), ledger.System, ledger.ChangeSet{Author: "eve", Changes: []ledger.Change{{Key: ledger.ReadsDigest, Value: "1"}}}); err != nil {
			t.Fatal(err)
		}
	})
	if r := f.verify(t); len(r.Findings) != 1 || r.Findings[0].Tenant != ledger.System || r.Findings[0].Revision != 1 || !strings.Contains(r.Findings[0].What, "reads/digest") {
		t.Errorf("findings: %v", r.Findings)
	}
}
