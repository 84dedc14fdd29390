package proof

import (
	"crypto/sha256"
	"fmt"
	"regexp"

	"golang.org/x/mod/sumdb/note"
)

// verifierKey is a C2SP verifier key, as GenerateKey writes it: of a ledger's
// name, with an Ed25519 key.
var verifierKey = regexp.MustCompile(`^stele/[0-9a-f]{16}\+[0-9a-f]{8}\+[A-Za-z0-9+/]{44}$`)

// Verifier is a ledger's public key.
type Verifier struct {
	note.Verifier
	text string
}

// ParseVerifier reads a C2SP verifier key.
func ParseVerifier(text string) (Verifier, error) {
	if !verifierKey.MatchString(text) {
		return Verifier{}, fmt.Errorf("%.80q is not a ledger's public key: that is written stele/<epoch>+<hash>+<key>", text)
	}
	v, err := note.NewVerifier(text)
	if err != nil {
		return Verifier{}, fmt.Errorf("public key %s: %w", text, err)
	}
	return Verifier{v, text}, nil
}

// String is the key as it was written.
func (v Verifier) String() string { return v.text }

// Fingerprint is the SHA-256 of the key's text, in hexadecimal, for comparing
// keys over the telephone.
func (v Verifier) Fingerprint() string { return fmt.Sprintf("%x", sha256.Sum256([]byte(v.text))) }
