package identity

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stelehq/stele/internal/ledger"
)

func openSigner(t *testing.T, dir string) *Signer {
	t.Helper()
	s, err := OpenSigner(dir)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func localVerifier(t *testing.T, keys KeySet) *Verifier {
	t.Helper()
	v, err := NewVerifier(Config{Keys: keys, Issuer: LocalIssuer, Audience: LocalAudience})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func mint(t *testing.T, s *Signer, c Claims) string {
	t.Helper()
	token, err := s.Mint(c)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func TestMint_TokenIsVerified(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "identity")
	s := openSigner(t, dir)
	published, err := LoadJWKS(filepath.Join(dir, "jwks.json"))
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name   string
		claims Claims
	}{
		{"a tenant's writer", Claims{Subject: "alice", Tenant: "acme", Roles: []Role{Reader, Writer}, TTL: time.Hour}},
		{"a tenant's caller without roles", Claims{Subject: "bob", Tenant: "acme", TTL: time.Hour}},
		{"a reader of some keys", Claims{Subject: "carol", Tenant: "acme", Roles: []Role{Reader}, Prefixes: []ledger.Pattern{"a/", "b/"}, TTL: time.Hour}},
		{"an operator", Claims{Subject: "root", Roles: []Role{Operator}, TTL: time.Hour}},
		{"an operator of the ledger's own tenant", Claims{Subject: "root", Tenant: ledger.System, Roles: []Role{Operator}, TTL: time.Hour}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			token := mint(t, s, tt.claims)
			for _, keys := range []KeySet{s.Keys(), published} {
				p, err := localVerifier(t, keys).Verify(token)
				if err != nil {
					t.Fatal(err)
				}
				if p.Subject != tt.claims.Subject || p.Tenant != tt.claims.Tenant || !slices.Equal(p.Roles, tt.claims.Roles) || !slices.Equal(p.Prefixes, tt.claims.Prefixes) {
					t.Errorf("got %+v, want %+v", *p, tt.claims)
				}
				if left := time.Until(p.Expires); left > tt.claims.TTL || left < tt.claims.TTL/2 {
					t.Errorf("the token expires in %s, want %s", left, tt.claims.TTL)
				}
			}
		})
	}
}

func TestMint_RejectsWhatVerifyRejects(t *testing.T) {
	s := openSigner(t, t.TempDir())
	for name, c := range map[string]Claims{
		"no subject":                {Tenant: "acme", TTL: time.Hour},
		"a long subject":            {Subject: strings.Repeat("a", ledger.MaxAuthor+1), Tenant: "acme", TTL: time.Hour},
		"no tenant":                 {Subject: "alice", Roles: []Role{Admin}, TTL: time.Hour},
		"an invalid tenant":         {Subject: "alice", Tenant: "A", TTL: time.Hour},
		"the ledger's own tenant":   {Subject: "alice", Tenant: ledger.System, Roles: []Role{Admin}, TTL: time.Hour},
		"an unknown role":           {Subject: "alice", Tenant: "acme", Roles: []Role{"root"}, TTL: time.Hour},
		"an invalid prefix":         {Subject: "alice", Tenant: "acme", Prefixes: []ledger.Pattern{"a/*b"}, TTL: time.Hour},
		"no lifetime":               {Subject: "alice", Tenant: "acme"},
		"a lifetime in the past":    {Subject: "alice", Tenant: "acme", TTL: -time.Hour},
		"a lifetime under a second": {Subject: "alice", Tenant: "acme", TTL: time.Millisecond},
	} {
		if _, err := s.Mint(c); err == nil {
			t.Errorf("a token with %s was minted", name)
		}
	}
}

func TestSigner_KeepsItsKey(t *testing.T) {
	dir := t.TempDir()
	token := mint(t, openSigner(t, dir), Claims{Subject: "alice", Tenant: "acme", TTL: time.Hour})
	info, err := os.Stat(filepath.Join(dir, "key.pem"))
	if err != nil {
		t.Fatal(err)
	}
	if mode := info.Mode().Perm(); mode != 0o600 {
		t.Errorf("key.pem has mode %04o, want 0600", mode)
	}
	if err := os.Remove(filepath.Join(dir, "jwks.json")); err != nil {
		t.Fatal(err)
	}
	again := openSigner(t, dir)
	if _, err := localVerifier(t, again.Keys()).Verify(token); err != nil {
		t.Errorf("a token from before the signer was opened again: %v", err)
	}
	if _, err := LoadJWKS(filepath.Join(dir, "jwks.json")); err != nil {
		t.Errorf("jwks.json is not written again: %v", err)
	}
	other := openSigner(t, t.TempDir())
	if _, err := localVerifier(t, other.Keys()).Verify(token); !errors.Is(err, ErrUnauthenticated) {
		t.Errorf("another signer's keys: %v", err)
	}
}

func TestSigner_OpenedAtOnceShareTheKey(t *testing.T) {
	dir := t.TempDir()
	signers := make([]*Signer, 8)
	var opening sync.WaitGroup
	for i := range signers {
		opening.Go(func() {
			s, err := OpenSigner(dir)
			if err != nil {
				t.Error(err)
			}
			signers[i] = s
		})
	}
	opening.Wait()
	if t.Failed() {
		t.FailNow()
	}
	for _, s := range signers {
		if !s.key.Equal(signers[0].key) {
			t.Fatal("two signers of one folder have different keys")
		}
	}
	names, err := filepath.Glob(filepath.Join(dir, ".*"))
	if err != nil || len(names) > 0 {
		t.Errorf("left behind: %q, %v", names, err)
	}
}

func TestSigner_RejectsUntrustedKeyFile(t *testing.T) {
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(ec)
	if err != nil {
		t.Fatal(err)
	}
	other := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	broken := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der[:20]})
	tests := []struct {
		name    string
		content []byte
		mode    os.FileMode
		reason  string
	}{
		{"readable by others", other, 0o644, "0600"},
		{"empty", nil, 0o600, "no PEM block"},
		{"cut off", broken, 0o600, "key.pem"},
		{"of another kind", other, 0o600, "not Ed25519"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "key.pem")
			if err := os.WriteFile(path, tt.content, tt.mode); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(path, tt.mode); err != nil {
				t.Fatal(err)
			}
			if _, err := OpenSigner(filepath.Dir(path)); err == nil || !strings.Contains(err.Error(), tt.reason) {
				t.Errorf("got %v, want an error with %q", err, tt.reason)
			}
			if now, err := os.ReadFile(path); err != nil || string(now) != string(tt.content) {
				t.Errorf("the file was changed (%v)", err)
			}
		})
	}
}
