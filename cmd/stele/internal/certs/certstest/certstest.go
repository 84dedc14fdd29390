// Package certstest makes real certificates for tests.
package certstest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stelehq/stele/cmd/stele/internal/certs"
)

// Authority signs certificates for this machine.
type Authority struct {
	// File holds its own certificate.
	File string

	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// New makes an authority, with its certificate in the folder.
func New(tb testing.TB, dir string) *Authority {
	tb.Helper()
	a := &Authority{File: filepath.Join(dir, "ca.pem")}
	template := &x509.Certificate{
		NotAfter: longValid,
		Subject:  pkix.Name{CommonName: "test authority"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	a.cert, a.key = sign(tb, template, nil, nil)
	write(tb, a.File, &pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw})
	return a
}

// Issue makes or replaces a certificate of that name, and returns its files and serial
// number.
func (a *Authority) Issue(tb testing.TB, dir, name string) (certs.Files, string) {
	tb.Helper()
	return a.IssueUntil(tb, dir, name, longValid)
}

// longValid is the end of all other certificates. They are also valid in the bubbles of
// testing/synctest, where it is the year 2000.
var longValid = time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC)

// IssueUntil is Issue, for a certificate that expires at a time.
func (a *Authority) IssueUntil(tb testing.TB, dir, name string, end time.Time) (certs.Files, string) {
	tb.Helper()
	template := &x509.Certificate{
		NotAfter: end,
		Subject:  pkix.Name{CommonName: name}, DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	cert, key := sign(tb, template, a.cert, a.key)
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		tb.Fatal(err)
	}
	files := certs.Files{Cert: filepath.Join(dir, name+".pem"), Key: filepath.Join(dir, name+".key")}
	// One after the other, as administrators do: for a moment they do not match.
	write(tb, files.Cert, &pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw})
	write(tb, files.Key, &pem.Block{Type: "PRIVATE KEY", Bytes: der})
	return files, cert.SerialNumber.String()
}

// sign makes a certificate with a new key; one without a parent signs itself.
func sign(tb testing.TB, template, parent *x509.Certificate, by *ecdsa.PrivateKey) (*x509.Certificate, *ecdsa.PrivateKey) {
	tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	if template.SerialNumber, err = rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120)); err != nil {
		tb.Fatal(err)
	}
	template.NotBefore = time.Unix(0, 0)
	if parent == nil {
		parent, by = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), by)
	if err != nil {
		tb.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		tb.Fatal(err)
	}
	return cert, key
}

func write(tb testing.TB, path string, block *pem.Block) {
	tb.Helper()
	if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
		tb.Fatal(err)
	}
}
