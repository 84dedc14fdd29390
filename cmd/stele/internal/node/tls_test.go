package node_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nkeys"
	"github.com/stelehq/stele/cmd/stele/internal/certs"
	"github.com/stelehq/stele/cmd/stele/internal/certs/certstest"
	"github.com/stelehq/stele/cmd/stele/internal/conn"
	"github.com/stelehq/stele/cmd/stele/internal/node"
	"github.com/stelehq/stele/internal/gateway/identity"
	"github.com/stelehq/stele/internal/ledger/journal"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// secured are a NATS server, a node, and what they need to speak by TLS with
// certificates on both sides.
type secured struct {
	ca   *certstest.Authority
	dir  string
	nats *natsServer
	seed string // file
	log  *slog.Logger
}

func (s *secured) issue(t *testing.T, name string) certs.Files {
	t.Helper()
	files, _ := s.ca.Issue(t, s.dir, name)
	files.CA = s.ca.File
	return files
}

func newSecured(t *testing.T) *secured {
	t.Helper()
	s := &secured{dir: t.TempDir(), log: slog.New(slog.DiscardHandler)}
	s.ca = certstest.New(t, s.dir)
	user, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	public, err := user.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	seed, err := user.Seed()
	if err != nil {
		t.Fatal(err)
	}
	s.seed = filepath.Join(s.dir, "user.nk")
	if err := os.WriteFile(s.seed, seed, 0o600); err != nil {
		t.Fatal(err)
	}
	own := s.issue(t, "nats")
	config, err := server.GenTLSConfig(&server.TLSConfigOpts{CertFile: own.Cert, KeyFile: own.Key, CaFile: own.CA, Verify: true, MinVersion: tls.VersionTLS13})
	if err != nil {
		t.Fatal(err)
	}
	s.nats = &natsServer{opts: &server.Options{
		Host: "127.0.0.1", Port: server.RANDOM_PORT, JetStream: true, SyncAlways: true, StoreDir: t.TempDir(), NoSigs: true, NoLog: true,
		TLS: true, TLSVerify: true, TLSConfig: config, TLSTimeout: 5, Nkeys: []*server.NkeyUser{{Nkey: public}},
	}}
	s.nats.start(t)
	t.Cleanup(func() { s.nats.stop() })
	return s
}

func TestTLS_WholeProcess(t *testing.T) {
	s := newSecured(t)
	signer, err := identity.OpenSigner(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	verifier, err := identity.NewVerifier(identity.Config{Keys: signer.Keys(), Issuer: identity.LocalIssuer, Audience: identity.LocalAudience})
	if err != nil {
		t.Fatal(err)
	}
	own := s.issue(t, "gateway")
	p := &process{signer: signer, tls: s.issue(t, "ann"), cfg: node.Config{
		Data: t.TempDir(), Listen: "127.0.0.1:0", HTTP: "127.0.0.1:0", Roles: []string{node.RoleLedger, node.RoleGateway},
		NATS:    &node.NATS{URL: s.nats.ClientURL(), NKey: s.seed, TLS: s.issue(t, "stele")},
		Journal: journal.Config{UnsafeSync: true}, Verifier: verifier, Log: s.log,
	}}
	if p.cfg.TLS, err = certs.Server(own, s.log); err != nil {
		t.Fatal(err)
	}
	if p.cfg.HTTPTLS, err = certs.Server(certs.Files{Cert: own.Cert, Key: own.Key}, s.log); err != nil {
		t.Fatal(err)
	}
	p.start(t)
	defer func() { p.stop() }()
	acme := conn.AsTenant(t.Context(), "acme")
	until(t, "commit", func() bool {
		_, err := p.ledger.Commit(acme, &stelev1.CommitRequest{RequestId: "1", Changes: []*stelev1.Change{{Key: "a", Value: "1"}}})
		return err == nil
	})

	for name, files := range map[string]certs.Files{
		"without TLS":           {},
		"without a certificate": {CA: s.ca.File},
		"with another CA's":     strangers(t, s.ca.File),
	} {
		cc, err := conn.Dial(p.grpc, files, func() (string, error) {
			return signer.Mint(identity.Claims{Subject: "olga", Roles: []identity.Role{identity.Operator}, TTL: 1e10})
		})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := stelev1.NewLedgerClient(cc).GetStatus(acme, &stelev1.GetStatusRequest{}); status.Code(err) != codes.Unavailable {
			t.Errorf("%s: %v", name, err)
		}
		cc.Close()
	}
	// A certificate does not replace a token.
	cc, err := conn.Dial(p.grpc, p.tls, func() (string, error) { return "", nil })
	if err != nil {
		t.Fatal(err)
	}
	defer cc.Close()
	if _, err := stelev1.NewLedgerClient(cc).GetStatus(acme, &stelev1.GetStatusRequest{}); status.Code(err) != codes.Unauthenticated {
		t.Errorf("with a certificate and no token: %v", err)
	}

	roots := x509.NewCertPool()
	pem, err := os.ReadFile(s.ca.File)
	if err != nil || !roots.AppendCertsFromPEM(pem) {
		t.Fatal(err)
	}
	web := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, DisableKeepAlives: true}}
	resp, err := web.Get("https://" + p.http + "/healthz")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if body, err := io.ReadAll(resp.Body); string(body) != "ok\n" || resp.TLS.Version != tls.VersionTLS13 {
		t.Errorf("health is %q by TLS %x, %v", body, resp.TLS.Version, err)
	}
}

// strangers are the files of a client with a certificate of its own CA.
func strangers(t *testing.T, trusted string) certs.Files {
	t.Helper()
	dir := t.TempDir()
	files, _ := certstest.New(t, dir).Issue(t, dir, "eve")
	files.CA = trusted
	return files
}

// complaint runs a node until it ends with an error or complains of one in its log.
func complaint(t *testing.T, nats node.NATS) string {
	t.Helper()
	complaints := make(complaintLog, 1)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	n, err := node.Start(ctx, node.Config{
		Data: t.TempDir(), Listen: "127.0.0.1:0", HTTP: "127.0.0.1:0", Roles: []string{node.RoleGateway}, NATS: &nats,
		Log: slog.New(slog.NewTextHandler(complaints, &slog.HandlerOptions{Level: slog.LevelWarn})),
	})
	if err != nil {
		t.Fatal(err)
	}
	ran := make(chan error, 1)
	go func() { ran <- n.Run(ctx) }()
	select {
	case line := <-complaints:
		cancel()
		if err := <-ran; err != nil {
			t.Error(err)
		}
		return line
	case err := <-ran:
		return fmt.Sprint(err)
	}
}

// complaintLog holds the first line of a log.
type complaintLog chan string

func (l complaintLog) Write(line []byte) (int, error) {
	select {
	case l <- string(line):
	default:
	}
	return len(line), nil
}

func TestNATS_Credentials(t *testing.T) {
	s := newSecured(t)
	good := s.issue(t, "stele")
	for _, tt := range []struct {
		name  string
		nats  node.NATS
		wrong string
	}{
		{"no certificate", node.NATS{NKey: s.seed, TLS: certs.Files{CA: s.ca.File}}, "tls"},
		{"another CA's certificate", node.NATS{NKey: s.seed, TLS: strangers(t, s.ca.File)}, "tls"},
		{"a server of an unknown CA", node.NATS{NKey: s.seed, TLS: certs.Files{Cert: good.Cert, Key: good.Key}}, "unknown authority"},
		{"no nkey", node.NATS{TLS: good}, "Authorization"},
		{"no seed in the file", node.NATS{NKey: s.ca.File, TLS: good}, "ca.pem"},
		{"a key without its certificate", node.NATS{NKey: s.seed, TLS: certs.Files{Key: good.Key}}, "no such file"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.nats.URL = s.nats.ClientURL()
			if got := complaint(t, tt.nats); !strings.Contains(got, tt.wrong) {
				t.Errorf("%s, want %q", got, tt.wrong)
			}
		})
	}
}

// A server on another machine that speaks no TLS is not spoken to.
func TestNATS_OtherMachinesRequireTLS(t *testing.T) {
	plain := &natsServer{opts: &server.Options{Host: "0.0.0.0", Port: server.RANDOM_PORT, NoSigs: true, NoLog: true}}
	plain.start(t)
	defer func() { plain.stop() }()
	// An address that leads here, and is not that of this machine alone.
	elsewhere := fmt.Sprintf("nats://0.0.0.0:%d", plain.opts.Port)
	if got := complaint(t, node.NATS{URL: elsewhere}); !strings.Contains(got, "--plaintext") {
		t.Errorf("%s: %s", elsewhere, got)
	}
	// With Plaintext it connects; this server has no JetStream.
	if got := complaint(t, node.NATS{URL: elsewhere, Plaintext: true}); !strings.Contains(got, "jetstream") && !strings.Contains(got, "JetStream") {
		t.Errorf("%s: %s", elsewhere, got)
	}
}
