package secret

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/replica"
)

// Record is the value of a key that begins with ledger.Shredded. It is in the ledger's own
// tenant, so that every process knows what was shredded as soon as its replica does.
type Record struct {
	// State is Destroying before the key is erased, and Destroyed after.
	State State `json:"state"`
	// By is the caller that asked for it.
	By string `json:"by"`
}

// State says how far the destruction of a key has come. From the first on, no
// process uses it any more.
type State string

const (
	Destroying State = "destroying"
	Destroyed  State = "destroyed"
)

// Committer is what records a destruction: a ledger.
type Committer interface {
	Commit(context.Context, ledger.Tenant, ledger.ChangeSet) (ledger.Result, error)
}

// Shred destroys the tenant's key, and completes an earlier call that was interrupted.
// It returns the ids of the keys and the revision of the ledger's own tenant that
// records it. The error is ledger.ErrNotFound if the tenant has no key. After any other
// error, call it again.
//
// First a commit makes every process refuse the key; then it is erased; then another
// commit records that. A process that is killed in between leaves a key that no process
// uses and that the next writer of a secret, or the next call, erases.
func (k *Keyring) Shred(ctx context.Context, l Committer, t ledger.Tenant, by string) (ids []string, rev ledger.Revision, err error) {
	keys, err := k.cfg.Keys()
	if err != nil {
		return nil, 0, err
	}
	there, entries, err := k.find(ctx, keys, t)
	if err != nil {
		return nil, 0, fmt.Errorf("shred %s: %w", t, err)
	}
	known, err := k.shredded.of(t)
	if err != nil {
		return nil, 0, fmt.Errorf("shred %s: %w", t, err)
	}
	for _, id := range slices.Sorted(maps.Keys(known)) {
		if known[id].State == Destroying && (len(entries) == 0 || !slices.Contains(there.ids(), id)) {
			ids = append(ids, id)
		}
	}
	if len(entries) > 0 {
		ids = append(ids, there.ids()...)
		begun := func(id string) bool { _, ok := known[id]; return ok }
		if left := slices.DeleteFunc(there.ids(), begun); len(left) > 0 {
			if _, err := record(ctx, l, t, by, Destroying, left...); err != nil {
				return nil, 0, fmt.Errorf("shred %s: %w", t, err)
			}
		}
		if err := erase(ctx, keys, entries); err != nil {
			return nil, 0, fmt.Errorf("shred %s: erase its keys: %w", t, err)
		}
	}
	if len(ids) == 0 {
		return nil, 0, ledger.NotFound("%s has no key for secrets: it has written none, or none since it was shredded", t)
	}
	if rev, err = record(ctx, l, t, by, Destroyed, ids...); err != nil {
		return nil, 0, fmt.Errorf("shred %s: the key is erased, and that is not recorded: %w", t, err)
	}
	return ids, rev, nil
}

func record(ctx context.Context, l Committer, t ledger.Tenant, by string, s State, ids ...string) (ledger.Revision, error) {
	value, err := json.Marshal(Record{s, by})
	if err != nil {
		return 0, err
	}
	message := fmt.Sprintf("Shred %s: its key %s is about to be destroyed", t, strings.Join(ids, ", "))
	if s == Destroyed {
		message = fmt.Sprintf("Shred %s: its key %s is destroyed", t, strings.Join(ids, ", "))
	}
	cs := ledger.ChangeSet{Author: by, Message: message}
	for _, id := range ids {
		cs.Changes = append(cs.Changes, ledger.Change{Key: ledger.Key(ledger.Shredded) + ledger.Key(t) + "/" + ledger.Key(id), Value: ledger.Value(value)})
	}
	r, err := l.Commit(ctx, ledger.System, cs)
	return r.Revision, err
}

// shredded knows the keys that were shredded, as of the revision of the ledger's own
// tenant that the replica holds.
type shredded struct {
	replica *replica.Replica

	loaded  atomic.Pointer[shreds]
	loading sync.Mutex // one load at a time
}

type shreds struct {
	head ledger.Revision
	keys map[ledger.Tenant]map[string]Record
}

// check is ErrDestroyed for a key that was shredded.
func (s *shredded) check(t ledger.Tenant, id string) error {
	keys, err := s.of(t)
	if err != nil {
		return err
	}
	if r, ok := keys[id]; ok {
		return fmt.Errorf("%w: %s has shredded %s, and with it the key %s", ErrDestroyed, r.By, t, id)
	}
	return nil
}

func (s *shredded) of(t ledger.Tenant) (map[string]Record, error) {
	is := s.loaded.Load()
	if is == nil || is.head != s.replica.SystemHead() {
		var err error
		if is, err = s.load(); err != nil {
			return nil, fmt.Errorf("find out what was shredded: %w", err)
		}
	}
	return is.keys[t], nil
}

func (s *shredded) load() (*shreds, error) {
	s.loading.Lock()
	defer s.loading.Unlock()
	v, err := s.replica.View(ledger.System, replica.At{})
	if err != nil {
		return nil, err
	}
	defer v.Close()
	if is := s.loaded.Load(); is != nil && is.head == v.State().Head {
		return is, nil
	}
	is := &shreds{head: v.State().Head, keys: make(map[ledger.Tenant]map[string]Record)}
	for e, err := range v.List(ledger.Shredded, "") {
		if err != nil {
			return nil, err
		}
		tenant, id, _ := strings.Cut(strings.TrimPrefix(string(e.Key), string(ledger.Shredded)), "/")
		t := ledger.Tenant(tenant)
		if is.keys[t] == nil {
			is.keys[t] = make(map[string]Record)
		}
		var r Record
		_ = json.Unmarshal([]byte(e.Value), &r) // by any process: the key is refused
		is.keys[t][id] = r
	}
	s.loaded.Store(is)
	return is, nil
}
