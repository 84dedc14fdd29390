package readlog_test

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/journal"
	"github.com/stelehq/stele/internal/ledger/ledgertest"
	"github.com/stelehq/stele/internal/ledger/readlog"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is a ledger with a stream of recorded reads.
type world struct {
	*ledgertest.Node
	reads *journal.AuxStream
	want  readlog.Digest // of all records
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{Node: ledgertest.Start(t, ledgertest.Server(t), ledgertest.Config{})}
	w.open(t)
	return w
}

func (w *world) open(t *testing.T) {
	t.Helper()
	var err error
	if w.reads, err = w.Journal.OpenAuxStream(t.Context(), journal.Reads); err != nil {
		t.Fatal(err)
	}
}

// record appends records of two tenants.
func (w *world) record(t *testing.T, n int) {
	t.Helper()
	for i := range n {
		record := fmt.Appendf(nil, "record %d", w.want.Count)
		if _, err := w.reads.Append(t.Context(), []string{"acme", "globex"}[i%2], record); err != nil {
			t.Fatal(err)
		}
		w.want.Add(record)
	}
}

func (w *world) bind(t *testing.T, age time.Duration) error {
	return readlog.Bind(t.Context(), w.Replica, w.reads, w.Ledger, age)
}

// bound is the newest digest, and how many commits the ledger's own tenant has.
func (w *world) bound(t *testing.T) (readlog.Digest, ledger.Revision) {
	t.Helper()
	s, err := w.Replica.Newest(ledger.System)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	head := s.Head().Revision
	v, err := s.Version(ledger.ReadsDigest, head)
	if err != nil {
		t.Fatal(err)
	}
	if v.Value == "" {
		return readlog.Digest{}, head
	}
	d, err := readlog.ParseDigest(v.Value)
	if err != nil {
		t.Fatal(err)
	}
	return d, head
}

func TestBind_CoversAllRecords(t *testing.T) {
	w := newWorld(t)
	for _, step := range []struct {
		name    string
		records int
		age     time.Duration
		commits ledger.Revision
		covers  bool
	}{
		{"without a record", 0, 0, 0, true},
		{"the first records", 3, time.Hour, 1, true},
		{"no new record", 0, 0, 1, true},
		{"a young digest", 2, time.Hour, 1, false},
		{"later records", 2, 0, 2, true},
	} {
		w.record(t, step.records)
		if err := w.bind(t, step.age); err != nil {
			t.Fatalf("%s: %v", step.name, err)
		}
		if got, commits := w.bound(t); commits != step.commits || (got == w.want) != step.covers {
			t.Errorf("%s: %d commits, and the newest covers %d of %d records", step.name, commits, got.Count, w.want.Count)
		}
	}
}

// Processes that bind the same records at the same time make one commit.
func TestBind_AtOnce(t *testing.T) {
	w := newWorld(t)
	w.record(t, 20)
	var callers sync.WaitGroup
	for range 8 {
		callers.Go(func() {
			if err := w.bind(t, 0); err != nil {
				t.Error(err)
			}
		})
	}
	callers.Wait()
	if got, commits := w.bound(t); commits != 1 || got != w.want {
		t.Errorf("%d commits, and the newest covers %d records", commits, got.Count)
	}
}

// A stream that has lost records gets no new digest, which would cover fewer.
func TestBind_RecordsAreMissing(t *testing.T) {
	w := newWorld(t)
	w.record(t, 4)
	if err := w.bind(t, 0); err != nil {
		t.Fatal(err)
	}
	if err := w.deleteStream(t); err != nil {
		t.Fatal(err)
	}
	w.open(t)
	for _, records := range []int{0, 2} {
		w.record(t, records)
		var missing *readlog.MissingError
		if err := w.bind(t, 0); !errors.As(err, &missing) || missing.Sequence != 4 {
			t.Errorf("with %d records: %v", records, err)
		}
	}
	if got, commits := w.bound(t); commits != 1 || got.Count != 4 {
		t.Errorf("%d commits, and the newest covers %d records", commits, got.Count)
	}
}

func (w *world) deleteStream(t *testing.T) error {
	t.Helper()
	_, err := w.Conn.RequestWithContext(t.Context(), "$JS.API.STREAM.DELETE.STELE-READS", nil)
	return err
}

func TestParseDigest(t *testing.T) {
	var d readlog.Digest
	d.Add([]byte("a"))
	v, err := d.Value()
	if err != nil {
		t.Fatal(err)
	}
	if got, err := readlog.ParseDigest(v); err != nil || got != d {
		t.Errorf("%s: %v, %v", v, got, err)
	}
	for _, bad := range []ledger.Value{"", "1", `{"count":-1,"digest":""}`, `{"count":1,"digest":"00"}`, `{"count":1,"digest":"zz"}`, v[:len(v)-1] + `,"more":1}`} {
		if got, err := readlog.ParseDigest(bad); err == nil {
			t.Errorf("%s is read as %v", bad, got)
		}
	}
}

// FuzzParseDigest: a digest that is read is written with the same meaning.
func FuzzParseDigest(f *testing.F) {
	f.Add(`{"count":1,"digest":"0000000000000000000000000000000000000000000000000000000000000000"}`)
	f.Add(`{"count":18446744073709551615,"digest":""}`)
	f.Fuzz(func(t *testing.T, text string) {
		d, err := readlog.ParseDigest(ledger.Value(text))
		if err != nil {
			return
		}
		v, err := d.Value()
		if err != nil {
			t.Fatal(err)
		}
		if again, err := readlog.ParseDigest(v); err != nil || again != d {
			t.Fatalf("%q is read as %v, written as %s, and read as %v: %v", text, d, v, again, err)
		}
	})
}
