package server

import (
	"net/url"

	"github.com/spf13/pflag"
	"github.com/stelehq/stele/cmd/stele/internal/cli/trust"
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

// open checks the flags.
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
	return trust.Witnesses(o.keys, o.quorum)
}
