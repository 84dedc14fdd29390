package node

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/stelehq/stele/internal/durable"
	"github.com/stelehq/stele/internal/gateway/identity"
	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/journal"
	"github.com/stelehq/stele/internal/ledger/proof"
	"github.com/stelehq/stele/internal/ledger/scrub"
	"github.com/stelehq/stele/internal/witness"
)

// signing opens the key and the stream of checkpoints. The returned function has the
// tree follow the journal, and signs.
func (n *Node) signing(ctx context.Context, j *journal.Journal) (func() error, error) {
	key, err := openKey(n.cfg.CheckpointKey, j.Epoch())
	if err != nil {
		return nil, err
	}
	checkpoints, err := j.OpenAuxStream(ctx, journal.Checkpoints)
	if err != nil {
		return nil, err
	}
	return func() error {
		if err := n.tree.Follow(j); err != nil {
			return err
		}
		return n.tree.Sign(checkpoints, key)
	}, nil
}

// scrub starts to compare the journal with the tree; nil if that is turned off.
func (n *Node) scrub(j *journal.Journal) *scrub.Scrubber {
	if n.scrubbed == nil {
		return nil
	}
	return scrub.Start(scrub.Config{Journal: j, Tree: n.tree, Interval: n.cfg.ScrubInterval, Results: n.scrubbed, Log: n.cfg.Log})
}

// collect starts asking witnesses to cosign checkpoints.
func (n *Node) collect() (err error) {
	if len(n.cfg.WitnessURLs) == 0 {
		return nil
	}
	n.cosigned, err = witness.Collect(witness.CollectorConfig{
		URLs: n.cfg.WitnessURLs, Keys: n.cfg.Witnesses, Tree: n.tree, Log: n.cfg.Log,
		Memory: filepath.Join(n.cfg.Data, "cosignatures.json"),
		HTTP: &http.Client{Transport: &http.Transport{
			Proxy: http.ProxyFromEnvironment, TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS13}, IdleConnTimeout: time.Minute,
		}},
	})
	return err
}

// publishKeys keeps the file of the public key up to date when the key has a successor.
func (c Config) publishKeys(keys string) error {
	if err := durable.Publish(PublicKey(c.CheckpointKey), []byte(keys)); err != nil {
		return fmt.Errorf("write the ledger's public keys: %w", err)
	}
	return nil
}

// PublicKey is where the public half of a checkpoint key is kept: x.pub for
// x.key.
func PublicKey(path string) string { return strings.TrimSuffix(path, ".key") + ".pub" }

// openKey opens the ledger's checkpoint key, or makes it. Processes that do so at
// once get the same one.
func openKey(path string, e ledger.Epoch) (proof.Key, error) {
	key, err := readKey(path, e)
	if errors.Is(err, fs.ErrNotExist) {
		err = createKey(path, e)
		if err == nil {
			key, err = readKey(path, e)
		}
	}
	if err == nil && !published(path, key) {
		err = durable.Publish(PublicKey(path), []byte(key.Public()+"\n"))
	}
	if err != nil {
		return key, fmt.Errorf("open the checkpoint key: %w", err)
	}
	return key, nil
}

// published reports whether the file of the public key has this key, perhaps with those before
// and after it.
func published(path string, key proof.Key) bool {
	text, err := os.ReadFile(PublicKey(path))
	if err != nil {
		return false
	}
	v, err := proof.ParseVerifier(string(text))
	return err == nil && v.Holds(key.Public())
}

func readKey(path string, e ledger.Epoch) (key proof.Key, err error) {
	b, err := identity.ReadSecret(path)
	if err != nil {
		return key, err
	}
	if key, err = proof.ParseKey(string(b)); err != nil {
		return key, fmt.Errorf("%s: %w", path, err)
	}
	if err := key.Of(e); err != nil {
		return key, fmt.Errorf("%s: %w: every ledger has a key of its own, give this one another file", path, err)
	}
	return key, nil
}

func createKey(path string, e ledger.Epoch) error {
	secret, _, err := proof.GenerateKey(e)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	return durable.Create(path, []byte(secret+"\n"))
}
