package proof

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"
)

// algCosignature is the type of an Ed25519 key for timestamped cosignatures, in
// C2SP keys (c2sp.org/tlog-cosignature).
const algCosignature = 4

// cosignatureBytes is the size of a cosignature in a note: the key's hash, the time,
// the Ed25519 signature.
const cosignatureBytes = 4 + 8 + ed25519.SignatureSize

// Cosigner is a witness's key pair.
type Cosigner struct {
	key     ed25519.PrivateKey
	witness WitnessKey
}

// GenerateCosigner makes a witness's key pair, as a C2SP signer key and verifier key. The name
// is a URL without its scheme, for example witness.example/w1.
func GenerateCosigner(name string) (signer, verifier string, err error) {
	if _, err := witnessKey(name, make([]byte, ed25519.PublicKeySize)); err != nil {
		return "", "", err
	}
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return "", "", fmt.Errorf("make the key of a witness: %w", err)
	}
	k, err := witnessKey(name, public)
	if err != nil {
		return "", "", err
	}
	seed := base64.StdEncoding.EncodeToString(append([]byte{algCosignature}, private.Seed()...))
	return fmt.Sprintf("PRIVATE+KEY+%s+%08x+%s", name, k.KeyHash(), seed), k.String(), nil
}

// ParseCosigner reads what GenerateCosigner made.
func ParseCosigner(secret string) (Cosigner, error) {
	secret = strings.TrimSpace(secret)
	parts := strings.SplitN(strings.TrimPrefix(secret, "PRIVATE+KEY+"), "+", 3)
	if len(parts) != 3 || !strings.HasPrefix(secret, "PRIVATE+KEY+") {
		return Cosigner{}, fmt.Errorf("it is not a witness's signer key, which is written PRIVATE+KEY+<name>+<hash>+<key>")
	}
	seed, err := base64.StdEncoding.DecodeString(parts[2])
	if err != nil || len(seed) != 1+ed25519.SeedSize || seed[0] != algCosignature {
		return Cosigner{}, fmt.Errorf("it holds no Ed25519 key for cosignatures")
	}
	c := Cosigner{key: ed25519.NewKeyFromSeed(seed[1:])}
	if c.witness, err = witnessKey(parts[0], c.key.Public().(ed25519.PublicKey)); err != nil {
		return c, err
	}
	if parts[1] != fmt.Sprintf("%08x", c.witness.KeyHash()) {
		return c, fmt.Errorf("the hash of the witness's key is not %s", parts[1])
	}
	return c, nil
}

// Public is the key that verifies the cosignatures.
func (c Cosigner) Public() WitnessKey { return c.witness }

// Cosign returns a signature line for a checkpoint's text.
func (c Cosigner) Cosign(text string, now time.Time) string {
	raw := binary.BigEndian.AppendUint32(nil, c.witness.KeyHash())
	raw = binary.BigEndian.AppendUint64(raw, uint64(now.Unix()))
	raw = append(raw, ed25519.Sign(c.key, cosigned(uint64(now.Unix()), []byte(text)))...)
	return fmt.Sprintf("— %s %s\n", c.witness.Name(), base64.StdEncoding.EncodeToString(raw))
}

// cosigned is the message that a cosignature signs.
func cosigned(seconds uint64, text []byte) []byte {
	return fmt.Appendf(nil, "cosignature/v1\ntime %d\n%s", seconds, text)
}

// WitnessKey is the public key of a witness.
type WitnessKey struct {
	name   string
	hash   uint32
	public ed25519.PublicKey
}

// ParseWitnessKey reads a C2SP verifier key for timestamped Ed25519 cosignatures.
func ParseWitnessKey(text string) (WitnessKey, error) {
	text = strings.TrimSpace(text)
	parts := strings.SplitN(text, "+", 3)
	if len(parts) != 3 {
		return WitnessKey{}, fmt.Errorf("%.80q is not a witness's public key, which is written <name>+<hash>+<key>", text)
	}
	raw, err := base64.StdEncoding.DecodeString(parts[2])
	if err != nil || len(raw) != 1+ed25519.PublicKeySize || raw[0] != algCosignature {
		return WitnessKey{}, fmt.Errorf("%.80q is not an Ed25519 key for cosignatures: such a key begins with the byte 0x04", text)
	}
	k, err := witnessKey(parts[0], raw[1:])
	if err == nil && k.String() != text {
		err = fmt.Errorf("the hash of the witness's key %.80q is not %s", text, parts[1])
	}
	return k, err
}

func witnessKey(name string, public ed25519.PublicKey) (WitnessKey, error) {
	if name == "" || strings.ContainsAny(name, "+ \t\r\n") || strings.HasPrefix(name, "stele/") {
		return WitnessKey{}, fmt.Errorf("a witness cannot be named %.80q: use a URL without its scheme, for example witness.example/w1", name)
	}
	sum := sha256.Sum256(append([]byte(name+"\n"), append([]byte{algCosignature}, public...)...))
	return WitnessKey{name, binary.BigEndian.Uint32(sum[:]), public}, nil
}

// String is the C2SP verifier key.
func (k WitnessKey) String() string {
	return fmt.Sprintf("%s+%08x+%s", k.name, k.hash, base64.StdEncoding.EncodeToString(append([]byte{algCosignature}, k.public...)))
}

// Name, KeyHash and Verify make the key a note.Verifier.
func (k WitnessKey) Name() string    { return k.name }
func (k WitnessKey) KeyHash() uint32 { return k.hash }
func (k WitnessKey) Verify(text, signature []byte) bool {
	if len(signature) != cosignatureBytes-4 {
		return false
	}
	seconds := binary.BigEndian.Uint64(signature)
	return seconds > 0 && seconds <= math.MaxInt64 && ed25519.Verify(k.public, cosigned(seconds, text), signature[8:])
}

// Witnesses are those that a verifier trusts to have seen one history, and how many of
// them must have cosigned a checkpoint. The zero value requires none.
type Witnesses struct {
	Keys   []WitnessKey
	Quorum int
}

// ParseWitnesses reads the keys of witnesses. A quorum of 0 is the majority of them.
func ParseWitnesses(keys []string, quorum int) (Witnesses, error) {
	w := Witnesses{Quorum: quorum}
	for _, text := range keys {
		k, err := ParseWitnessKey(text)
		if err != nil {
			return w, err
		}
		for _, other := range w.Keys { // two names of one witness are one witness
			if other.public.Equal(k.public) || other.name == k.name {
				return w, fmt.Errorf("witnesses %s and %s have the same name or key", other.name, k.name)
			}
		}
		w.Keys = append(w.Keys, k)
	}
	if quorum == 0 && len(keys) > 0 {
		w.Quorum = len(keys)/2 + 1
	}
	if w.Quorum < 0 || w.Quorum > len(w.Keys) {
		return w, fmt.Errorf("a quorum of %d is not possible: %d witnesses are known", w.Quorum, len(w.Keys))
	}
	return w, nil
}

// Cosignature is a witness's statement that, at that time, the checkpoint was the
// largest that it knew of the ledger, and consistent with all before it.
type Cosignature struct {
	Witness WitnessKey
	Time    time.Time
	// Line is the signature line in the note.
	Line string
}

// Cosignatures are those of the witnesses, verified. Others are ignored.
func (w Witnesses) Cosignatures(signed string) ([]Cosignature, error) {
	if len(w.Keys) == 0 {
		return nil, nil
	}
	list := make([]note.Verifier, len(w.Keys))
	for i, k := range w.Keys {
		list[i] = k
	}
	n, err := note.Open([]byte(signed), note.VerifierList(list...))
	var none *note.UnverifiedNoteError
	if errors.As(err, &none) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var out []Cosignature
	for _, s := range n.Sigs {
		raw, err := base64.StdEncoding.DecodeString(s.Base64)
		if err != nil {
			return nil, err
		}
		for _, k := range w.Keys {
			if k.name == s.Name && k.hash == s.Hash {
				at := time.Unix(int64(binary.BigEndian.Uint64(raw[4:])), 0).UTC()
				out = append(out, Cosignature{k, at, fmt.Sprintf("— %s %s\n", s.Name, s.Base64)})
			}
		}
	}
	return out, nil
}

// check verifies that a quorum has cosigned.
func (w Witnesses) check(signed string) error {
	got, err := w.Cosignatures(signed)
	switch {
	case err != nil:
		return err
	case len(got) < w.Quorum:
		return fmt.Errorf("%d of the %d witnesses have cosigned it, and %d must: without them, the holder of the ledger's key could show others another history", len(got), len(w.Keys), w.Quorum)
	}
	return nil
}
