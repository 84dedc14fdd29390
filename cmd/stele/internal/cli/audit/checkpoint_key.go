package audit

import (
	"cmp"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/pflag"
	"github.com/stelehq/stele/cmd/stele/internal/cli/session"
	"github.com/stelehq/stele/cmd/stele/internal/cli/trust"
	"github.com/stelehq/stele/cmd/stele/internal/failure"
	"github.com/stelehq/stele/internal/ledger/proof"
)

// keyOptions are the flags that say which keys to trust.
type keyOptions struct {
	key       string
	witnesses []string
	quorum    int
}

func (o *keyOptions) addFlags(f *pflag.FlagSet) {
	f.StringVar(&o.key, "key", "", "the ledger's public key, or a file with it and its successors [$STELE_CHECKPOINT_KEY]")
	f.StringArrayVar(&o.witnesses, "witness-key", nil, "public key of a witness that must have cosigned the checkpoint, or a file with it; repeat for each witness")
	f.IntVar(&o.quorum, "quorum", 0, "how many of the witnesses must have cosigned (default more than half)")
}

// required are the witnesses whose cosignatures are required.
func (o *keyOptions) required() (proof.Witnesses, error) {
	return trust.Witnesses(o.witnesses, o.quorum)
}

// given reads the ledger's public key: from the flag, else from $STELE_CHECKPOINT_KEY, each
// the key itself or a file with it. Nil if there is neither.
func (o *keyOptions) given() (*proof.Verifier, error) {
	text := cmp.Or(o.key, os.Getenv("STELE_CHECKPOINT_KEY"))
	if text == "" {
		return nil, nil
	}
	text, err := trust.Key(text)
	if err != nil {
		return nil, err
	}
	key, err := proof.ParseVerifier(text)
	if err != nil {
		return nil, failure.With(failure.Usage, err)
	}
	return &key, nil
}

// checkpointKey is the configured key, or otherwise the key of the ledger on this
// machine that the token belongs to. Nil without either.
func (o *keyOptions) checkpointKey(s *session.Session) (*proof.Verifier, error) {
	key, err := o.given()
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
