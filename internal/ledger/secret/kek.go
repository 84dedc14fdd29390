package secret

import (
	"bytes"
	"context"
	"fmt"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/insecurecleartextkeyset"
	"github.com/tink-crypto/tink-go/v2/keyset"
	"github.com/tink-crypto/tink-go/v2/tink"
)

// KEK is the key-encryption key, which encrypts the tenants' keys. It is the same
// for all processes of a ledger.
type KEK = tink.AEADWithContext

// GenerateKEK makes a local key-encryption key: the text of a file that only its owner
// may read.
func GenerateKEK() ([]byte, error) {
	h, err := keyset.NewHandle(aead.AES256GCMKeyTemplate())
	if err != nil {
		return nil, fmt.Errorf("make a key for secrets: %w", err)
	}
	var b bytes.Buffer
	if err := insecurecleartextkeyset.Write(h, keyset.NewJSONWriter(&b)); err != nil {
		return nil, fmt.Errorf("make a key for secrets: %w", err)
	}
	return append(b.Bytes(), '\n'), nil
}

// ParseKEK reads a local key: a Tink keyset in JSON, which may have several keys, of
// which the primary one encrypts. The error holds nothing of the text.
func ParseKEK(text []byte) (KEK, error) {
	h, err := insecurecleartextkeyset.Read(keyset.NewJSONReader(bytes.NewReader(text)))
	if err != nil {
		return nil, fmt.Errorf("it is not a Tink keyset in JSON")
	}
	a, err := aead.New(h)
	if err != nil {
		return nil, fmt.Errorf("it is not a keyset for authenticated encryption (AEAD)")
	}
	return local{a}, nil
}

// local is a key of this process, which needs no context.
type local struct{ aead tink.AEAD }

func (l local) EncryptWithContext(_ context.Context, plaintext, associated []byte) ([]byte, error) {
	return l.aead.Encrypt(plaintext, associated)
}

func (l local) DecryptWithContext(_ context.Context, ciphertext, associated []byte) ([]byte, error) {
	return l.aead.Decrypt(ciphertext, associated)
}

// AddKEK adds a new key to the text of a local key. It decrypts, but does not encrypt yet:
// give the file to all processes first.
func AddKEK(text []byte) ([]byte, error) {
	return editKEK(text, func(m *keyset.Manager, _ *keyset.Handle) error {
		_, err := m.Add(aead.AES256GCMKeyTemplate())
		return err
	})
}

// PromoteKEK makes the key that was added last the one that encrypts.
func PromoteKEK(text []byte) ([]byte, error) {
	return editKEK(text, func(m *keyset.Manager, h *keyset.Handle) error {
		newest, err := h.Entry(h.Len() - 1)
		if err != nil {
			return err
		}
		return m.SetPrimary(newest.KeyID())
	})
}

// PruneKEK removes all keys but the one that encrypts.
func PruneKEK(text []byte) ([]byte, error) {
	return editKEK(text, func(m *keyset.Manager, h *keyset.Handle) error {
		for i := range h.Len() {
			e, err := h.Entry(i)
			if err != nil {
				return err
			}
			if e.IsPrimary() {
				continue
			}
			if err := m.Delete(e.KeyID()); err != nil {
				return err
			}
		}
		return nil
	})
}

func editKEK(text []byte, edit func(*keyset.Manager, *keyset.Handle) error) ([]byte, error) {
	if _, err := ParseKEK(text); err != nil {
		return nil, err
	}
	h, err := insecurecleartextkeyset.Read(keyset.NewJSONReader(bytes.NewReader(text)))
	if err != nil {
		return nil, fmt.Errorf("it is not a Tink keyset in JSON")
	}
	m := keyset.NewManagerFromHandle(h)
	if err := edit(m, h); err != nil {
		return nil, fmt.Errorf("change the key for secrets: %w", err)
	}
	if h, err = m.Handle(); err != nil {
		return nil, fmt.Errorf("change the key for secrets: %w", err)
	}
	var b bytes.Buffer
	if err := insecurecleartextkeyset.Write(h, keyset.NewJSONWriter(&b)); err != nil {
		return nil, fmt.Errorf("change the key for secrets: %w", err)
	}
	return append(b.Bytes(), '\n'), nil
}
