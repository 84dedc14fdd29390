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
