// Package peer runs the programs that the benchmark compares and speaks to each
// as its own client library would.
//
// A Peer knows how to start its processes and how to dial them. Its Client
// implements those interfaces of this file, one for each kind of work, that the
// peer supports.
package peer

import (
	"context"
	"os/exec"
	"time"
)

// Peer is a program, or a group of programs, to be measured.
type Peer interface {
	// Name is the peer's column in the tables.
	Name() string
	// Programs lists the processes of the peer on the files in dir, in the order in
	// which they start. Each call of free returns another address that no process
	// listens on.
	Programs(dir string, free func() (string, error)) ([]Program, error)
	// Dial opens conns connections, spread over the addresses of the programs that
	// serve clients, and returns when each has had an answer.
	Dial(ctx context.Context, dir string, addrs []string, conns int) (Client, error)
}

// Probed is a peer that answers before it can be used. Run waits until Probe returns
// nil.
type Probed interface {
	Probe(ctx context.Context, c Client) error
}

// Program is one process of a peer.
type Program struct {
	Name string
	Cmd  *exec.Cmd
	// Addr is what clients dial. It is empty for a program that serves only other
	// programs of the peer.
	Addr string
	// Ready returns nil once the next program can start; nil starts it at once.
	Ready func(context.Context) error
}

// one is a peer of a single program.
func one(name string, cmd *exec.Cmd, addr string) []Program {
	return []Program{{Name: name, Cmd: cmd, Addr: addr}}
}

// Client holds the connections to one peer. Its methods may be called from any
// number of goroutines.
type Client interface {
	Close() error
}

// Entry is a key of a tenant and its value.
type Entry struct{ Key, Value string }

// Reader reads one key. A key that is not there is an error.
type Reader interface {
	Read(ctx context.Context, tenant, key string) (string, error)
}

// LinearizableReader reads one key as of now, where Read may answer from a
// replica.
type LinearizableReader interface {
	ReadLinearizable(ctx context.Context, tenant, key string) (string, error)
}

// BatchReader reads many keys in one call. A key that is not there is an error.
type BatchReader interface {
	ReadBatch(ctx context.Context, tenant string, keys []string) error
}

// StreamReader pipelines reads of one tenant. The stream lives as long as ctx.
type StreamReader interface {
	OpenReads(ctx context.Context, tenant string) (ReadStream, error)
}

// ReadStream sends reads without waiting; Recv returns when the oldest that is
// not answered has been. One goroutine may send while another receives.
type ReadStream interface {
	Send(key string) error
	Recv() error
	// CloseSend reports that nothing more is sent; the answers still come.
	CloseSend() error
}

// Writer writes one key and returns when it is as durable as the peer makes it.
type Writer interface {
	Write(ctx context.Context, tenant string, e Entry) error
}

// SetWriter writes many keys, all or none.
type SetWriter interface {
	WriteSet(ctx context.Context, tenant string, set []Entry) error
}

// StreamWriter pipelines writes of one tenant, each on its own. The stream
// lives as long as ctx.
type StreamWriter interface {
	OpenWrites(ctx context.Context, tenant string) (WriteStream, error)
}

// WriteStream is to writes what ReadStream is to reads.
type WriteStream interface {
	Send(e Entry) error
	Recv() error
	CloseSend() error
}

// Watcher opens watches of one key over a number of streams, as evenly as it
// goes, and returns when all of them are in place. It calls got, from many
// goroutines, once for every watch and value, until stop has returned. stop
// reports what ended a watch early.
type Watcher interface {
	Watch(ctx context.Context, tenant, key string, watches, streams int, got func(value string)) (stop func() error, err error)
	// SharesStreams reports whether one stream can carry many watches.
	SharesStreams() bool
}

// ChangeSet is a change that was made elsewhere; an entry without a value deletes
// its key.
type ChangeSet struct {
	Time            time.Time
	Author, Message string
	Changes         []Entry
}

// Historian keeps every past state.
type Historian interface {
	// Replay writes a tenant's change sets in their order, each whole, and returns
	// the revision after each.
	Replay(ctx context.Context, tenant string, sets []ChangeSet) ([]int64, error)
	// ReadAt reads a key as it was at a revision, or at head for 0. A key that was
	// not there is an error.
	ReadAt(ctx context.Context, tenant, key string, revision int64) error
}

// TimeTraveller answers questions about the past.
type TimeTraveller interface {
	// Log reads the newest commits that changed a key, at most commits of them.
	Log(ctx context.Context, tenant, key string, commits int) error
	// Diff reads the keys that differ between two times, and returns how many.
	Diff(ctx context.Context, tenant string, from, to time.Time) (int, error)
	// RollbackOne undoes the last commit of the tenant.
	RollbackOne(ctx context.Context, tenant string) error
}

// Auditable is a peer that can prove what is in its files.
type Auditable interface {
	// Verify checks the files of a peer that is stopped.
	Verify(ctx context.Context, dir string) error
	// ForgetTree deletes what proofs are made from, which the peer makes again.
	ForgetTree(dir string) error
}

// Prover says, with an error while it is not so, whether everything that the
// tenants have written is in signed trees.
type Prover interface {
	Covered(ctx context.Context, tenants []string) error
}

// Projecting is a peer that keeps other stores equal to its keys.
type Projecting interface {
	// Sink returns how many keys or events the process has written to a sink, and how
	// many revisions the sink is behind. It fails while no process writes to the sink.
	Sink(ctx context.Context, name string) (written, behind uint64, err error)
	// Rebuild starts to write a sink again from the beginning and does not wait for the end.
	Rebuild(ctx context.Context, name string) error
}
