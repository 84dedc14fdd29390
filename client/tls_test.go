package client_test

import (
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/stelehq/stele/client"
	"github.com/stelehq/stele/client/clienttest"
)

// TestOpen_TLS: a gateway's certificate must be one that the client trusts.
func TestOpen_TLS(t *testing.T) {
	s := clienttest.Start(t)
	cfg := s.Config("acme")
	address, trusted := behindTLS(t, cfg.Addresses[0])
	cfg.Addresses = []string{address}

	cfg.TLS = &tls.Config{RootCAs: trusted}
	c, err := client.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Ledger().Set(t.Context(), "a/b", 1, ""); err != nil {
		t.Error(err)
	}

	cfg.TLS = &tls.Config{}
	if err := openFails(t, cfg, "certificate"); !strings.Contains(err.Error(), "certificate") {
		t.Errorf("the error does not name the certificate: %v", err)
	}
}

// behindTLS puts a listener with TLS before a gateway, and returns its address and
// who has signed its certificate.
func behindTLS(t *testing.T, gateway string) (address string, trusted *x509.CertPool) {
	web := httptest.NewTLSServer(nil) // has a certificate for this machine
	web.Close()
	trusted = x509.NewCertPool()
	trusted.AddCert(web.Certificate())
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: web.TLS.Certificates, NextProtos: []string{"h2"}})
	if err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", gateway)
			if err != nil {
				in.Close()
				continue
			}
			for _, way := range [][2]net.Conn{{in, out}, {out, in}} {
				running.Go(func() {
					io.Copy(way[0], way[1])
					in.Close()
					out.Close()
				})
			}
		}
	})
	t.Cleanup(func() {
		l.Close()
		running.Wait()
	})
	return l.Addr().String(), trusted
}
