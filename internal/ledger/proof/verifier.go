package proof

import (
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"golang.org/x/mod/sumdb/note"
)

// verifierKey is a C2SP verifier key, as GenerateKey writes it: of a ledger's
// name, with an Ed25519 key.
var verifierKey = regexp.MustCompile(`^stele/[0-9a-f]{16}\+[0-9a-f]{8}\+[A-Za-z0-9+/]{44}$`)

// Verifier is a ledger's public key with the keys that came before and after it. Each
// key names its successor in a checkpoint that both have signed, the handover.
type Verifier struct {
	keys []publicKey
	// pinned is the key that the user gave.
	pinned    int
	witnesses Witnesses
}

type publicKey struct {
	note.Verifier
	text string
	// handover is the signed checkpoint that names the key, and size the size of its tree.
	// They are empty for the first key.
	handover string
	size     int64
}

// ParseVerifier reads a C2SP verifier key, or a key with its successors as Keys writes
// them.
func ParseVerifier(text string) (Verifier, error) {
	text = strings.TrimSuffix(text, "\n")
	first, rest, more := strings.Cut(text, "\n\n")
	key, err := parsePublicKey(first)
	if err != nil {
		return Verifier{}, err
	}
	v := Verifier{keys: []publicKey{key}}
	for more {
		var body, signatures string
		body, rest, _ = strings.Cut(rest, "\n\n")
		signatures, rest, more = strings.Cut(rest, "\n\n")
		before := len(v.keys)
		if v, err = v.Succeed(body + "\n\n" + signatures + "\n"); err != nil {
			return Verifier{}, fmt.Errorf("key %d of %s: %w", before+1, key.Name(), err)
		}
		if len(v.keys) == before {
			return Verifier{}, fmt.Errorf("key %d of %s: the handover is to a key that is listed before", before+1, key.Name())
		}
	}
	return v, nil
}

func parsePublicKey(text string) (publicKey, error) {
	if !verifierKey.MatchString(text) {
		return publicKey{}, fmt.Errorf("%.80q is not a ledger's public key: that is written stele/<epoch>+<hash>+<key>", text)
	}
	v, err := note.NewVerifier(text)
	if err != nil {
		return publicKey{}, fmt.Errorf("public key %s: %w", text, err)
	}
	return publicKey{Verifier: v, text: text}, nil
}

// Name is the ledger's, which all of its keys have.
func (v Verifier) Name() string { return v.keys[0].Name() }

// String is the key that was given.
func (v Verifier) String() string { return v.keys[v.pinned].text }

// Newest is the key that signs now, as far as the verifier knows.
func (v Verifier) Newest() string { return v.keys[len(v.keys)-1].text }

// Fingerprint is the SHA-256 of the text of the key that was given, in hexadecimal,
// for comparing keys over the telephone.
func (v Verifier) Fingerprint() string { return fmt.Sprintf("%x", sha256.Sum256([]byte(v.String()))) }

// Keys is the first key, followed by the handover to each successor, with empty lines
// between them.
func (v Verifier) Keys() string {
	var b strings.Builder
	b.WriteString(v.keys[0].text + "\n")
	for _, k := range v.keys[1:] {
		b.WriteString("\n" + k.handover)
	}
	return b.String()
}

// First is the first of the keys alone.
func (v Verifier) First() (Verifier, error) { return ParseVerifier(v.keys[0].text) }

// Holds reports whether a key is one of these.
func (v Verifier) Holds(key string) bool {
	return slices.ContainsFunc(v.keys, func(k publicKey) bool { return k.text == key })
}

// Require returns a verifier that accepts only checkpoints with a quorum of
// cosignatures.
func (v Verifier) Require(w Witnesses) Verifier {
	v.witnesses = w
	return v
}

// Witnesses are those whose cosignatures are required.
func (v Verifier) Witnesses() Witnesses { return v.witnesses }

// Succeed adds the key that a handover names. A handover that is known changes
// nothing.
func (v Verifier) Succeed(handover string) (Verifier, error) {
	c, err := Open(withoutCosignatures(handover, v.Name()), v.Require(Witnesses{}))
	if err != nil {
		return v, err
	}
	if c.Successor == "" {
		return v, fmt.Errorf("checkpoint %w: it names no successor of the key", ErrInvalid)
	}
	if v.Holds(c.Successor) {
		return v, nil
	}
	next, err := parsePublicKey(c.Successor)
	if err != nil {
		return v, err
	}
	next.handover, next.size = withoutCosignatures(handover, v.Name()), c.Size
	v.keys = append(slices.Clip(v.keys), next)
	return v, nil
}

// Extend adds the keys of another verifier of the same ledger: those before and after
// the ones that this verifier has. The error is that they do not lead to each other.
func (v Verifier) Extend(keys string) (Verifier, error) {
	other, err := ParseVerifier(keys)
	if err != nil {
		return v, err
	}
	if other.Name() != v.Name() {
		return v, fmt.Errorf("%w: the keys are of %s, and the one that is known of %s", ErrOtherLedger, other.Name(), v.Name())
	}
	within := func(all, part Verifier) bool {
		at := slices.IndexFunc(all.keys, func(k publicKey) bool { return k.text == part.keys[0].text })
		return at >= 0 && at+len(part.keys) <= len(all.keys) &&
			slices.EqualFunc(all.keys[at:at+len(part.keys)], part.keys, func(a, b publicKey) bool { return a.text == b.text })
	}
	switch {
	case within(v, other):
		return v, nil
	case !within(other, v):
		return v, fmt.Errorf("keys %w: %s does not lead to the key that is known, %s", ErrInvalid, other.Newest(), v)
	}
	pinned := v.String()
	other.pinned = slices.IndexFunc(other.keys, func(k publicKey) bool { return k.text == pinned })
	other.witnesses = v.witnesses
	return other, nil
}

var errSignatures = errors.New("its signatures are not the ones that a checkpoint has")

// open verifies the ledger's signatures, and returns the key that made the first. The ledger's come first: one, or in a handover
// by the old and the new key. Cosignatures follow. Everything is written in the
// one way there is: a verifier that skipped what it does not know would also skip what
// an attacker has added.
func (v Verifier) open(signed string) (c Checkpoint, by string, err error) {
	if c, err = parse(text(signed)); err != nil {
		return c, "", err
	}
	if KeyName(c.Epoch) != v.Name() {
		return c, "", fmt.Errorf("%w: it is of %s, and the key of %s", ErrOtherLedger, KeyName(c.Epoch), v.Name())
	}
	keys := v.keys
	if c.Successor != "" && !v.Holds(c.Successor) {
		next, err := parsePublicKey(c.Successor)
		if err != nil {
			return c, "", err
		}
		keys = append(slices.Clip(keys), next)
	}
	list := make([]note.Verifier, len(keys))
	for i, k := range keys {
		list[i] = k
	}
	n, err := note.Open([]byte(signed), note.VerifierList(list...))
	if err != nil {
		return c, "", err
	}
	if err := canonical(signed, n, v.Name()); err != nil {
		return c, "", err
	}
	place := func(s note.Signature) int {
		return slices.IndexFunc(keys, func(k publicKey) bool { return k.KeyHash() == s.Hash })
	}
	at := place(n.Sigs[0])
	switch {
	case c.Successor == "" && len(n.Sigs) != 1:
		return c, "", errSignatures
	case c.Successor != "" && (len(n.Sigs) != 2 || at+1 != place(n.Sigs[1]) || keys[at+1].text != c.Successor):
		return c, "", fmt.Errorf("%w: a handover is signed by the key and by the successor that it names, %s", errSignatures, c.Successor)
	case at >= len(v.keys):
		return c, "", errSignatures
	case c.Size < v.keys[at].size, at+1 < len(v.keys) && c.Size > v.keys[at+1].size:
		return c, "", fmt.Errorf("the key %s did not sign for the ledger at %d commits: it has handed over to a successor, or taken over later", v.keys[at].text, c.Size)
	}
	return c, keys[at].text, nil
}

// canonical checks that there is only the text, the ledger's signatures and
// cosignatures.
func canonical(signed string, n *note.Note, ledger string) error {
	var b strings.Builder
	b.WriteString(n.Text + "\n")
	for _, s := range slices.Concat(n.Sigs, n.UnverifiedSigs) {
		raw, err := base64.StdEncoding.DecodeString(s.Base64)
		if err != nil {
			return err
		}
		fmt.Fprintf(&b, "— %s %s\n", s.Name, base64.StdEncoding.EncodeToString(raw))
	}
	for _, s := range n.UnverifiedSigs {
		if s.Name == ledger || base64.StdEncoding.DecodedLen(len(s.Base64)) < cosignatureBytes {
			return errSignatures
		}
	}
	if b.String() != signed {
		return errors.New("it holds more than a text, the key's signature and cosignatures")
	}
	return nil
}

// withoutCosignatures is the checkpoint with the ledger's own signatures.
func withoutCosignatures(signed, ledger string) string {
	body, signatures, _ := strings.Cut(signed, "\n\n")
	var b strings.Builder
	b.WriteString(body + "\n\n")
	for line := range strings.Lines(signatures) {
		if strings.HasPrefix(line, "— "+ledger+" ") {
			b.WriteString(line)
		}
	}
	return b.String()
}
