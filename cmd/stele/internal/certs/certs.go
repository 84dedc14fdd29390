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

// reloadInterval is how often files are read again, when connections are made.
const reloadInterval = time.Second

// Server is the configuration of a listener: with Cert and, if there is a CA, only for
// clients with a certificate of it. The files are reloaded, see reloaded.
func Server(f Files, log *slog.Logger) (*tls.Config, error) {
	if err := f.check(); err != nil {
		return nil, err
	}
	s := &server{files: f, log: log}
	current := reloaded(log, "cannot reload the TLS certificate; the previous one stays in use", s.read)
	if _, err := current(); err != nil {
		return nil, err
	}
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
			return current()
		},
	}, nil
}

type server struct {
	files Files
	log   *slog.Logger

	// The fields below are those of the last successful read.
	seen   []byte
	config *tls.Config
}

// read makes a configuration from the current files. reloaded does not call it concurrently.
func (s *server) read() (*tls.Config, error) {
	var parts [3][]byte
	for i, path := range []string{s.files.Cert, s.files.Key, s.files.CA} {
		if path == "" {
			continue
		}
		var err error
		if parts[i], err = os.ReadFile(path); err != nil {
			return nil, err
		}
	}
	all := bytes.Join(parts[:], []byte{0})
	if s.config != nil && bytes.Equal(all, s.seen) {
		return s.config, nil
	}
	cert, err := tls.X509KeyPair(parts[0], parts[1])
	if err != nil {
		return nil, fmt.Errorf("%s and %s: %w", s.files.Cert, s.files.Key, err)
	}
	if err := valid(cert.Leaf); err != nil {
		return nil, fmt.Errorf("%s: %w", s.files.Cert, err)
	}
	config := &tls.Config{
		MinVersion:   tls.VersionTLS13,
		Certificates: []tls.Certificate{cert},
		// A resumed session would use the certificate from when it began.
		SessionTicketsDisabled: true,
	}
	if s.files.CA != "" {
		if config.ClientCAs, err = pool(s.files.CA, parts[2]); err != nil {
			return nil, err
		}
		config.ClientAuth = tls.RequireAndVerifyClientCert
	}
	if s.config != nil {
		s.log.Info("TLS certificate reloaded", "subject", cert.Leaf.Subject.String(), "until", cert.Leaf.NotAfter)
	}
	s.seen, s.config = all, config
	return config, nil
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

// Reload returns functions that return the certificate and the CA for a connection that is
// made. The files are reloaded, see reloaded.
func (f Files) Reload(log *slog.Logger) (certificate func() (tls.Certificate, error), roots func() (*x509.CertPool, error)) {
	certificate = reloaded(log, "cannot reload the client certificate; the previous one stays in use", func() (tls.Certificate, error) {
		cert, err := f.Certificate()
		if err == nil {
			if err = valid(cert.Leaf); err != nil {
				err = fmt.Errorf("%s: %w", f.Cert, err)
			}
		}
		return cert, err
	})
	return certificate, reloaded(log, "cannot reload the CA; the previous one stays in use", f.Roots)
}

// reloaded returns a function that reads a value from files, at most once per
// reloadInterval. If the files become unreadable, or do not match, it logs the message with
// each new error and returns the previous value; without one, it returns the error.
func reloaded[T any](log *slog.Logger, message string, read func() (T, error)) func() (T, error) {
	var mu sync.Mutex // guards the variables below
	var last T
	var readAt time.Time // zero until a read has succeeded
	var failed string
	return func() (T, error) {
		mu.Lock()
		defer mu.Unlock()
		if !readAt.IsZero() && time.Since(readAt) < reloadInterval {
			return last, nil
		}
		next, err := read()
		switch {
		case err == nil:
			last, failed = next, ""
		case readAt.IsZero():
			return next, err
		case failed != err.Error():
			failed = err.Error()
			log.Error(message, "error", err)
		}
		readAt = time.Now()
		return last, nil
	}
}

// Client is the configuration of connections to other processes, which must have a
// certificate of the CA. Cert and Key are reloaded, see reloaded; CA is read once.
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
