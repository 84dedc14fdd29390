package server

import (
	"github.com/spf13/pflag"
	"github.com/stelehq/stele/cmd/stele/internal/node"
	"github.com/stelehq/stele/internal/ledger/journal"
)

// natsOptions are the flags of commands that use external NATS servers.
type natsOptions struct {
	nats        node.NATS
	natsMonitor []string
	unsafeSync  bool
	replicas    int
}

func (o *natsOptions) addFlags(f *pflag.FlagSet) {
	o.addConnection(f)
	f.StringSliceVar(&o.natsMonitor, "nats-monitor", nil, "monitoring URLs of all NATS servers, to prove that they sync every write")
	f.BoolVar(&o.unsafeSync, "unsafe-sync", false, "accept NATS servers that may lose acknowledged writes in a power cut")
	f.IntVar(&o.replicas, "replicas", 3, "servers that hold each stream")
}

// addConnection adds the flags for the servers' addresses and the credentials.
func (o *natsOptions) addConnection(f *pflag.FlagSet) {
	f.StringVar(&o.nats.URL, "nats-url", "", "NATS servers, e.g. nats://n1:4222,nats://n2:4222")
	f.StringVar(&o.nats.Creds, "nats-creds", "", "NATS credentials file")
	f.StringVar(&o.nats.NKey, "nats-nkey", "", "file with the seed of an nkey")
	f.StringVar(&o.nats.TLS.CA, "nats-ca", "", "file with the CA of the NATS servers' certificates")
	f.StringVar(&o.nats.TLS.Cert, "nats-cert", "", "file with the certificate that the NATS servers are shown; read again when it changes")
	f.StringVar(&o.nats.TLS.Key, "nats-key", "", "file with its key")
}

func (o *natsOptions) journal() journal.Config {
	return journal.Config{Replicas: o.replicas, UnsafeSync: o.unsafeSync, MonitorURLs: o.natsMonitor}
}
