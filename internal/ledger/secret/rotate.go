package secret

import (
	"context"
	"errors"
	"fmt"

	"github.com/stelehq/stele/internal/ledger"
)

// Rotate encrypts the tenant's keys again, with what is the primary key of the KEK now. With
// newKey it also makes a new key, which encrypts the secrets that are set from now on; older
// ones stay readable with their own keys, and history is not rewritten. It returns the
// ids of the keys, the one that encrypts first. The error is ledger.ErrNotFound when the tenant
// has no key. After any other, call it again.
//
// Other processes use a new key within a minute, when they read the tenant's keys again.
func (k *Keyring) Rotate(ctx context.Context, t ledger.Tenant, newKey bool) (ids []string, err error) {
	if k.cfg.KEK == nil {
		return nil, ErrNoKEK
	}
	keys, err := k.cfg.Keys()
	if err != nil {
		return nil, err
	}
	for ctx.Err() == nil {
		ids, err = k.rotate(ctx, keys, t, newKey)
		if !errors.Is(err, ledger.ErrConflict) {
			break
		}
	}
	if err := errors.Join(err, ctx.Err()); err != nil {
		return nil, fmt.Errorf("rotate the key of %s: %w", t, err)
	}
	k.forget(t)
	return ids, nil
}

// rotate fails with ledger.ErrConflict if another process changes the keys at the same time.
func (k *Keyring) rotate(ctx context.Context, keys Keys, t ledger.Tenant, newKey bool) ([]string, error) {
	there, entries, err := k.find(ctx, keys, t)
	if err != nil {
		return nil, err
	}
	if len(entries) == 0 {
		return nil, ledger.NotFound("%s has no key for secrets: it has written none, or none since it was shredded", t)
	}
	if err := k.shredded.check(t, there.ID); err != nil {
		return nil, err
	}
	if err := erase(ctx, keys, entries[1:]); err != nil { // what a process that was killed has left
		return nil, err
	}
	var next []wrapped
	if newKey {
		_, made, err := k.make(ctx, t)
		if err != nil {
			return nil, err
		}
		next = append(next, made)
	}
	for _, id := range there.ids() {
		w, _ := there.with(id)
		clear, err := k.clear(ctx, t, w)
		if err != nil {
			return nil, err
		}
		if w, err = k.wrap(ctx, t, id, clear); err != nil {
			return nil, err
		}
		next = append(next, w)
	}
	name := string(t)
	if entries[0].Name == name {
		name += otherName
	}
	now := stored{next[0], next[1:]}
	if err := put(ctx, keys, name, now); err != nil {
		return nil, err
	}
	return now.ids(), erase(ctx, keys, entries[:1])
}

// forget drops the tenant's keys from memory.
func (k *Keyring) forget(t ledger.Tenant) {
	s := k.slot(t)
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.keys)
}
