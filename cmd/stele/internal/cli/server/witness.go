package server

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/stelehq/stele/cmd/stele/internal/certs"
	"github.com/stelehq/stele/cmd/stele/internal/cli/trust"
	"github.com/stelehq/stele/cmd/stele/internal/failure"
	"github.com/stelehq/stele/internal/durable"
	"github.com/stelehq/stele/internal/gateway/conn"
	"github.com/stelehq/stele/internal/gateway/identity"
	"github.com/stelehq/stele/internal/ledger/proof"
	"github.com/stelehq/stele/internal/netaddr"
	"github.com/stelehq/stele/internal/witness"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/sync/errgroup"
)

// witnessServerOptions are the flags of "stele witness".
type witnessServerOptions struct {
	data, name, listen string
	logs               []string
	tls                certs.Files
	plaintext          bool
}

func WitnessCommand() *cobra.Command {
	var o witnessServerOptions
	cmd := &cobra.Command{
		Use:   "witness --log-key KEY",
		Short: "Run a witness, which cosigns the checkpoints of ledgers",
		Long: `Run a witness (C2SP tlog-witness). It remembers the newest checkpoint that it
has cosigned of each ledger and cosigns only checkpoints that extend it. Users
who require the cosignatures of a quorum of witnesses all see the same history,
even if the holder of the ledger's key tries to show them different ones.

A witness needs no access to the ledger. Run it on another machine, under
another administration. It needs the ledger's public key
(identity/checkpoint.pub) and about 100 bytes of state per ledger. The first
start creates the key, witness.key, and prints the public key, which is also in
witness.pub. A witness that has lost witness.db does not start: it would cosign
a second history.

docs/witness.md describes how to set up witnesses.`,
		Example: `  stele witness --name witness.example/w1 --log-key checkpoint.pub
  stele up --witness http://127.0.0.1:7080 --witness-key data/witness.pub`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runWitness(cmd.Context(), cmd.OutOrStdout(), cmd.ErrOrStderr(), o)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.data, "data", "stele-witness", "folder of the witness's key and state")
	f.StringVar(&o.name, "name", "", "name of the witness, a URL without its scheme; required at the first start")
	f.StringVar(&o.listen, "listen", "127.0.0.1:7080", "HTTP address")
	f.StringArrayVar(&o.logs, "log-key", nil, "public key of a ledger or another C2SP log, or a file with it; repeat for each")
	f.StringVar(&o.tls.Cert, "tls-cert", "", "file with the certificate, and its chain; read again when it changes")
	f.StringVar(&o.tls.Key, "tls-key", "", "file with its key")
	f.BoolVar(&o.plaintext, "plaintext", false, "allow plaintext from other machines (a proxy terminates TLS)")
	return cmd
}

func runWitness(ctx context.Context, out, errOut io.Writer, o witnessServerOptions) error {
	log := slog.New(slog.NewTextHandler(errOut, nil))
	logs, err := o.logKeys()
	if err != nil {
		return err
	}
	serverTLS, err := o.openTLS(log)
	if err != nil {
		return err
	}
	w, key, err := o.open(logs, log)
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", o.listen)
	if err != nil {
		return errors.Join(fmt.Errorf("listen: %w: choose another --listen", err), w.Close())
	}
	scheme := "http"
	if serverTLS != nil {
		scheme = "https"
	}
	l = conn.New(conn.Config{Max: maxWitnessConnections}, log).HTTPListener(l, serverTLS)
	fmt.Fprintf(out, "the witness %s cosigns checkpoints at %s://%s\nkey %s\n", key.Name(), scheme, l.Addr(), key)
	if err := durable.Publish(filepath.Join(o.data, "witness.pub"), []byte(key.String()+"\n")); err != nil {
		return errors.Join(err, l.Close(), w.Close())
	}
	server := &http.Server{Handler: w, ReadTimeout: 10 * time.Second, WriteTimeout: 20 * time.Second, IdleTimeout: time.Minute, MaxHeaderBytes: 16 << 10,
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug)}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			return fmt.Errorf("serve HTTP: %w", err)
		}
		return nil
	})
	group.Go(func() error {
		<-ctx.Done()
		end, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		return server.Shutdown(end)
	})
	return errors.Join(group.Wait(), w.Close())
}

// maxWitnessConnections bounds the clients of a witness at a time.
const maxWitnessConnections = 256

// logKeys are the newest keys of the ledgers: each signs all checkpoints that come.
func (o *witnessServerOptions) logKeys() (logs []note.Verifier, err error) {
	if len(o.logs) == 0 {
		return nil, failure.Usagef("--log-key is needed: the public key of the ledger, which \"stele up\" keeps in identity/checkpoint.pub")
	}
	for _, text := range o.logs {
		text, err := trust.Key(text)
		if err != nil {
			return nil, err
		}
		if strings.HasPrefix(text, "stele/") {
			keys, err := proof.ParseVerifier(text)
			if err != nil {
				return nil, failure.Usagef("--log-key: %w", err)
			}
			text = keys.Newest()
		}
		v, err := note.NewVerifier(text)
		if err != nil {
			return nil, failure.Usagef("--log-key %.80q: %w", text, err)
		}
		logs = append(logs, v)
	}
	return logs, nil
}

func (o *witnessServerOptions) openTLS(log *slog.Logger) (*tls.Config, error) {
	if o.tls.Cert != "" || o.tls.Key != "" {
		return certs.Server(o.tls, log)
	}
	if host, _, err := net.SplitHostPort(o.listen); err == nil && !netaddr.IsLoopback(host) && !o.plaintext {
		return nil, failure.Try(failure.Usagef("--listen %s is reachable from other machines and requires TLS", o.listen), "--tls-cert FILE --tls-key FILE, or --plaintext if a proxy terminates TLS")
	}
	return nil, nil
}

// open opens the witness, and makes its key and state at the first start. The key gets its name
// last: from then on, the state must be there.
func (o *witnessServerOptions) open(logs []note.Verifier, log *slog.Logger) (*witness.Witness, proof.WitnessKey, error) {
	path := filepath.Join(o.data, "witness.key")
	secret, err := identity.ReadSecret(path)
	create := errors.Is(err, fs.ErrNotExist)
	from := path
	if create {
		from = path + ".new"
		secret, err = o.newKey(from)
	}
	if err != nil {
		return nil, proof.WitnessKey{}, fmt.Errorf("read the witness's key: %w", err)
	}
	key, err := proof.ParseCosigner(string(secret))
	if err != nil {
		return nil, proof.WitnessKey{}, fmt.Errorf("%s: %w", from, err)
	}
	if o.name != "" && o.name != key.Public().Name() {
		return nil, proof.WitnessKey{}, failure.Usagef("--name %s: the witness in %s is named %s", o.name, o.data, key.Public().Name())
	}
	w, err := witness.Open(witness.Config{Key: key, Logs: logs, Path: filepath.Join(o.data, "witness.db"), Create: create, Log: log})
	if err == nil && create {
		if err = os.Rename(from, path); err != nil {
			err = errors.Join(err, w.Close())
		}
	}
	return w, key.Public(), err
}

// newKey makes the key, unless an earlier start has.
func (o *witnessServerOptions) newKey(path string) ([]byte, error) {
	if secret, err := identity.ReadSecret(path); !errors.Is(err, fs.ErrNotExist) {
		return secret, err
	}
	if o.name == "" {
		return nil, failure.Usagef("--name is needed at the first start, for example --name witness.example/w1")
	}
	secret, _, err := proof.GenerateCosigner(o.name)
	if err != nil {
		return nil, failure.With(failure.Usage, err)
	}
	if err := os.MkdirAll(o.data, 0o700); err != nil {
		return nil, err
	}
	if err := durable.Create(path, []byte(secret+"\n")); err != nil {
		return nil, err
	}
	return identity.ReadSecret(path)
}
