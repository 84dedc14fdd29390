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

// Store is a sink that holds one item per key and can be read back.
type Store interface {
	Sink
	// Scan yields every item of the tenant, including tombstones, in any order, until
	// yield returns an error. It limits its rate, so that writes have room. An item that
	// it cannot read has Err set.
	Scan(ctx context.Context, t ledger.Tenant, yield func(Item) error) error
	// Read returns the current item of a name. If the item does not exist, ok is false and
	// the item has only the tenant and key of the name. The error is a *RefusedError for a
	// name that is not this sink's.
	Read(ctx context.Context, name string) (item Item, ok bool, err error)
	// Name is the sink's name of a key's item. The error is a *RefusedError for a key
	// that it cannot hold.
	Name(t ledger.Tenant, key ledger.Key) (string, error)
	// Same reports whether an item equals the item that Write(w) produces.
	Same(item Item, w Write) bool
	// Remove deletes an item whose key the ledger does not have, unless the item has
	// changed since it was seen.
	Remove(ctx context.Context, seen Item) error
}

// Watcher is a store that reports changes of its items as they happen, so that drift is found
// before the next sweep.
type Watcher interface {
	Store
	// Watch yields the items that have changed since it was called, the sink's own writes
	// included, until ctx ends or an error occurs. It yields the item after the change; an item
	// without a State must be read. Changes may be repeated, or missing: sweeps find those.
	Watch(ctx context.Context, yield func(Item) error) error
}

// Warner is a sink that reports conditions to operators. Warnings is called for every status
// request, and must not call the sink's service.
type Warner interface{ Warnings() []string }

// Limits describes how to write to a sink. A sink with a rate limit paces itself: it
// knows the cost of a request.
type Limits struct {
	// Batch is the maximum number of writes per call. 0: all waiting writes of one tenant, so
	// that a commit is never split.
	Batch int
	// Parallel is the maximum number of concurrent calls; 0 means 1.
	Parallel int
	// Secrets reports whether the sink protects values written through a secure route;
	// other sinks receive secret.Mask.
	Secrets bool
}

// Write is the state of a key for a store, or a change for an event.
type Write struct {
	Tenant ledger.Tenant
	Key    ledger.Key
	// Value is empty if the key was deleted.
	Value ledger.Value
	// Revision that set or deleted the key, and its commit.
	Revision ledger.Revision
	Commit   ledger.CommitID
	Author   string
	Message  string
	Time     time.Time
	// Base is where the tenant inherits the value from.
	Base ledger.Source
	// Previous is the revision before that set or deleted the key, 0 for none. Position is the
	// index of the change in its commit. A store does not get them.
	Previous ledger.Revision
	Position int
	Route    *routes.Route
	// Replace, if set, is the drifted item of the key. The write replaces it even if the item
	// claims a newer revision. Without a State the item was missing.
	Replace *Item
}

// Deleted reports whether the key was deleted.
func (w Write) Deleted() bool { return w.Value == "" }

// Item is a store's item for a key.
type Item struct {
	Tenant ledger.Tenant
	// Key is empty if the item's name does not belong to a key.
	Key ledger.Key
	// Name is the sink's name of the item.
	Name string
	// Revision for which this ledger's projector wrote the item; 0 if another program wrote
	// it.
	Revision ledger.Revision
	// Value is the item's value, as JSON; empty for a tombstone.
	Value ledger.Value
	// Secret reports that the sink keeps the value as a secret. Drift adopts it only through a
	// secret route, so that it never reaches the journal in plain text.
	Secret bool
	// Err is why Scan could not read the item; then only Tenant, Key and Name are set.
	Err error
	// State is private to the sink, which uses it to detect changes of the item.
	State any
}

// RefusedError is a write that the sink will never accept as it is.
type RefusedError struct {
	Reason string
	// Other is the key that conflicts with this one, if any.
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
	// JSON is the object with the sink's settings in the routes, without its kind.
	JSON []byte
	// Dir is a folder for local sinks.
	Dir string
	// Destinations are what Endpoint, Role and Directory check against. Local says that the
	// settings are the process's own, which may name any place.
	Destinations Destinations
	Local        bool
	// Keys is a folder with a file for each sink that signs what it sends: KeyFile.
	Keys string
	// PrivateAddresses lets the sink connect to addresses in the routes that are not on the
	// public internet.
	PrivateAddresses bool
	Log              *slog.Logger
}

// KeyFile is the file with the keys that the sink signs with.
func (s Settings) KeyFile() string { return filepath.Join(s.Keys, s.Name) }

// Decode decodes the settings into a struct. An unknown field is an error.
func (s Settings) Decode(into any) error {
	if err := strictjson.Unmarshal(s.JSON, into, "they must be an object"); err != nil {
		return fmt.Errorf("settings of sink %s: %w", s.Name, err)
	}
	return nil
}

// Kind opens the sinks of a kind, which is known by its name in the table.
type Kind func(context.Context, Settings) (Sink, error)
