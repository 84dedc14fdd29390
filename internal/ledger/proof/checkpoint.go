package proof

import (
	"crypto/rand"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/stelehq/stele/internal/ledger"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

var (
	// ErrInvalid: verification failed. The verified data or the data that it is
	// compared with was changed.
	ErrInvalid = errors.New("does not verify")
	// ErrOtherLedger: the data is from a different ledger than the data that it is
	// compared with.
	ErrOtherLedger = errors.New("of another ledger")
)

// Checkpoint is a statement of the tree's size and root. Signed, it is a C2SP
// checkpoint (c2sp.org/tlog-checkpoint).
type Checkpoint struct {
	Epoch ledger.Epoch
	// Size is the number of commits in the tree.
	Size int64
	Root tlog.Hash
	// Successor is the C2SP verifier key that signs all later checkpoints; empty in
	// any checkpoint but a handover from one key to the next.
	Successor string
}

// KeyName is the name of a ledger's key, and the origin of its checkpoints.
func KeyName(e ledger.Epoch) string { return "stele/" + e.String() }

// GenerateKey makes a ledger's key pair, as a C2SP signer key (secret) and
// verifier key.
func GenerateKey(e ledger.Epoch) (signer, verifier string, err error) {
	signer, verifier, err = note.GenerateKey(rand.Reader, KeyName(e))
	if err != nil {
		return "", "", fmt.Errorf("make the checkpoints' key: %w", err)
	}
	return signer, verifier, nil
}

// Origin names the ledger: stele/<epoch>.
func (c Checkpoint) Origin() string { return KeyName(c.Epoch) }

// Text is what is signed: origin, size and root, a line each. A handover has a fourth
// line, which a C2SP checkpoint allows as an extension.
func (c Checkpoint) Text() string {
	text := fmt.Sprintf("%s\n%d\n%s\n", c.Origin(), c.Size, c.Root)
	if c.Successor != "" {
		text += successorLine + c.Successor + "\n"
	}
	return text
}

const successorLine = "successor "

// Sign makes the checkpoint a signed note. A handover takes two signers.
func (c Checkpoint) Sign(s ...note.Signer) (string, error) {
	signed, err := note.Sign(&note.Note{Text: c.Text()}, s...)
	if err != nil {
		return "", fmt.Errorf("sign checkpoint of %s: %w", c.Origin(), err)
	}
	return string(signed), nil
}

// Open verifies a signed checkpoint: the ledger's signature, and the quorum of
// cosignatures if the key requires one.
func Open(signed string, key Verifier) (Checkpoint, error) {
	c, _, err := key.open(signed)
	if err == nil {
		err = key.witnesses.check(signed)
	}
	if err != nil {
		return Checkpoint{}, fmt.Errorf("checkpoint %w: %w", ErrInvalid, err)
	}
	return c, nil
}

// ParseCheckpoint reads a signed checkpoint without verifying its signature: for a caller
// that looks for accidents and has no key.
func ParseCheckpoint(signed string) (Checkpoint, error) {
	c, err := parse(text(signed))
	if err != nil {
		return c, fmt.Errorf("checkpoint %w: %w", ErrInvalid, err)
	}
	return c, nil
}

// text is the part of a note before its signatures.
func text(signed string) string {
	text, _, _ := strings.Cut(signed, "\n\n")
	return text + "\n"
}

// parse reads what Text wrote, and nothing else.
func parse(text string) (Checkpoint, error) {
	var c Checkpoint
	lines := strings.Split(text, "\n")
	if len(lines) == 5 {
		c.Successor = strings.TrimPrefix(lines[3], successorLine)
	} else if len(lines) != 4 {
		return c, errors.New("it has other lines than origin, size and root")
	}
	var errs [3]error
	c.Epoch, errs[0] = ledger.ParseEpoch(strings.TrimPrefix(lines[0], "stele/"))
	c.Size, errs[1] = strconv.ParseInt(lines[1], 10, 64)
	c.Root, errs[2] = tlog.ParseHash(lines[2])
	if err := errors.Join(errs[:]...); err != nil {
		return c, err
	}
	if c.Size < 0 || c.Text() != text {
		return c, errors.New("it is not written as checkpoints are")
	}
	return c, nil
}
