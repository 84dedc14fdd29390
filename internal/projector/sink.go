package projector

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/routes"
	"github.com/stelehq/stele/internal/ledger/strictjson"
)

// Sink is the target of a projector. One process at a time writes to a sink, with
// several calls at once, but never with the same key in two of them.
//
// A Sink that can be read back is a Store. A store gets the newest value of each key;
// any other sink gets every change, in the order of the key's revisions.
type Sink interface {
	Limits() Limits
	// Write applies the writes; each has another key. It returns an error for each, nil
	// if the write is in effect or the sink holds something newer. A *RefusedError is
	// permanent. An error of the call itself means that the sink does not answer or
	// throttles: the outcome of all writes is unknown, and they are retried later.
	//
	// ctx ends before another process may take the sink over: no request may be sent
	// after that.
	Write(ctx context.Context, writes []Write) ([]error, error)
	Close() error
}

// Store is a sink that holds items, one a key, and can be read back.
type Store interface {
	Sink
	// Scan yields every item of the tenant's, in any order, tombstones too, until
	// yield returns an error, at a rate that leaves others room. One that it cannot
	// read it yields with Err.
	Scan(ctx context.Context, t ledger.Tenant, yield func(Item) error) error
	// Read returns one item as it is now; ok is false when it is not there, and then
	// the item says whose it would be. The error is a *RefusedError for a name that
	// is not this sink's.
	Read(ctx context.Context, name string) (item Item, ok bool, err error)
	// Name is the sink's name of a key's item. The error is a *RefusedError for a key
	// that it cannot hold.
	Name(t ledger.Tenant, key ledger.Key) (string, error)
	// Same says whether an item is what Write makes of w.
	Same(item Item, w Write) bool
	// Remove deletes an item that the ledger does not have, unless it is no longer
	// as it was seen.
	Remove(ctx context.Context, seen Item) error
}

// Watcher is a store that reports changes of its items as they happen, so that drift is found
// before the next sweep.
type Watcher interface {
	Store
	// Watch yields the items that have changed since it was called, the sink's own writes
	// included, until ctx ends or an error occurs. An item is as it was after the change; one
	// without a State must be read. Changes may be missing, which sweeps find, or repeated.
	Watch(ctx context.Context, yield func(Item) error) error
}

// Warner is a sink that has conditions to report that an operator should know of.
// Its method is called with the status, and must not call the sink's service.
type Warner interface{ Warnings() []string }

// Limits describes how to write to a sink. A sink with a rate limit paces itself: it
// knows the cost of a request.
type Limits struct {
	// Batch is the most writes in a call. 0: all that a tenant has, and nothing of
	// another tenant, so that a commit is never split.
	Batch int
	// Parallel is the most calls at a time; 0 means 1.
	Parallel int
	// Secrets reports whether the sink protects values written through a secure route;
	// other sinks receive secret.Mask.
	Secrets bool
}

// Write is the state of a key for a store, or a change for an event.
type Write struct {
	Tenant ledger.Tenant
	Key    ledger.Key
	// Value is empty when the key was deleted.
	Value ledger.Value
	// Revision that set or deleted the key, and its commit.
	Revision ledger.Revision
	Commit   ledger.CommitID
	Author   string
	Message  string
	Time     time.Time
	// Base is where the tenant inherits the value from.
	Base ledger.Source
	// Previous revision that had set or deleted the key, 0 for none, and the
	// change's place in its commit, counted from 0. A store does not get them.
	Previous ledger.Revision
	Position int
	Route    *routes.Route
	// Replace, if set, is the item that was found in the key's place, and is replaced
	// whatever revision it claims to have. Without a State the item was missing.
	Replace *Item
}

// Deleted says whether the key was deleted.
func (w Write) Deleted() bool { return w.Value == "" }

// Item is a store's item for a key.
type Item struct {
	Tenant ledger.Tenant
	// Key is empty if the item's name does not belong to a key.
	Key ledger.Key
	// Name is the sink's name of the item.
	Name string
	// Revision that this ledger's projector wrote it for; 0 when that was not who
	// wrote it.
	Revision ledger.Revision
	// Value is the item's value, as JSON; empty for a tombstone.
	Value ledger.Value
	// Secret reports that the sink keeps the value as a secret. Drift adopts it only
	// by a route that is secret, so that it never reaches the journal in clear.
	Secret bool
	// Err is why Scan could not read the item; then only Tenant, Key and Name are set.
	Err error
	// State is the sink's own, to know the item again.
	State any
}

// RefusedError is a write that the sink will never take as it is.
type RefusedError struct {
	Reason string
	// Other is the key that is in the way, if one is.
	Other ledger.Key
}

func (e *RefusedError) Error() string { return e.Reason }

// Refuse makes a *RefusedError. The reason is for users: what is wrong, and what to do.
func Refuse(format string, args ...any) error {
	return &RefusedError{Reason: fmt.Sprintf(format, args...)}
}

// Settings are the inputs for opening a sink.
type Settings struct {
	Name  string
	Epoch ledger.Epoch
	// JSON is the object that the routes have for the sink, without its kind.
	JSON []byte
	// Dir is a folder for local sinks.
	Dir string
	// Destinations are what Endpoint, Role and Directory check against. Local says that the
	// settings are the process's own, which may name any place.
	Destinations Destinations
	Local        bool
	// Keys is a folder with a file for each sink that signs what it sends: KeyFile.
	Keys string
	// PrivateAddresses lets the sink connect to addresses that routes name, and that
	// are not the public internet's.
	PrivateAddresses bool
	Log              *slog.Logger
}

// KeyFile is the file with the keys that the sink signs with.
func (s Settings) KeyFile() string { return filepath.Join(s.Keys, s.Name) }

// Decode reads the settings into a struct. What that does not know is an error.
func (s Settings) Decode(into any) error {
	if err := strictjson.Unmarshal(s.JSON, into, "they must be an object"); err != nil {
		return fmt.Errorf("settings of sink %s: %w", s.Name, err)
	}
	return nil
}

// Kind opens the sinks of a kind, which is known by its name in the table.
type Kind func(context.Context, Settings) (Sink, error)
