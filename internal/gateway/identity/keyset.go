package identity

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/big"
	"os"
	"slices"
	"sync/atomic"
	"time"

	"github.com/go-json-experiment/json"
)

// maxJWKS is the largest key set that is read, in bytes.
const maxJWKS = 1 << 20

// Keys are what tokens are checked with: a KeySet, which stays as it is, or a
// Keyring, which follows its source.
type Keys interface {
	// find returns the key that a token's header names.
	find(header map[string]any) (*publicKey, error)
}

// KeySet holds the public keys that tokens are checked with, by key id.
type KeySet struct{ keys map[string]*publicKey }

// publicKey is a key and the one algorithm that it may be used with.
type publicKey struct {
	alg string
	// key is an *rsa.PublicKey for RS256, an *ecdsa.PublicKey for ES256, an
	// ed25519.PublicKey for EdDSA.
	key any
	// until is when the key stops working, in Unix nanoseconds; 0 is never. A Keyring
	// moves it, and cached tokens use it as well.
	until atomic.Int64
}

// good reports whether the key works at that time.
func (k *publicKey) good(now time.Time) bool {
	until := k.until.Load()
	return until == 0 || now.UnixNano() < until
}

// same reports whether both are one key.
func (k *publicKey) same(other *publicKey) bool {
	key, ok := k.key.(interface{ Equal(crypto.PublicKey) bool })
	return ok && k.alg == other.alg && key.Equal(other.key)
}

// The algorithms that tokens may be signed with (RFC 7518, RFC 8037).
const (
	rs256 = "RS256"
	es256 = "ES256"
	eddsa = "EdDSA"
)

// Bits of accepted RSA keys: shorter ones can be broken, longer ones cost too much to
// check.
const (
	minRSA = 2048
	maxRSA = 8192
)

// jwk is one key of a set (RFC 7517), as far as it matters here.
type jwk struct {
	KeyType string   `json:"kty"`
	Curve   string   `json:"crv,omitzero"`
	X       string   `json:"x,omitzero"`
	Y       string   `json:"y,omitzero"`
	N       string   `json:"n,omitzero"`
	E       string   `json:"e,omitzero"`
	ID      string   `json:"kid,omitzero"`
	Alg     string   `json:"alg,omitzero"`
	Use     string   `json:"use,omitzero"`
	KeyOps  []string `json:"key_ops,omitzero"`
	// Private is the private part, which a key set must not have.
	Private any `json:"d,omitzero"`
}

type jwks struct {
	Keys []jwk `json:"keys"`
}

// LoadJWKS reads a key set from a file.
func LoadJWKS(path string) (KeySet, error) {
	f, err := os.Open(path)
	if err != nil {
		return KeySet{}, fmt.Errorf("load key set: %w", err)
	}
	defer f.Close()
	set, err := ReadJWKS(f)
	if err != nil {
		return KeySet{}, fmt.Errorf("load %s: %w", path, err)
	}
	return set, nil
}

// ReadJWKS reads a key set of at most 1 MiB (RFC 7517). It takes the keys for
// signatures with RSA, on P-256 and Ed25519 and passes over all others, which
// providers publish side by side. A set without a usable key is an error, and so is a key
// that is malformed, private or, in a set of several, nameless.
func ReadJWKS(r io.Reader) (KeySet, error) {
	b, err := io.ReadAll(io.LimitReader(r, maxJWKS+1))
	if err != nil {
		return KeySet{}, fmt.Errorf("read key set: %w", err)
	}
	if len(b) > maxJWKS {
		return KeySet{}, fmt.Errorf("read key set: it has more than %d bytes", maxJWKS)
	}
	var doc jwks
	if err := json.Unmarshal(b, &doc); err != nil {
		return KeySet{}, fmt.Errorf("read key set: %w", err)
	}
	set := KeySet{make(map[string]*publicKey)}
	for i, k := range doc.Keys {
		if k.Private != nil {
			return KeySet{}, fmt.Errorf("read key set: key %d is a private key: publish its public part only", i)
		}
		if !k.usable() {
			continue
		}
		key, err := k.public()
		if err != nil {
			return KeySet{}, fmt.Errorf("read key set: key %d: %w", i, err)
		}
		if _, twice := set.keys[k.ID]; twice {
			return KeySet{}, fmt.Errorf("read key set: key %d has the same kid %q as another", i, k.ID)
		}
		set.keys[k.ID] = key
	}
	if len(set.keys) == 0 {
		return KeySet{}, fmt.Errorf("read key set: none of its %d keys is for signatures with %s, %s (P-256) or %s (Ed25519)", len(doc.Keys), rs256, es256, eddsa)
	}
	if _, nameless := set.keys[""]; nameless && len(set.keys) > 1 {
		return KeySet{}, errors.New("read key set: a key among several has no kid")
	}
	return set, nil
}

// usable reports whether the key is for checking RS256, ES256 or EdDSA signatures.
func (k jwk) usable() bool {
	switch {
	case k.Use != "" && k.Use != "sig":
		return false
	case k.KeyOps != nil && !slices.Contains(k.KeyOps, "verify"):
		return false
	case k.KeyType == "RSA":
		return k.Alg == "" || k.Alg == rs256
	case k.KeyType == "EC" && k.Curve == "P-256":
		return k.Alg == "" || k.Alg == es256
	case k.KeyType == "OKP" && k.Curve == "Ed25519":
		return k.Alg == "" || k.Alg == eddsa || k.Alg == "Ed25519"
	}
	return false
}

// public decodes a usable key. The sizes are those that the RFCs demand; a
// point that is not on the curve is an error.
func (k jwk) public() (*publicKey, error) {
	if k.KeyType == "RSA" {
		return k.publicRSA()
	}
	x, err := base64.RawURLEncoding.Strict().DecodeString(k.X)
	if err != nil || len(x) != 32 {
		return nil, errors.New("x is not 32 bytes in base64url")
	}
	if k.KeyType == "OKP" {
		return &publicKey{alg: eddsa, key: ed25519.PublicKey(x)}, nil
	}
	y, err := base64.RawURLEncoding.Strict().DecodeString(k.Y)
	if err != nil || len(y) != 32 {
		return nil, errors.New("y is not 32 bytes in base64url")
	}
	key, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), slices.Concat([]byte{4}, x, y))
	if err != nil {
		return nil, fmt.Errorf("x and y: %w", err)
	}
	return &publicKey{alg: es256, key: key}, nil
}

func (k jwk) publicRSA() (*publicKey, error) {
	n, err := base64.RawURLEncoding.Strict().DecodeString(k.N)
	if err != nil {
		return nil, errors.New("n is not in base64url")
	}
	e, err := base64.RawURLEncoding.Strict().DecodeString(k.E)
	if err != nil {
		return nil, errors.New("e is not in base64url")
	}
	modulus, exponent := new(big.Int).SetBytes(n), new(big.Int).SetBytes(e)
	if bits := modulus.BitLen(); bits < minRSA || bits > maxRSA {
		return nil, fmt.Errorf("n has %d bits, not %d to %d", bits, minRSA, maxRSA)
	}
	// FIPS 186-5 section 5.4: odd, more than 2^16; crypto/rsa takes 31 bits.
	if bits := exponent.BitLen(); bits < 17 || bits > 31 || exponent.Bit(0) == 0 || modulus.Bit(0) == 0 {
		return nil, errors.New("n and e are not a valid RSA key: e is odd and has 17 to 31 bits, n is odd")
	}
	return &publicKey{alg: rs256, key: &rsa.PublicKey{N: modulus, E: int(exponent.Int64())}}, nil
}

// ed25519JWK describes a key; its id is its thumbprint (RFC 7638).
func ed25519JWK(key ed25519.PublicKey) jwk {
	x := base64.RawURLEncoding.EncodeToString(key)
	sum := sha256.Sum256([]byte(`{"crv":"Ed25519","kty":"OKP","x":"` + x + `"}`))
	return jwk{
		KeyType: "OKP", Curve: "Ed25519", X: x,
		ID:  base64.RawURLEncoding.EncodeToString(sum[:]),
		Alg: eddsa, Use: "sig",
	}
}

// find returns the key that a token's header names; a set of one key may go
// unnamed.
func (s KeySet) find(header map[string]any) (*publicKey, error) {
	named, ok := header["kid"]
	if !ok {
		if len(s.keys) > 1 {
			return nil, refuse("the token's header names no key (kid), and there are %d", len(s.keys))
		}
		for _, only := range s.keys {
			return only, nil
		}
	}
	if kid, ok := named.(string); ok {
		if key, ok := s.keys[kid]; ok {
			return key, nil
		}
	}
	return nil, errUnknownKey
}

var errUnknownKey = refuse("the token's key (kid) is not one that this server trusts")

// ids are the keys' names, sorted.
func (s KeySet) ids() []string { return slices.Sorted(maps.Keys(s.keys)) }
