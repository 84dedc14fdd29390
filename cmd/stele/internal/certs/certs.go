// Package certs configures a process's TLS: 1.3 only, with certificates that are
// reloaded when their files change, so that no restart is needed.
package certs

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"
)

// Files are files of PEM; each may be empty.
type Files struct {
	// Cert is the certificate of this process, with the chain that leads to its CA, and
	// Key its private key.
	Cert, Key string
	// CA holds the certificates of those who sign the other side's; empty for those
	// that the system trusts.
	CA string
}

// check reports what is missing.
func (f Files) check() error {
	if (f.Cert == "") != (f.Key == "") {
		return errors.New("a certificate and its key belong together: give both files")
	}
	return nil
}

// lookAfter is how old the last look at the files may be when a connection is made.
const lookAfter = time.Second

// Server is the configuration of a listener: with Cert and, if there is a CA, only for
// clients with a certificate of it. Files that become unreadable, or do not match, are
// an error in the log; the previous ones stay in use until they do.
func Server(f Files, log *slog.Logger) (*tls.Config, error) {
	if err := f.check(); err != nil {
		return nil, err
	}
	s := &server{files: f, log: log}
	if err := s.read(); err != nil {
		return nil, err
	}
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
			return s.current(), nil
		},
	}, nil
}

type server struct {
	files Files
	log   *slog.Logger

	mu     sync.Mutex // guards the fields below
	looked time.Time
	failed string // why the files could not be read, at the last look
	seen   []byte
	config *tls.Config
}

// current is the configuration of a connection that is being made.
func (s *server) current() *tls.Config {
	s.mu.Lock()
	defer s.mu.Unlock()
	if time.Since(s.looked) < lookAfter {
		return s.config
	}
	err := s.read()
	switch {
	case err == nil:
		s.failed = ""
	case s.failed != err.Error():
		s.failed = err.Error()
		s.log.Error("cannot reload the TLS certificate; the previous one stays in use", "error", err)
	}
	return s.config
}

// read makes a configuration from the current files.
func (s *server) read() error {
	s.looked = time.Now()
	var parts [3][]byte
	for i, path := range []string{s.files.Cert, s.files.Key, s.files.CA} {
		if path == "" {
			continue
		}
		var err error
		if parts[i], err = os.ReadFile(path); err != nil {
			return err
		}
	}
	all := bytes.Join(parts[:], []byte{0})
	if s.config != nil && bytes.Equal(all, s.seen) {
		return nil
	}
	cert, err := tls.X509KeyPair(parts[0], parts[1])
	if err != nil {
		return fmt.Errorf("%s and %s: %w", s.files.Cert, s.files.Key, err)
	}
	if err := valid(cert.Leaf); err != nil {
		return fmt.Errorf("%s: %w", s.files.Cert, err)
	}
	config := &tls.Config{
		MinVersion:   tls.VersionTLS13,
		Certificates: []tls.Certificate{cert},
		// A resumed session would use the certificate from when it began.
		SessionTicketsDisabled: true,
	}
	if s.files.CA != "" {
		if config.ClientCAs, err = pool(s.files.CA, parts[2]); err != nil {
			return err
		}
		config.ClientAuth = tls.RequireAndVerifyClientCert
	}
	if s.config != nil {
		s.log.Info("TLS certificate reloaded", "subject", cert.Leaf.Subject.String(), "until", cert.Leaf.NotAfter)
	}
	s.seen, s.config = all, config
	return nil
}

// valid returns an error if no other side would accept the certificate now.
func valid(cert *x509.Certificate) error {
	switch now := time.Now(); {
	case now.After(cert.NotAfter):
		return fmt.Errorf("the certificate expired at %s", cert.NotAfter.UTC().Format(time.RFC3339))
	case now.Before(cert.NotBefore):
		return fmt.Errorf("the certificate is not valid before %s", cert.NotBefore.UTC().Format(time.RFC3339))
	}
	return nil
}

// Reload returns functions that read the certificate and the CA for each connection that is
// made. Files that become unreadable, or do not match, are an error in the log; the previous
// ones stay in use until they do.
func (f Files) Reload(log *slog.Logger) (certificate func() (tls.Certificate, error), roots func() (*x509.CertPool, error)) {
	certificate = keep(log, "cannot reload the client certificate; the previous one stays in use", func() (tls.Certificate, error) {
		cert, err := f.Certificate()
		if err == nil {
			if err = valid(cert.Leaf); err != nil {
				err = fmt.Errorf("%s: %w", f.Cert, err)
			}
		}
		return cert, err
	})
	return certificate, keep(log, "cannot reload the CA; the previous one stays in use", f.Roots)
}

// keep returns a function that reads, and returns the previous value if that fails.
func keep[T any](log *slog.Logger, message string, read func() (T, error)) func() (T, error) {
	var mu sync.Mutex // guards the variables below
	var last T
	var known bool
	var failed string
	return func() (T, error) {
		mu.Lock()
		defer mu.Unlock()
		next, err := read()
		switch {
		case err == nil:
			last, known, failed = next, true, ""
		case !known:
			return next, err
		case failed != err.Error():
			failed = err.Error()
			log.Error(message, "error", err)
		}
		return last, nil
	}
}

// Client is the configuration of connections to other processes, which must have a
// certificate of the CA. Cert and Key are read for every connection, CA once.
func Client(f Files) (*tls.Config, error) {
	if err := f.check(); err != nil {
		return nil, err
	}
	config := &tls.Config{MinVersion: tls.VersionTLS13}
	if f.CA != "" {
		var err error
		if config.RootCAs, err = f.Roots(); err != nil {
			return nil, err
		}
	}
	if f.Cert != "" {
		certificate, _ := f.Reload(slog.Default())
		if _, err := certificate(); err != nil {
			return nil, err
		}
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			cert, err := certificate()
			return &cert, err
		}
	}
	return config, nil
}

// Certificate reads Cert and Key.
func (f Files) Certificate() (tls.Certificate, error) {
	cert, err := tls.LoadX509KeyPair(f.Cert, f.Key)
	if err != nil {
		return cert, fmt.Errorf("%s and %s: %w", f.Cert, f.Key, err)
	}
	return cert, nil
}

// Roots reads CA.
func (f Files) Roots() (*x509.CertPool, error) {
	b, err := os.ReadFile(f.CA)
	if err != nil {
		return nil, err
	}
	return pool(f.CA, b)
}

func pool(path string, b []byte) (*x509.CertPool, error) {
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(b) {
		return nil, fmt.Errorf("%s holds no PEM block \"CERTIFICATE\"", path)
	}
	return roots, nil
}
