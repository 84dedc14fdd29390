package secret

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/stelehq/stele/ledger"
	"github.com/stelehq/stele/ledger/journal"
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

// stored is a tenant's key as it is stored next to the journal.
type stored struct {
	ID string `json:"id"`
	// Keyset is a Tink keyset, encrypted with the KEK.
	Keyset []byte `json:"keyset"`
}

// key is the tenant's key: the one with that id, or without an id the current one,
// which is created if it does not exist.
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
	if dk := s.key; dk != nil && time.Now().Before(dk.until) && (id == "" || id == dk.id) {
		switch err := k.shredded.check(t, dk.id); {
		case err == nil:
			return dk, nil
		case !errors.Is(err, ErrDestroyed):
			return nil, err
		}
	}
	s.key = nil
	dk, err := k.load(ctx, t, id == "")
	if err != nil {
		return nil, err
	}
	if dk == nil || id != "" && dk.id != id {
		return nil, fmt.Errorf("%w: its key, %s of %s, is no longer there", ErrDestroyed, id, t)
	}
	dk.until = time.Now().Add(k.life)
	s.key = dk
	time.AfterFunc(k.life, func() { // or an idle process would keep it
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.key == dk {
			s.key = nil
		}
	})
	return dk, nil
}

func (k *Keyring) slot(t ledger.Tenant) *slot {
	k.mu.Lock()
	defer k.mu.Unlock()
	s := k.ring[t]
	if s == nil {
		s = &slot{}
		k.ring[t] = s
	}
	return s
}

// loadTimeout bounds how long others wait for a key to be read or made.
const loadTimeout = 10 * time.Second

// load reads the tenant's key. If it does not exist, load creates one if create is set;
// of processes that do so at once, one wins, and the others read its key.
func (k *Keyring) load(ctx context.Context, t ledger.Tenant, mayMake bool) (*dataKey, error) {
	ctx, cancel := context.WithTimeout(ctx, loadTimeout)
	defer cancel()
	keys, err := k.cfg.Keys()
	if err != nil {
		return nil, err
	}
	for {
		there, note, err := k.find(ctx, keys, t)
		if err != nil {
			return nil, err
		}
		if note.Sequence > 0 {
			switch err := k.shredded.check(t, there.ID); {
			case err == nil:
				return k.unwrap(ctx, t, there)
			case !errors.Is(err, ErrDestroyed):
				return nil, err
			}
			// Who was about to erase it has not come to it.
			if err := keys.Erase(ctx, note.Sequence); err != nil {
				return nil, err
			}
		}
		if !mayMake {
			return nil, nil
		}
		if t != ledger.System {
			// The ledger's own key encrypts nothing. It is the one that every process
			// must be able to read before it makes another, or two that have different
			// KEKs would not notice.
			if _, err := k.load(ctx, ledger.System, true); err != nil {
				return nil, err
			}
		}
		made, body, err := k.make(ctx, t)
		if err != nil {
			return nil, err
		}
		switch _, err := keys.Put(ctx, string(t), 0, body); {
		case err == nil:
			return made, nil
		case !errors.Is(err, ledger.ErrConflict):
			return nil, fmt.Errorf("%w: keep a new key of %s: %w", ledger.ErrUnavailable, t, err)
		}
	}
}

// find reads the stored key of the tenant; the entry's sequence is 0 if it does not
// exist.
func (k *Keyring) find(ctx context.Context, keys Keys, t ledger.Tenant) (s stored, note journal.Entry, err error) {
	if note, err = keys.Get(ctx, string(t)); err != nil || note.Sequence == 0 {
		return s, note, err
	}
	if err := json.Unmarshal(note.Body, &s); err != nil || !validID(s.ID) {
		return s, note, fmt.Errorf("cannot read the key of %s (message %d of STELE-KEYS)", t, note.Sequence)
	}
	return s, note, nil
}

// make makes a key, and its stored form.
func (k *Keyring) make(ctx context.Context, t ledger.Tenant) (*dataKey, []byte, error) {
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
		return nil, nil, fmt.Errorf("make a key of %s: %w", t, err)
	}
	var wrapped []byte
	owner, err := k.owner(t, dk.id)
	if err == nil {
		wrapped, err = k.cfg.KEK.EncryptWithContext(ctx, clear.Bytes(), owner)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("encrypt a new key of %s: %w", t, err)
	}
	body, err := json.Marshal(stored{dk.id, wrapped})
	return dk, body, err
}

func (k *Keyring) unwrap(ctx context.Context, t ledger.Tenant, s stored) (*dataKey, error) {
	owner, err := k.owner(t, s.ID)
	if err != nil {
		return nil, err
	}
	clear, err := k.cfg.KEK.DecryptWithContext(ctx, s.Keyset, owner)
	if errors.Is(err, ledger.ErrUnavailable) {
		return nil, fmt.Errorf("decrypt the key of %s: %w", t, err)
	}
	var h *keyset.Handle
	if err == nil {
		h, err = insecurecleartextkeyset.Read(keyset.NewBinaryReader(bytes.NewReader(clear)))
	}
	dk := &dataKey{id: s.ID}
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
