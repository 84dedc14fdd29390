package secret

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/stelehq/stele/internal/ledger"
	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/insecurecleartextkeyset"
	"github.com/tink-crypto/tink-go/v2/keyset"
	"github.com/tink-crypto/tink-go/v2/tink"
)

// dataKey is a tenant's key in memory.
type dataKey struct {
	id    string
	aead  tink.AEAD
	until time.Time
}

// wrapped is a key as it is stored next to the journal.
type wrapped struct {
	ID string `json:"id"`
	// Keyset is a Tink keyset, encrypted with the KEK.
	Keyset []byte `json:"keyset"`
}

// stored are a tenant's keys as they are kept: the one that encrypts now, and those that
// older values are encrypted with, newest first.
type stored struct {
	wrapped
	Older []wrapped `json:"older,omitempty"`
}

// with is the key with that id, or with none the one that encrypts now.
func (s stored) with(id string) (wrapped, bool) {
	if id == "" || id == s.ID {
		return s.wrapped, true
	}
	i := slices.IndexFunc(s.Older, func(w wrapped) bool { return w.ID == id })
	if i < 0 {
		return wrapped{}, false
	}
	return s.Older[i], true
}

// ids are those of all the keys, the one that encrypts now first.
func (s stored) ids() []string {
	ids := []string{s.ID}
	for _, w := range s.Older {
		ids = append(ids, w.ID)
	}
	return ids
}

// key is the tenant's key: the one with that id, or with none the one that encrypts
// now, which is created if it does not exist.
func (k *Keyring) key(ctx context.Context, t ledger.Tenant, id string) (*dataKey, error) {
	if k.cfg.KEK == nil {
		return nil, ErrNoKEK
	}
	if id != "" {
		if err := k.shredded.check(t, id); err != nil {
			return nil, err
		}
	}
	s := k.slot(t)
	s.mu.Lock()
	defer s.mu.Unlock()
	if dk := s.keys[id]; dk != nil && time.Now().Before(dk.until) {
		switch err := k.shredded.check(t, dk.id); {
		case err == nil:
			return dk, nil
		case !errors.Is(err, ErrDestroyed):
			return nil, err
		}
	}
	delete(s.keys, id)
	dk, err := k.load(ctx, t, id)
	if err != nil {
		return nil, err
	}
	if dk == nil {
		return nil, fmt.Errorf("%w: its key, %s of %s, is no longer there", ErrDestroyed, id, t)
	}
	dk.until = time.Now().Add(k.life)
	s.keys[id], s.keys[dk.id] = dk, dk
	time.AfterFunc(k.life, func() { // or an idle process would keep it
		s.mu.Lock()
		defer s.mu.Unlock()
		maps.DeleteFunc(s.keys, func(_ string, kept *dataKey) bool { return kept == dk })
	})
	return dk, nil
}

func (k *Keyring) slot(t ledger.Tenant) *slot {
	k.mu.Lock()
	defer k.mu.Unlock()
	s := k.ring[t]
	if s == nil {
		s = &slot{keys: make(map[string]*dataKey)}
		k.ring[t] = s
	}
	return s
}

// loadTimeout bounds how long others wait for a key to be read or made.
const loadTimeout = 10 * time.Second

// load reads the tenant's key with that id, nil if it does not exist; or with no id the one
// that encrypts now, which it creates if it does not exist. Of processes that do so at
// once, one wins, and the others read its key.
func (k *Keyring) load(ctx context.Context, t ledger.Tenant, id string) (*dataKey, error) {
	ctx, cancel := context.WithTimeout(ctx, loadTimeout)
	defer cancel()
	keys, err := k.cfg.Keys()
	if err != nil {
		return nil, err
	}
	for {
		there, entries, err := k.find(ctx, keys, t)
		if err != nil {
			return nil, err
		}
		if len(entries) > 0 {
			switch err := k.shredded.check(t, there.ID); {
			case err == nil:
				if w, ok := there.with(id); ok {
					return k.unwrap(ctx, t, w)
				}
				return nil, nil
			case !errors.Is(err, ErrDestroyed):
				return nil, err
			}
			// The process that was about to erase it was interrupted before.
			if err := erase(ctx, keys, entries); err != nil {
				return nil, err
			}
		}
		if id != "" {
			return nil, nil
		}
		if t != ledger.System {
			// The ledger's own key encrypts nothing. It is the one that every process
			// must be able to read before it makes another, or two that have different
			// KEKs would not notice.
			if _, err := k.load(ctx, ledger.System, ""); err != nil {
				return nil, err
			}
		}
		made, w, err := k.make(ctx, t)
		if err != nil {
			return nil, err
		}
		switch err := put(ctx, keys, string(t), stored{wrapped: w}); {
		case err == nil:
			return made, nil
		case !errors.Is(err, ledger.ErrConflict):
			return nil, fmt.Errorf("%w: keep a new key of %s: %w", ledger.ErrUnavailable, t, err)
		}
	}
}

// make makes a key, and what is kept of it.
func (k *Keyring) make(ctx context.Context, t ledger.Tenant) (*dataKey, wrapped, error) {
	id := make([]byte, sizeID/2)
	rand.Read(id) // never fails
	dk := &dataKey{id: hex.EncodeToString(id)}
	h, err := keyset.NewHandle(aead.AES256GCMKeyTemplate())
	if err == nil {
		dk.aead, err = aead.New(h)
	}
	var clear bytes.Buffer
	if err == nil {
		err = insecurecleartextkeyset.Write(h, keyset.NewBinaryWriter(&clear))
	}
	if err != nil {
		return nil, wrapped{}, fmt.Errorf("make a key of %s: %w", t, err)
	}
	w, err := k.wrap(ctx, t, dk.id, clear.Bytes())
	return dk, w, err
}

// wrap encrypts a key with the key-encryption key.
func (k *Keyring) wrap(ctx context.Context, t ledger.Tenant, id string, clear []byte) (wrapped, error) {
	owner, err := k.owner(t, id)
	if err != nil {
		return wrapped{}, err
	}
	w := wrapped{ID: id}
	if w.Keyset, err = k.cfg.KEK.EncryptWithContext(ctx, clear, owner); err != nil {
		return w, fmt.Errorf("encrypt a key of %s: %w", t, err)
	}
	return w, nil
}

// clear decrypts a key.
func (k *Keyring) clear(ctx context.Context, t ledger.Tenant, w wrapped) ([]byte, error) {
	owner, err := k.owner(t, w.ID)
	if err != nil {
		return nil, err
	}
	clear, err := k.cfg.KEK.DecryptWithContext(ctx, w.Keyset, owner)
	switch {
	case errors.Is(err, ledger.ErrUnavailable):
		return nil, fmt.Errorf("decrypt the key of %s: %w", t, err)
	case err != nil:
		return nil, fmt.Errorf("%w: the one that it has does not decrypt the key of %s", ErrNoKEK, t)
	}
	return clear, nil
}

func (k *Keyring) unwrap(ctx context.Context, t ledger.Tenant, w wrapped) (*dataKey, error) {
	clear, err := k.clear(ctx, t, w)
	if err != nil {
		return nil, err
	}
	h, err := insecurecleartextkeyset.Read(keyset.NewBinaryReader(bytes.NewReader(clear)))
	dk := &dataKey{id: w.ID}
	if err == nil {
		dk.aead, err = aead.New(h)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: the one that it has does not decrypt the key of %s", ErrNoKEK, t)
	}
	return dk, nil
}

// owner is the associated data of a tenant's key, so that it decrypts for no other
// tenant. AWS KMS writes it into its log.
func (k *Keyring) owner(t ledger.Tenant, id string) ([]byte, error) {
	epoch, err := k.epoch()
	return fmt.Appendf(nil, "%s/%s/%s", epoch, t, id), err
}
