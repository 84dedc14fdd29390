package replica

import (
	"fmt"
	"sync"

	"github.com/stelehq/stele/internal/ledger"
	bolt "go.etcd.io/bbolt"
)

// maxIdle is how many readings wait for a view. A view is open for some microseconds, so a
// few are enough for the views that are open at the same time.
const maxIdle = 16

// readings are the read transactions of a store's file. To begin a transaction and to open its
// buckets costs more than to look up a key, so a view that closes leaves its own to the next one
// until the file is written to.
type readings struct {
	db *bolt.DB

	mu   sync.Mutex // guards the fields below
	idle []*reading
	// writes counts the transactions that write, and writing is set while one runs. Until
	// it ends nothing is idle: the file cannot grow while a transaction reads it.
	writes  uint64
	writing bool
}

// reading is a read transaction with a cursor for each bucket that was read. One view at a
// time uses it.
type reading struct {
	tx                                *bolt.Tx
	commits, keys, versions, requests *bolt.Cursor
	writes                            uint64 // to the file before it
}

// begin returns a transaction that reads the newest state of the file. Pass it to end.
func (rs *readings) begin() (*reading, error) {
	rs.mu.Lock()
	if n := len(rs.idle); n > 0 {
		r := rs.idle[n-1]
		rs.idle = rs.idle[:n-1]
		rs.mu.Unlock()
		return r, nil
	}
	writes := rs.writes
	rs.mu.Unlock()
	tx, err := rs.db.Begin(false)
	if err != nil {
		return nil, fmt.Errorf("%w: read replica: %w", ledger.ErrUnavailable, err)
	}
	return &reading{tx: tx, writes: writes}, nil
}

// end takes a transaction back, or ends it if the file was written to since.
func (rs *readings) end(r *reading) {
	rs.mu.Lock()
	keep := !rs.writing && r.writes == rs.writes && len(rs.idle) < maxIdle
	if keep {
		rs.idle = append(rs.idle, r)
	}
	rs.mu.Unlock()
	if !keep {
		_ = r.tx.Rollback() // of a read transaction: only "already closed"
	}
}

// update runs a transaction that writes. One runs at a time.
func (rs *readings) update(write func(*bolt.Tx) error) error {
	rs.stop()
	defer func() {
		rs.mu.Lock()
		defer rs.mu.Unlock()
		rs.writing = false
	}()
	return rs.db.Update(write)
}

// stop ends the idle transactions, and keeps none until update has returned.
func (rs *readings) stop() {
	rs.mu.Lock()
	idle := rs.idle
	rs.idle, rs.writing = nil, true
	rs.writes++
	rs.mu.Unlock()
	for _, r := range idle {
		_ = r.tx.Rollback()
	}
}

// cursor opens a bucket once in the life of the transaction.
func (r *reading) cursor(c **bolt.Cursor, bucket []byte) *bolt.Cursor {
	if *c == nil {
		*c = r.tx.Bucket(bucket).Cursor()
	}
	return *c
}
