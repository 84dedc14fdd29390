package trust

import (
	"os"
	"strings"

	"github.com/stelehq/stele/cmd/stele/internal/failure"
	"github.com/stelehq/stele/internal/ledger/proof"
)

// Key is the value of a flag that is a public key or a file with it. A key in a file can
// have several lines.
func Key(text string) (string, error) {
	data, err := os.ReadFile(text)
	switch {
	case err == nil:
		return strings.TrimSpace(string(data)), nil
	case !strings.Contains(text, "+"): // no key is without it
		return "", failure.With(failure.Usage, err)
	}
	return text, nil
}

// Witnesses are the keys of the flag --witness-key, and how many of them must have
// cosigned; 0 for more than half.
func Witnesses(flags []string, quorum int) (proof.Witnesses, error) {
	keys := make([]string, len(flags))
	for i, text := range flags {
		var err error
		if keys[i], err = Key(text); err != nil {
			return proof.Witnesses{}, err
		}
	}
	w, err := proof.ParseWitnesses(keys, quorum)
	if err != nil {
		return w, failure.Usagef("--witness-key: %w", err)
	}
	return w, nil
}
