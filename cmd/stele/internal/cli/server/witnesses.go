package server

import (
	"net/url"
	"os"
	"strings"

	"github.com/spf13/pflag"
	"github.com/stelehq/stele/cmd/stele/internal/failure"
	"github.com/stelehq/stele/internal/ledger/proof"
	"github.com/stelehq/stele/internal/netaddr"
)

// witnessOptions are the flags of a process that asks witnesses for cosignatures, or of an
// edge that requires them.
type witnessOptions struct {
	urls, keys []string
	quorum     int
}

func (o *witnessOptions) addFlags(f *pflag.FlagSet) {
	f.StringArrayVar(&o.urls, "witness", nil, "URL of a witness that is to cosign checkpoints; repeat for each witness")
	f.StringArrayVar(&o.keys, "witness-key", nil, "public key of a witness, or a file with it; repeat for each witness")
}

// open checks the flags. Keys in files may be written over several lines.
func (o *witnessOptions) open(plaintext bool) (proof.Witnesses, error) {
	for _, text := range o.urls {
		u, err := url.Parse(text)
		switch {
		case err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http":
			return proof.Witnesses{}, failure.Usagef("--witness %s: not a URL such as https://witness.example", text)
		case u.Scheme == "http" && !netaddr.IsLoopback(u.Hostname()) && !plaintext:
			return proof.Witnesses{}, failure.Try(failure.Usagef("--witness %s: a witness on another machine is reached with TLS", text), "https://%s, or --plaintext if a proxy adds TLS", u.Host)
		}
	}
	if len(o.urls) > 0 && len(o.keys) == 0 {
		return proof.Witnesses{}, failure.Usagef("--witness requires --witness-key: cosignatures of unknown keys are dropped")
	}
	keys := make([]string, len(o.keys))
	for i, text := range o.keys {
		keys[i] = text
		if data, err := os.ReadFile(text); err == nil {
			keys[i] = strings.TrimSpace(string(data))
		} else if !strings.Contains(text, "+") {
			return proof.Witnesses{}, failure.With(failure.Usage, err)
		}
	}
	w, err := proof.ParseWitnesses(keys, o.quorum)
	if err != nil {
		return w, failure.Usagef("--witness-key: %w", err)
	}
	return w, nil
}
