// Package secret encrypts values that only callers with permission may see.
//
// The routes determine which keys are secret. The value of such a key is encrypted
// before it reaches the journal, and never stored in plain text: journal, replicas,
// proofs and audit files hold an encrypted value, which is hashed, copied by a rollback
// and verified like any other. Answers show Mask instead, unless a caller with the
// permission asks to reveal it.
//
// Each tenant has a key of its own (AES-256-GCM, by Tink), made when its first
// secret is written. It encrypts a value together with the names of ledger, tenant
// and key: a value that is copied to another place does not decrypt there. The
// tenant's key is itself encrypted with the key-encryption key, which all processes
// share and which is kept elsewhere, and is next to the journal in a stream that,
// unlike the journal, can forget. A rotation makes a new key for the values that come
// and keeps the older keys for those that are in the journal. To shred a tenant is to erase it there: then
// nothing that is left can decrypt what it has encrypted, and all of that still
// verifies.
package secret

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/journal"
	"github.com/stelehq/stele/internal/ledger/replica"
	"github.com/stelehq/stele/internal/ledger/routes"
)

var (
	// ErrNoKEK: this process can neither encrypt nor reveal secrets.
	ErrNoKEK = errors.New("this process does not have the ledger's key for secrets: give it the --secrets-key that the others have")
	// ErrDestroyed: the key that encrypted the value was destroyed permanently.
	ErrDestroyed = errors.New("the secret was destroyed")
	// ErrAltered: the value is not one that the tenant's key has encrypted for this
	// key of this tenant.
	ErrAltered = errors.New("the encrypted value is not what the ledger has written there")
)

// Keys is where the encrypted keys are, one a tenant: journal.Bucket.
type Keys interface {
	Get(ctx context.Context, name string) (journal.Entry, error)
	Put(ctx context.Context, name string, expected ledger.Sequence, body []byte) (ledger.Sequence, error)
	Erase(ctx context.Context, seq ledger.Sequence) error
}

// Config has the parts of a keyring.
type Config struct {
	// KEK may be nil; see ErrNoKEK.
	KEK KEK
	// Replica holds the ledger's own tenant, which records shredded keys.
	Replica *replica.Replica
	Routes  *routes.Source
	// Keys returns where the tenants' keys are, or why that cannot be reached now.
	Keys func() (Keys, error)
}

// life is how long a tenant's key stays in memory. A process that does not learn of its
// shredding, because it is cut off from the journal, can reveal its secrets for that
// much longer.
const life = time.Minute

// Keyring encrypts secrets and reveals them.
type Keyring struct {
	cfg      Config
	life     time.Duration
	shredded shredded

	mu   sync.Mutex // guards ring
	ring map[ledger.Tenant]*slot
}

// slot is a tenant's entry in the ring.
type slot struct {
	mu sync.Mutex // one loading at a time; guards keys
	// keys are those in memory, by their ids. The one that encrypts now is there under
	// the id "", too.
	keys map[string]*dataKey
}

// New makes a keyring. It has nothing to close.
func New(cfg Config) *Keyring {
	return &Keyring{cfg: cfg, life: life, shredded: shredded{replica: cfg.Replica}, ring: make(map[ledger.Tenant]*slot)}
}

// Seal is a ledger's Config.Seal: it encrypts the values of secret keys, and rejects
// values that look encrypted already or are the mask of one.
func (k *Keyring) Seal(ctx context.Context, t ledger.Tenant, changes []ledger.Change, stored bool) ([]ledger.Change, error) {
	table, _, err := k.cfg.Routes.Table()
	if err != nil {
		return nil, fmt.Errorf("find out which keys are secret: %w", err)
	}
	if err := sealable(table, t, changes, stored); err != nil {
		return nil, err
	}
	out, copied := changes, false
	for i, c := range changes {
		if c.Delete || Sealed(c.Value) || t.Reserved() || !table.Secret(c.Key) {
			continue
		}
		if !copied {
			out, copied = append([]ledger.Change(nil), changes...), true
		}
		if out[i].Value, err = k.encrypt(ctx, t, c.Key, c.Value); err != nil {
			return nil, fmt.Errorf("encrypt %s of %s: %w", c.Key, t, err)
		}
	}
	return out, nil
}

// Sealable is a ledger's Config.Sealable: it refuses what Seal does.
func (k *Keyring) Sealable(t ledger.Tenant, changes []ledger.Change, stored bool) error {
	table, _, err := k.cfg.Routes.Table()
	if err != nil {
		return fmt.Errorf("find out which keys are secret: %w", err)
	}
	return sealable(table, t, changes, stored)
}

func sealable(table *routes.Table, t ledger.Tenant, changes []ledger.Change, stored bool) error {
	var wrong ledger.InvalidError
	for i, c := range changes {
		why := ""
		switch {
		case c.Delete || stored && Sealed(c.Value):
			continue
		case Sealed(c.Value):
			why = `a value that begins with {"$secret": is an encrypted one, and only the ledger writes such: set the secret itself, or revert a commit (stele revert, stele rollback)`
		case t.Reserved() || !table.Secret(c.Key):
			continue
		case c.Value == Mask && !stored:
			why = `"***" is shown instead of a secret: set the secret itself, or leave the key out`
		}
		if why != "" {
			wrong.Add(fmt.Sprintf("changes[%d].value", i), why)
		}
	}
	return wrong.OrNil()
}

// Reseal is a ledger's Config.Reseal: it encrypts a secret again for its new key.
func (k *Keyring) Reseal(ctx context.Context, c ledger.CopiedValue) (ledger.Value, error) {
	table, _, err := k.cfg.Routes.Table()
	if err != nil {
		return "", fmt.Errorf("find out which keys are secret: %w", err)
	}
	is, becomes := Sealed(c.Value) || !c.Tenant.Reserved() && table.Secret(c.From), !c.Tenant.Reserved() && table.Secret(c.To)
	switch {
	case !is && !becomes:
		return c.Value, nil
	case !becomes:
		return "", ledger.Invalid("to", fmt.Sprintf("%s is a secret, and no route makes %s one: its value would be readable there", c.From, c.To))
	case is && c.Viewer != nil && !c.Viewer.Opens(c.Tenant, c.From):
		return "", &ledger.RevealError{Key: c.From}
	}
	plain, err := k.Reveal(ctx, c.Owner, c.From, c.Value)
	if err != nil {
		return "", err
	}
	sealed, err := k.encrypt(ctx, c.Tenant, c.To, plain)
	if err != nil {
		return "", fmt.Errorf("encrypt %s of %s: %w", c.To, c.Tenant, err)
	}
	return sealed, nil
}

func (k *Keyring) encrypt(ctx context.Context, t ledger.Tenant, key ledger.Key, v ledger.Value) (ledger.Value, error) {
	dk, err := k.key(ctx, t, "")
	if err != nil {
		return "", err
	}
	bound, err := k.bound(t, key)
	if err != nil {
		return "", err
	}
	ciphertext, err := dk.aead.Encrypt([]byte(v), bound)
	if err != nil {
		return "", errors.New("the tenant's key does not encrypt") // and not what Tink says, which might be more
	}
	return sealed{dk.id, ciphertext}.value(), nil
}

// Reveal returns the value that was encrypted; one that is not encrypted is
// returned as it is. Errors: ErrNoKEK, ErrDestroyed, ErrAltered, and
// ledger.ErrUnavailable when the tenant's key cannot be read now.
func (k *Keyring) Reveal(ctx context.Context, t ledger.Tenant, key ledger.Key, v ledger.Value) (ledger.Value, error) {
	if !Sealed(v) {
		return v, nil
	}
	s, err := parse(v)
	if err != nil {
		return "", fmt.Errorf("reveal %s of %s: %w: %w", key, t, ErrAltered, err)
	}
	dk, err := k.key(ctx, t, s.key)
	if err != nil {
		return "", fmt.Errorf("reveal %s of %s: %w", key, t, err)
	}
	bound, err := k.bound(t, key)
	if err != nil {
		return "", err
	}
	plain, err := dk.aead.Decrypt(s.ciphertext, bound)
	if err != nil {
		return "", fmt.Errorf("reveal %s of %s: %w", key, t, ErrAltered)
	}
	return ledger.Value(plain), nil
}

// SealedFrom is a ledger's Config.SealedFrom: it opens the stored value.
func (k *Keyring) SealedFrom(ctx context.Context, t ledger.Tenant, key ledger.Key, stored, plain ledger.Value) (bool, error) {
	v, err := k.Reveal(ctx, t, key, stored)
	if errors.Is(err, ErrDestroyed) {
		return true, nil
	}
	return v == plain, err
}

// bound is what a value is encrypted with, so that it decrypts nowhere else. The
// revision is not in it: a rollback sets the value again.
func (k *Keyring) bound(t ledger.Tenant, key ledger.Key) ([]byte, error) {
	epoch, err := k.epoch()
	return fmt.Appendf(nil, "%s/%s/%s", epoch, t, key), err // a tenant has no slash
}

// epoch is the ledger's, which a replica that is being built does not know.
func (k *Keyring) epoch() (ledger.Epoch, error) {
	epoch := k.cfg.Replica.Epoch()
	if epoch == (ledger.Epoch{}) {
		return epoch, fmt.Errorf("%w: the replica is still being built from the journal", ledger.ErrUnavailable)
	}
	return epoch, nil
}
