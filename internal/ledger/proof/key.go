package proof

import (
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"github.com/stelehq/stele/internal/ledger"
	"golang.org/x/mod/sumdb/note"
)

// Key is a ledger's key pair, which signs its checkpoints.
type Key struct {
	signer note.Signer
	public string
	// next is the key that is to take over; nil unless the key is being rotated.
	next *Key
}

// ParseKey reads a C2SP signer key, as GenerateKey has made it, or two of them, one per
// line: the second takes over from the first.
func ParseKey(secret string) (Key, error) {
	lines := strings.Fields(secret)
	if len(lines) == 0 || len(lines) > 2 {
		return Key{}, fmt.Errorf("it holds %d keys, and must hold one, or two while the key is rotated", len(lines))
	}
	k, err := parseKey(lines[0])
	if err != nil || len(lines) == 1 {
		return k, err
	}
	next, err := parseKey(lines[1])
	if err == nil && (next.signer.Name() != k.signer.Name() || next.public == k.public) {
		err = fmt.Errorf("the second key is not another one of %s", k.signer.Name())
	}
	k.next = &next
	return k, err
}

func parseKey(secret string) (k Key, err error) {
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
	_, err = parsePublicKey(k.public)
	return k, err
}

// Public is the C2SP verifier key, for verifiers.
func (k Key) Public() string { return k.public }

// Next is the verifier key of the one that is to take over; empty if there is none.
func (k Key) Next() string {
	if k.next == nil {
		return ""
	}
	return k.next.public
}

// Of reports whether the key is the ledger's.
func (k Key) Of(e ledger.Epoch) error {
	if k.signer.Name() != KeyName(e) {
		return fmt.Errorf("%w: the key is named %s, and this ledger's must be %s", ErrOtherLedger, k.signer.Name(), KeyName(e))
	}
	return nil
}
