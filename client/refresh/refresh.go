// Package refresh is for services that need notifications of changed settings and keep
// no client.Client open: it serves the calls of stele-lambda and of webhooks.
//
// A service mounts Serve on its gRPC server or Handler on its HTTP server, and its
// function is called for each change, at least once and not always in order: it should
// read its settings again, with the change's revision as min_revision, or skip a
// revision that is not newer than the one it has. Callers must know a secret, because a
// caller that can make services reload can overload them.
package refresh

import (
	"context"
	"errors"

	"github.com/stelehq/stele/schemas/events"
)

// Request says which keys of a tenant have changed.
type Request struct {
	Tenant  string
	Changes []KeyChange
}

// KeyChange is a key that has changed.
type KeyChange struct {
	Key string
	// Revision is the number of the commit within its tenant.
	Revision uint64
	// Deleted is false when the key was set.
	Deleted bool
	// CommitID is in hexadecimal.
	CommitID string
}

func (r Request) check() error {
	if r.Tenant == "" {
		return errors.New("it names no tenant")
	}
	if len(r.Changes) == 0 {
		return errors.New("it names no change")
	}
	for _, c := range r.Changes {
		if c.Key == "" {
			return errors.New("a change names no key")
		}
	}
	return nil
}

func refreshOf(e events.ConfigurationChanged) Request {
	return Request{Tenant: e.Tenant, Changes: []KeyChange{{
		Key:      e.Key,
		Revision: e.Revision,
		Deleted:  e.Operation == events.Delete,
		CommitID: e.CommitID,
	}}}
}

// refreshFunc is the service's own.
type refreshFunc func(context.Context, Request) error
