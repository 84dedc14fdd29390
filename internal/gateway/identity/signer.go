package identity

import (
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/golang-jwt/jwt/v5"
	"github.com/stelehq/stele/internal/durable"
	"github.com/stelehq/stele/internal/ledger"
)

// Issuer and audience of the tokens that a Signer makes.
const (
	LocalIssuer   = "stele-local"
	LocalAudience = "stele"
)

// Signer is the local identity: it signs tokens with an Ed25519 key pair that is kept
// in a folder. Anyone with key.pem can sign a token for any identity.
type Signer struct {
	key ed25519.PrivateKey
	jwk jwk
}

// OpenSigner opens the folder's key pair: key.pem (PKCS #8, mode 0600) and jwks.json,
// the public half for verifiers elsewhere. It creates missing files. Several processes
// may open a new folder at once and get the same key.
func OpenSigner(dir string) (*Signer, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open signer: %w", err)
	}
	key, err := readKey(dir)
	if errors.Is(err, fs.ErrNotExist) {
		if err := createKey(dir); err != nil {
			return nil, fmt.Errorf("open signer: create key: %w", err)
		}
		// Another process may have been first: its key counts.
		key, err = readKey(dir)
	}
	if err != nil {
		return nil, fmt.Errorf("open signer: %w", err)
	}
	s := &Signer{key, ed25519JWK(key.Public().(ed25519.PublicKey))}
	if err := s.publish(dir); err != nil {
		return nil, fmt.Errorf("open signer: %w", err)
	}
	return s, nil
}

// publish writes the public key to jwks.json.
func (s *Signer) publish(dir string) error {
	doc, err := json.Marshal(jwks{[]jwk{s.jwk}}, jsontext.WithIndent("  "))
	if err != nil {
		return fmt.Errorf("encode key set: %w", err)
	}
	return durable.Publish(filepath.Join(dir, jwksFile), append(doc, '\n'))
}

// Claims are the claims that a Signer puts into a token.
type Claims struct {
	// Subject names the holder, 1 to ledger.MaxAuthor bytes.
	Subject string
	// Tenant may be empty for an operator.
	Tenant ledger.Tenant
	Roles  []Role
	// Prefixes select the keys that the token is limited to; none for all.
	Prefixes []ledger.Pattern
	// Replicates are the tenants that an edge gateway with the token may copy; see
	// Principal.
	Replicates []string
	// TTL is how long the token is good, at least a second.
	TTL time.Duration
}

// Keys is the set that checks this signer's tokens.
func (s *Signer) Keys() KeySet {
	return KeySet{map[string]*publicKey{s.jwk.ID: {alg: eddsa, key: s.key.Public()}}}
}

// Mint signs a token from LocalIssuer for LocalAudience.
func (s *Signer) Mint(c Claims) (string, error) {
	if c.Subject == "" || len(c.Subject) > ledger.MaxAuthor {
		return "", fmt.Errorf("mint token: the subject has %d bytes, not 1 to %d", len(c.Subject), ledger.MaxAuthor)
	}
	if c.TTL < time.Second {
		return "", fmt.Errorf("mint token: a lifetime of %s is less than a second", c.TTL)
	}
	for _, r := range c.Roles {
		if _, err := ParseRole(string(r)); err != nil {
			return "", fmt.Errorf("mint token: %w", err)
		}
	}
	if _, err := parseReplicates(c.Replicates); err != nil {
		return "", fmt.Errorf("mint token: replicate: %w", err)
	}
	if err := checkTenant(c.Tenant, c.Roles, c.Replicates); err != nil {
		return "", fmt.Errorf("mint token: %w", err)
	}
	for _, p := range c.Prefixes {
		if _, err := ledger.ParsePattern(string(p)); err != nil {
			return "", fmt.Errorf("mint token: %w", err)
		}
	}
	now := time.Now()
	claims := jwt.MapClaims{
		"iss":   LocalIssuer,
		"aud":   LocalAudience,
		"sub":   c.Subject,
		"roles": c.Roles,
		"jti":   rand.Text(),
		"iat":   now.Unix(),
		"exp":   now.Add(c.TTL).Unix(),
	}
	if c.Tenant != "" {
		claims["tenant"] = c.Tenant
	}
	if len(c.Prefixes) > 0 {
		claims[presets[Plain].prefixes] = c.Prefixes
	}
	if len(c.Replicates) > 0 {
		claims[presets[Plain].replicates] = c.Replicates
	}
	t := jwt.NewWithClaims(jwt.SigningMethodEdDSA, claims)
	t.Header["kid"] = s.jwk.ID
	token, err := t.SignedString(s.key)
	if err != nil {
		return "", fmt.Errorf("mint token: %w", err)
	}
	return token, nil
}
