package audit

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/stelehq/stele/cmd/stele/internal/cli/session"
	"github.com/stelehq/stele/cmd/stele/internal/failure"
	"github.com/stelehq/stele/ledger/proof"
)

// givenKey reads the configured public key of the ledger: from the flag, or otherwise
// from $STELE_CHECKPOINT_KEY, each the key itself or a file with it. Nil without
// either.
func givenKey(flag string) (*proof.Verifier, error) {
	text := flag
	if text == "" {
		text = os.Getenv("STELE_CHECKPOINT_KEY")
	}
	if text == "" {
		return nil, nil
	}
	if data, err := os.ReadFile(text); err == nil {
		text = strings.TrimSpace(string(data))
	} else if !strings.Contains(text, "+") {
		return nil, failure.With(failure.Usage, err)
	}
	key, err := proof.ParseVerifier(text)
	if err != nil {
		return nil, failure.With(failure.Usage, err)
	}
	return &key, nil
}

// CheckpointKey is the configured key, or otherwise the key of the ledger on this
// machine that the token belongs to. Nil without either.
func CheckpointKey(s *session.Session, flag string) (*proof.Verifier, error) {
	key, err := givenKey(flag)
	if key != nil || err != nil || s.Settings.TokenFile == "" {
		return key, err
	}
	return localKey(filepath.Dir(s.Settings.TokenFile))
}

// localKey reads the public key in a data folder; nil if it does not exist.
func localKey(data string) (*proof.Verifier, error) {
	text, err := os.ReadFile(filepath.Join(data, "identity", "checkpoint.pub"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	key, err := proof.ParseVerifier(strings.TrimSpace(string(text)))
	if err != nil {
		return nil, unverified(&proof.InvalidError{What: "the ledger's own key", Err: err})
	}
	return &key, nil
}

// unverified gives the errors of what does not verify their exit code.
func unverified(err error) error {
	if errors.Is(err, proof.ErrInvalid) || errors.Is(err, proof.ErrOtherLedger) {
		return failure.With(failure.Unverified, err)
	}
	return err
}
