package readlog

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/journal"
)

// Stream holds the records of all tenants: a journal.AuxStream.
type Stream interface {
	Scan(ctx context.Context, name string, from ledger.Sequence) iter.Seq2[journal.Message, error]
}

// allTenants is the name that selects the records of all tenants.
const allTenants = "*"

// Replica holds the ledger's own tenant.
type Replica interface {
	Newest(t ledger.Tenant) (ledger.State, error)
}

// Ledger commits digests.
type Ledger interface {
	Commit(context.Context, ledger.Tenant, ledger.ChangeSet) (ledger.Result, error)
}

// MissingError reports that the stream does not have a record that it had.
type MissingError struct {
	// Sequence of the first record that is missing.
	Sequence ledger.Sequence
}

func (e *MissingError) Error() string {
	return fmt.Sprintf("record %d of the recorded reads is missing: the stream was cut, or deleted and created again; stop the ledger and run stele verify --data, or restore the stream from a backup", e.Sequence)
}

// Bind commits a digest of all records if there are new ones and the newest digest is
// at least that old. It continues with the newest digest, so it reads only records that no
// digest covers. Any number of processes may call it: if another one was faster, nothing
// is written.
func Bind(ctx context.Context, r Replica, s Stream, l Ledger, age time.Duration) error {
	bound, revision, set, err := newest(r)
	if err != nil {
		return fmt.Errorf("read %s of %s: %w", ledger.ReadsDigest, ledger.System, err)
	}
	if revision > 0 && time.Since(set) < age {
		return nil
	}
	next, err := extend(ctx, bound, s)
	if err != nil {
		return err
	}
	if next.Count == bound.Count {
		return nil
	}
	value, err := next.Value()
	if err != nil {
		return err
	}
	_, err = l.Commit(ctx, ledger.System, ledger.ChangeSet{
		Author:        "ledger",
		Message:       fmt.Sprintf("Bind %d recorded reads", next.Count),
		Changes:       []ledger.Change{{Key: ledger.ReadsDigest, Value: value}},
		Preconditions: []ledger.Precondition{{Key: ledger.ReadsDigest, Revision: revision}},
	})
	var conflict *ledger.ConflictError
	if errors.As(err, &conflict) {
		return nil // another process has bound them
	}
	if err != nil {
		return fmt.Errorf("commit %s to %s: %w", ledger.ReadsDigest, ledger.System, err)
	}
	return nil
}

// newest is the newest digest, and the revision and the time that have set it; the
// revision is 0 without one.
func newest(r Replica) (d Digest, revision ledger.Revision, set time.Time, err error) {
	state, err := r.Newest(ledger.System)
	if err != nil {
		return d, 0, set, err
	}
	defer state.Close()
	revision, exists, err := state.Newest(ledger.ReadsDigest)
	if err != nil || !exists {
		return d, 0, set, err
	}
	v, err := state.Version(ledger.ReadsDigest, revision)
	if err != nil {
		return d, 0, set, err
	}
	c, err := state.Commit(revision)
	if err != nil {
		return d, 0, set, err
	}
	d, err = ParseDigest(v.Value)
	return d, revision, c.Time, err
}

// extend adds the records after those that the digest covers. It reads the last of these
// again, because a stream without it has lost records.
func extend(ctx context.Context, bound Digest, s Stream) (Digest, error) {
	d, next := bound, max(bound.Count, 1)
	for m, err := range s.Scan(ctx, allTenants, ledger.Sequence(next)) {
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return d, fmt.Errorf("read the recorded reads: %w", err)
		}
		if uint64(m.Sequence) != next {
			return d, &MissingError{ledger.Sequence(next)}
		}
		if next > bound.Count {
			d.Add(m.Record)
		}
		next++
	}
	if next <= bound.Count {
		return d, &MissingError{ledger.Sequence(next)}
	}
	return d, nil
}
