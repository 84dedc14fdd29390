package certs_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stelehq/stele/cmd/stele/internal/certs"
	"github.com/stelehq/stele/cmd/stele/internal/certs/certstest"
)

// handshake connects a client to a server, says a byte each way, and gives what
// the client has seen.
func handshake(server, client *tls.Config) (state tls.ConnectionState, err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return state, err
	}
	defer l.Close()
	echoed := make(chan struct{})
	go func() {
		defer close(echoed)
		if conn, err := l.Accept(); err == nil {
			conn = tls.Server(conn, server)
			io.CopyN(conn, conn, 1)
			conn.Close()
		}
	}()
	defer func() { <-echoed }()
	raw, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		return state, err
	}
	defer raw.Close()
	config := client.Clone()
	config.ServerName = "localhost"
	conn := tls.Client(raw, config)
	if _, err := conn.Write([]byte("x")); err != nil {
		return state, err
	}
	// With TLS 1.3 a client learns only here that it is refused.
	_, err = conn.Read(make([]byte, 1))
	return conn.ConnectionState(), err
}

func serve(t *testing.T, f certs.Files) *tls.Config {
	t.Helper()
	config, err := certs.Server(f, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return config
}

func connect(t *testing.T, f certs.Files) *tls.Config {
	t.Helper()
	config, err := certs.Client(f)
	if err != nil {
		t.Fatal(err)
	}
	return config
}

func TestListener_WhoMayConnect(t *testing.T) {
	dir, elsewhere := t.TempDir(), t.TempDir()
	ca, other := certstest.New(t, dir), certstest.New(t, elsewhere)
	own, _ := ca.Issue(t, dir, "server")
	ann, _ := ca.Issue(t, dir, "ann")
	eve, _ := other.Issue(t, elsewhere, "eve")
	mutual := own
	mutual.CA = ca.File
	with := func(f certs.Files, ca string) *tls.Config {
		f.CA = ca
		return connect(t, f)
	}
	old := with(certs.Files{}, ca.File)
	old.MinVersion, old.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
	for _, tt := range []struct {
		name   string
		server certs.Files
		client *tls.Config
		good   bool
	}{
		{"who trusts the CA", own, with(certs.Files{}, ca.File), true},
		{"who trusts another", own, with(certs.Files{}, other.File), false},
		{"who trusts the system's", own, with(certs.Files{}, ""), false},
		{"TLS 1.2", own, old, false},
		{"mutual, with a certificate", mutual, with(ann, ca.File), true},
		{"mutual, with another CA's certificate", mutual, with(eve, ca.File), false},
		{"mutual, without a certificate", mutual, with(certs.Files{}, ca.File), false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			state, err := handshake(serve(t, tt.server), tt.client)
			if (err == nil) != tt.good || tt.good && state.Version != tls.VersionTLS13 {
				t.Errorf("version %x, %v", state.Version, err)
			}
		})
	}
}

// TestReload_UnderLoad replaces the certificate again and
// again, in two steps, while clients connect without a pause.
func TestReload_UnderLoad(t *testing.T) {
	dir := t.TempDir()
	ca := certstest.New(t, dir)
	files, serial := ca.Issue(t, dir, "server")
	synctest.Test(t, func(t *testing.T) {
		server, client := serve(t, files), connect(t, certs.Files{CA: ca.File})
		const rotations = 20
		var made, failed atomic.Int64
		ctx, stop := context.WithCancel(t.Context())
		var connections sync.WaitGroup
		defer connections.Wait()
		defer stop()
		connections.Go(func() {
			for ctx.Err() == nil {
				if _, err := handshake(server, client); err != nil {
					failed.Add(1)
					t.Error(err)
				}
				made.Add(1)
				time.Sleep(100 * time.Millisecond)
			}
		})
		for range rotations {
			before, err := handshake(server, client)
			if got := first(before); err != nil || got.SerialNumber.String() != serial {
				t.Fatalf("before: %v, %v, want serial %s", got, err, serial)
			}
			_, serial = ca.Issue(t, dir, "server")
			time.Sleep(1100 * time.Millisecond)
			after, err := handshake(server, client)
			if got := first(after); err != nil || got.SerialNumber.String() != serial {
				t.Fatalf("after: %v, %v, want serial %s", got, err, serial)
			}
		}
		t.Logf("%d certificates, %d connections meanwhile, %d failed", rotations, made.Load(), failed.Load())
	})
}

func first(s tls.ConnectionState) *x509.Certificate {
	if len(s.PeerCertificates) == 0 {
		return new(x509.Certificate)
	}
	return s.PeerCertificates[0]
}

func TestReload_MismatchedFilesChangeNothing(t *testing.T) {
	dir := t.TempDir()
	ca := certstest.New(t, dir)
	files, serial := ca.Issue(t, dir, "server")
	stranger, _ := ca.Issue(t, dir, "other")
	key, err := os.ReadFile(stranger.Key)
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		server, client := serve(t, files), connect(t, certs.Files{CA: ca.File})
		for what, spoil := range map[string]func() error{
			"the key of another": func() error { return os.WriteFile(files.Key, key, 0o600) },
			"half a certificate": func() error { return os.Truncate(files.Cert, 100) },
			"no certificate":     func() error { return os.Remove(files.Cert) },
			"an expired one": func() error {
				ca.IssueUntil(t, dir, "server", time.Now().Add(-time.Hour))
				return nil
			},
		} {
			if err := spoil(); err != nil {
				t.Fatal(err)
			}
			time.Sleep(2 * time.Second)
			state, err := handshake(server, client)
			if got := first(state); err != nil || got.SerialNumber.String() != serial {
				t.Errorf("%s: serial %s, %v", what, got.SerialNumber, err)
			}
			if _, err := certs.Server(files, slog.New(slog.DiscardHandler)); err == nil {
				t.Errorf("%s: a server starts with it", what)
			}
			_, serial = ca.Issue(t, dir, "server")
			time.Sleep(2 * time.Second)
			if state, err = handshake(server, client); err != nil || first(state).SerialNumber.String() != serial {
				t.Errorf("after %s was fixed: %v", what, err)
			}
		}
	})
}

// A client keeps its certificate and CA while the files are unusable, and logs why once.
func TestReload_UnusableFilesChangeNothing(t *testing.T) {
	dir := t.TempDir()
	ca := certstest.New(t, dir)
	files, serial := ca.Issue(t, dir, "client")
	files.CA = ca.File
	synctest.Test(t, func(t *testing.T) {
		var out strings.Builder
		certificate, roots := files.Reload(slog.New(slog.NewTextHandler(&out, nil)))
		check := func(what string, logged ...string) {
			t.Helper()
			for range 3 {
				time.Sleep(2 * time.Second)
				cert, err := certificate()
				if err != nil || cert.Leaf.SerialNumber.String() != serial {
					t.Errorf("%s: certificate %v, %v", what, cert.Leaf, err)
				}
				if pool, err := roots(); err != nil || pool == nil {
					t.Errorf("%s: CA %v", what, err)
				}
			}
			for _, text := range logged {
				if strings.Count(out.String(), text) != 1 {
					t.Errorf("%s: the log has %q, want %q once", what, out.String(), text)
				}
			}
			out.Reset()
		}
		check("valid files")
		ca.IssueUntil(t, dir, "client", time.Now().Add(-time.Hour))
		if err := os.WriteFile(ca.File, []byte("garbage"), 0o600); err != nil {
			t.Fatal(err)
		}
		check("unusable files", "client.pem: the certificate expired at", "ca.pem holds no PEM block")
		_, serial = ca.Issue(t, dir, "client")
		check("valid files again")
	})
}

func TestOpen_MissingFilesAreNamed(t *testing.T) {
	dir := t.TempDir()
	files, _ := certstest.New(t, dir).Issue(t, dir, "server")
	for want, f := range map[string]certs.Files{
		"belong together": {Cert: files.Cert},
		"nowhere.pem":     {Cert: files.Cert, Key: files.Key, CA: "nowhere.pem"},
		"holds no PEM":    {Cert: files.Cert, Key: files.Key, CA: files.Key},
	} {
		_, server := certs.Server(f, slog.New(slog.DiscardHandler))
		_, client := certs.Client(f)
		for _, err := range []error{server, client} {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%v, want %q", err, want)
			}
		}
	}
}
