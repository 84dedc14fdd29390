package replica

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"runtime/debug"
	"testing"

	"github.com/stelehq/stele/internal/ledger"
	bolt "go.etcd.io/bbolt"
)

// A write must wait for all read transactions if it makes the file grow, so none is left idle
// while it runs, and those from before it do not see what it has written.
func TestReadings_EndBeforeWrites(t *testing.T) {
	db, err := bolt.Open(filepath.Join(t.TempDir(), "db"), 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	rs := readings{db: db}
	begin := func() *reading {
		r, err := rs.begin()
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	ended := func(r *reading) bool { return r.tx.DB() == nil }
	write := func(during func()) {
		err := rs.update(func(tx *bolt.Tx) error {
			during()
			b, err := tx.CreateBucketIfNotExists([]byte("b"))
			if err != nil {
				return err
			}
			return b.Put([]byte("k"), []byte("v"))
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	idle, used := begin(), begin()
	var meanwhile *reading
	rs.end(idle)
	write(func() {
		if !ended(idle) {
			t.Error("an idle transaction is open during a write")
		}
		during := begin()
		if rs.end(during); !ended(during) {
			t.Error("a transaction that ended during a write is idle")
		}
		meanwhile = begin()
	})
	if rs.end(meanwhile); !ended(meanwhile) {
		t.Error("a transaction that began during a write, and does not see it, is idle after it")
	}
	if used.tx.Bucket([]byte("b")) != nil {
		t.Error("a transaction from before a write sees it")
	}
	if rs.end(used); !ended(used) {
		t.Error("a transaction from before a write is idle after it")
	}
	newest := begin()
	if newest.tx.Bucket([]byte("b")) == nil {
		t.Error("a transaction from after a write does not see it")
	}
	rs.end(newest)
	if again := begin(); again != newest {
		t.Error("a transaction that has ended was not used again")
	} else {
		rs.end(again)
	}
	if rs.stop(); !ended(newest) {
		t.Error("an idle transaction is open after stop")
	}
}

// A wait for a flush ends with its caller, or when the file is rebuilt: a flush that
// fails makes no room.
func TestStore_WaitForRoomEnds(t *testing.T) {
	full := func() *store {
		s := &store{flushBytes: 1, frozen: newTail(), active: newTail(), room: make(chan struct{}), gone: make(chan struct{})}
		s.active.bytes = 2
		return s
	}
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	if err := full().waitRoom(canceled); !errors.Is(err, context.Canceled) {
		t.Errorf("after its caller has gone: %v", err)
	}
	rebuilt := full()
	close(rebuilt.gone)
	if err := rebuilt.waitRoom(t.Context()); !errors.Is(err, errNotBuilt) {
		t.Errorf("of a file that is rebuilt: %v", err)
	}
}

// A view that cannot be opened leaves the goroutine as it was.
func TestView_FailureRestoresFaults(t *testing.T) {
	r, err := Open(Config{Path: filepath.Join(t.TempDir(), "replica.db"), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if err := r.build(ledger.Epoch{1}); err != nil {
		t.Fatal(err)
	}
	if _, err := r.View("acme", At{}); !errors.Is(err, errNotBuilt) {
		t.Fatalf("a view of a replica that holds nothing yet: %v", err)
	}
	if debug.SetPanicOnFault(false) {
		t.Error("faults still panic in this goroutine")
	}
}
