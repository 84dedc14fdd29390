//go:build faults

package systemtest

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stelehq/stele/cmd/stele/internal/certs"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// allServedWithin bounds what a restart may take for the last of the clients.
const allServedWithin = 20 * time.Second

// TestReconnect_AllClientsBehindOneAddress kills a gateway with many clients, which all
// have one address, as behind a load balancer, and measures how long each waits for
// an answer of the gateway that is started in its place. Clients are gRPC's, with its
// backoff, in a process that gets what the gateway leaves of the processors.
func TestReconnect_AllClientsBehindOneAddress(t *testing.T) {
	n := number(t, "STELE_FAULTS_CLIENTS", 10_000)
	dir := t.TempDir()
	t.Run("plaintext", func(t *testing.T) {
		data, config := filepath.Join(dir, "data"), filepath.Join(dir, "config.yaml")
		g := startUp(t, data, config)
		token := writerToken(t, data, acme)
		address := g.address(t)
		reconnect(t, "plaintext", n, address, token, insecure.NewCredentials(), func() *gateway {
			g.kill()
			g = startUp(t, data, config, "--listen", address)
			return g
		})
	})
	t.Run("TLS", func(t *testing.T) {
		files := writeCertificate(t, dir)
		client, err := certs.Client(certs.Files{CA: files.Cert})
		if err != nil {
			t.Fatal(err)
		}
		m := startCluster(t, 1).join(t, "ledger,gateway", "--tls-cert", files.Cert, "--tls-key", files.Key)
		address := m.address(t)
		m.args = append(m.args, "--listen", address)
		reconnect(t, "TLS", n, address, m.token, credentials.NewTLS(client), func() *gateway {
			m.kill()
			m.start(t)
			return m.gateway
		})
	})
}

// reconnect connects the clients, restarts the gateway and reports.
func reconnect(t *testing.T, name string, n int, address, token string, secure credentials.TransportCredentials, restart func() *gateway) {
	ctx := metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer "+token, "as-tenant", string(acme))
	clients := make([]stelev1.LedgerClient, n)
	for i := range clients {
		cc, err := grpc.NewClient("passthrough:///"+address, grpc.WithTransportCredentials(secure),
			grpc.WithReadBufferSize(1<<10), grpc.WithWriteBufferSize(1<<10), grpc.WithSharedWriteBuffer(true))
		if err != nil {
			t.Fatal(err)
		}
		defer cc.Close()
		clients[i] = stelev1.NewLedgerClient(cc)
	}
	var mu sync.Mutex
	failures := make(map[string]int)
	// serve returns how long after start each client had an answer, in order.
	serve := func(start time.Time, atOnce int) (took []time.Duration) {
		var all sync.WaitGroup
		slots := make(chan struct{}, atOnce)
		for _, client := range clients {
			slots <- struct{}{}
			all.Go(func() {
				defer func() { <-slots }()
				for t.Context().Err() == nil {
					call, cancel := context.WithTimeout(ctx, 20*time.Second)
					_, err := client.GetHead(call, &stelev1.GetHeadRequest{}, grpc.WaitForReady(true))
					cancel()
					if err == nil {
						break
					}
					mu.Lock()
					failures[status.Code(err).String()]++
					mu.Unlock()
					if status.Code(err) == codes.Unauthenticated {
						t.Error(err)
						return
					}
				}
				mu.Lock()
				took = append(took, time.Since(start))
				mu.Unlock()
			})
		}
		all.Wait()
		slices.Sort(took)
		return took
	}
	serve(time.Now(), 100)
	clear(failures)

	g := restart()
	took := serve(time.Now(), n)
	if len(took) != n {
		t.Fatalf("%d of %d clients were served", len(took), n)
	}
	last := took[n-1]
	fmt.Printf("%-9s %d clients behind one address, gateway killed and started again: served after p50 %s, p99 %s, max %s; calls that failed meanwhile: %v; limits that acted: %q; process %d MiB\n",
		name, n, took[n/2].Round(time.Millisecond), took[n*99/100].Round(time.Millisecond), last.Round(time.Millisecond), failures, limits(g.printed(t)), g.status(t, "VmRSS"))
	if last > allServedWithin {
		t.Errorf("%s: the last client was served after %s, more than %s", name, last, allServedWithin)
	}
}

var limited = regexp.MustCompile(`msg="connection ((?:delayed|refused)[^"]*)"`)

// limits are what the log of the gateway has of connections that waited or were refused.
func limits(log []byte) (kinds []string) {
	for _, m := range limited.FindAllSubmatch(log, -1) {
		kinds = append(kinds, string(m[1]))
	}
	slices.Sort(kinds)
	return slices.Compact(kinds)
}

// writeCertificate makes the files of a server on this machine, whose certificate is
// its own CA's.
func writeCertificate(t *testing.T, dir string) certs.Files {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "gateway"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotAfter: time.Now().Add(time.Hour), BasicConstraintsValid: true, IsCA: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	files := certs.Files{Cert: filepath.Join(dir, "gateway.pem"), Key: filepath.Join(dir, "gateway.key")}
	for path, block := range map[string]*pem.Block{files.Cert: {Type: "CERTIFICATE", Bytes: der}, files.Key: {Type: "PRIVATE KEY", Bytes: private}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return files
}
