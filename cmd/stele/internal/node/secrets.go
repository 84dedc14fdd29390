package node

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/stelehq/stele/internal/durable"
	"github.com/stelehq/stele/internal/gateway/identity"
	"github.com/stelehq/stele/internal/ledger/secret"
)

// openKEK opens the key-encryption key of secrets: a file, which is created if missing,
// or a key of AWS KMS; nil without a name.
func openKEK(ctx context.Context, name string) (secret.KEK, error) {
	if name == "" {
		return nil, nil
	}
	var kek secret.KEK
	var err error
	if strings.HasPrefix(name, secret.KMSScheme) {
		kek, err = secret.OpenKMS(ctx, name)
	} else {
		kek, err = readKEK(name)
	}
	if err != nil {
		return nil, fmt.Errorf("open the key for secrets: %w", err)
	}
	return kek, nil
}

func readKEK(path string) (secret.KEK, error) {
	text, err := identity.ReadSecret(path)
	if errors.Is(err, fs.ErrNotExist) {
		if text, err = secret.GenerateKEK(); err != nil {
			return nil, err
		}
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			return nil, err
		}
		if err := durable.Create(path, text); err != nil {
			return nil, err
		}
		text, err = identity.ReadSecret(path)
	}
	if err != nil {
		return nil, err
	}
	kek, err := secret.ParseKEK(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return kek, nil
}
