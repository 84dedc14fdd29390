package proof

import (
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"github.com/stelehq/stele/ledger"
	"golang.org/x/mod/sumdb/note"
)

// Key is a ledger's key pair, which signs its checkpoints.
type Key struct {
	signer   note.Signer
	verifier note.Verifier
	public   string
}

// ParseKey reads a C2SP signer key, as GenerateKey has made it.
func ParseKey(secret string) (k Key, err error) {
	secret = strings.TrimSpace(secret)
	if k.signer, err = note.NewSigner(secret); err != nil {
		return k, fmt.Errorf("it holds no C2SP signer key: %w", err)
	}
	// A signer key is PRIVATE+KEY+name+hash+base64(algorithm || seed), and its name
	// has no "+".
	seed, err := base64.StdEncoding.DecodeString(secret[len("PRIVATE+KEY+")+len(k.signer.Name())+1+8+1:])
	if err != nil || len(seed) != 1+ed25519.SeedSize {
		return k, errors.New("it holds no Ed25519 key")
	}
	public := ed25519.NewKeyFromSeed(seed[1:]).Public().(ed25519.PublicKey)
	if k.public, err = note.NewEd25519VerifierKey(k.signer.Name(), public); err != nil {
		return k, err
	}
	k.verifier, err = note.NewVerifier(k.public)
	return k, err
}

// Public is the C2SP verifier key, for verifiers.
func (k Key) Public() string { return k.public }

// Of says whether the key is the ledger's.
func (k Key) Of(e ledger.Epoch) error {
	if k.signer.Name() != KeyName(e) {
		return fmt.Errorf("%w: the key is named %s, and this ledger's must be %s", ErrOtherLedger, k.signer.Name(), KeyName(e))
	}
	return nil
}
