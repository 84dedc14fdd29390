package client

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"slices"
	"strings"
)

// Config says whose settings a client keeps, and where it gets them.
type Config struct {
	// Addresses of gateways, "host:port". They are tried in random order, so that
	// clients spread over them, and every one of them is as good as another.
	Addresses []string
	// Tenant whose settings to keep; empty for the token's tenant. It is required with
	// File. An operator's token may name any.
	Tenant string
	// Prefixes of the keys to keep: "a/b" is the key a/b and all keys below it, "a/b/" only
	// those below it, and "a/b*" all keys that begin with these bytes. None for all keys
	// of the tenant.
	Prefixes []string
	// Token is asked for a token at every call.
	Token TokenSource
	// TLS is how to speak with gateways. Nil takes the certificates that the system
	// trusts, and speaks without TLS with this machine only.
	TLS *tls.Config
	// Plaintext allows connections to other machines without TLS, for networks with
	// their own encryption.
	Plaintext bool
	// File, when set, holds the last state that was known to be good, so that Open
	// needs no gateway. It is readable by this user only, and has no secrets in it.
	File string
	// StartEmpty lets Open return without a state if no gateway answers within two seconds
	// and the file does not exist. Until one answers, no key is set, so each Value is its fallback,
	// and Status.Err is set.
	StartEmpty bool
	// Log receives errors and warnings; the default discards them.
	Log *slog.Logger
}

// TokenSource returns the token to send. It may be called at any time, and from
// several goroutines.
type TokenSource func(context.Context) (string, error)

// TokenFile reads the token from a file for every connection, so replacing the file
// renews the token.
func TokenFile(path string) TokenSource {
	return func(context.Context) (string, error) {
		b, err := os.ReadFile(path)
		if err != nil {
			return "", fmt.Errorf("read the token: %w", err)
		}
		return strings.TrimSpace(string(b)), nil
	}
}

// StaticToken is a token that does not change: the client stops hearing of changes
// when it expires.
func StaticToken(token string) TokenSource {
	return func(context.Context) (string, error) { return token, nil }
}

// check completes and validates the configuration.
func (cfg *Config) check() error {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if len(cfg.Addresses) == 0 {
		return errors.New("name the address of a gateway")
	}
	for _, a := range cfg.Addresses {
		if _, _, err := net.SplitHostPort(a); err != nil {
			return fmt.Errorf("address %q: write host:port", a)
		}
	}
	if cfg.Token == nil {
		return errors.New("say where tokens come from")
	}
	if cfg.File != "" && cfg.Tenant == "" {
		return errors.New("config: File requires Tenant, to check that the file belongs to the tenant")
	}
	cfg.Addresses = slices.Compact(slices.Sorted(slices.Values(cfg.Addresses)))
	cfg.Prefixes = tidy(cfg.Prefixes)
	return nil
}

// tidy sorts prefixes and drops those that another one covers. No prefix is the empty
// one, which covers everything.
func tidy(prefixes []string) []string {
	if len(prefixes) == 0 {
		return []string{""}
	}
	var kept []string
	for _, p := range slices.Sorted(slices.Values(prefixes)) {
		if len(kept) == 0 || !covers(kept[len(kept)-1], p) {
			kept = append(kept, p)
		}
	}
	return kept
}

// selects reports whether a prefix selects a key: "a/b" selects the key a/b and all
// keys below it, "a/b/" only those below it, "a/b*" all keys that begin with these
// bytes, and "" all keys. The gateways do the same.
func selects(prefix, key string) bool {
	rest, ok := strings.CutPrefix(key, strings.TrimSuffix(prefix, "*"))
	return ok && (whole(prefix) || rest == "" || rest[0] == '/')
}

// whole reports whether a prefix selects all keys that begin with its bytes.
func whole(prefix string) bool {
	return prefix == "" || strings.HasSuffix(prefix, "*") || strings.HasSuffix(prefix, "/")
}

// covers reports whether a prefix selects all that another one selects.
func covers(prefix, other string) bool {
	if whole(prefix) {
		return strings.HasPrefix(strings.TrimSuffix(other, "*"), strings.TrimSuffix(prefix, "*"))
	}
	return other == prefix || strings.HasPrefix(other, prefix+"/")
}

// keeps reports whether the client keeps a key.
func (cfg *Config) keeps(key string) bool {
	return slices.ContainsFunc(cfg.Prefixes, func(p string) bool { return selects(p, key) })
}
