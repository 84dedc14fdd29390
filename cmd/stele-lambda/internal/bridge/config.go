package bridge

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/url"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/stelehq/stele/internal/netaddr"
)

// Config is the configuration of a Bridge.
type Config struct {
	Log *slog.Logger

	targets []target
	secret  string
	gateway gateway
}

// gateway is the one that compares parameters.
type gateway struct {
	// address is host:port; empty to compare no parameters.
	address, host string
	// token has the role admin or operator.
	token string
	// sink is the name that the routes have for Parameter Store.
	sink string
}

// target is notified of changes of the keys that begin with prefix.
type target struct {
	prefix string
	url    *url.URL
}

const (
	targetsVariable = "STELE_REFRESH_TARGETS"
	secretVariable  = "STELE_REFRESH_SECRET"
	addressVariable = "STELE_ADDRESS"
	tokenVariable   = "STELE_TOKEN"
	sinkVariable    = "STELE_SINK"
)

// idSuffix and a variable's name form the name of the variable with the ID of its
// secret.
const idSuffix = "_ID"

// FromEnvironment reads the variables that docs/eventbridge.md names. secrets reads the
// secrets whose IDs they have.
func FromEnvironment(ctx context.Context, getenv func(string) string, secrets func(ctx context.Context, id string) (string, error)) (Config, error) {
	secret := func(name string) (string, error) {
		id := getenv(name + idSuffix)
		if id == "" {
			return getenv(name), nil
		}
		value, err := secrets(ctx, id)
		if err != nil {
			return "", fmt.Errorf("%s: read the secret %s: %w", name+idSuffix, id, err)
		}
		return strings.TrimSpace(value), nil
	}
	text, address := getenv(targetsVariable), getenv(addressVariable)
	if text == "" && address == "" {
		return Config{}, fmt.Errorf("set %s to notify services of changes, %s to report changed parameters, or both", targetsVariable, addressVariable)
	}
	var cfg Config
	var err error
	if text != "" {
		if cfg.targets, err = parseTargets(text); err != nil {
			return Config{}, fmt.Errorf("%s: %w", targetsVariable, err)
		}
		if cfg.secret, err = secret(secretVariable); err != nil {
			return Config{}, err
		}
		if cfg.secret == "" {
			return Config{}, fmt.Errorf("set %s or %s, the secret that the services of %s know", secretVariable+idSuffix, secretVariable, targetsVariable)
		}
	}
	if address != "" {
		cfg.gateway = gateway{address: address, sink: cmp.Or(getenv(sinkVariable), "parameterstore")}
		if cfg.gateway.token, err = secret(tokenVariable); err != nil {
			return Config{}, err
		}
		if cfg.gateway.host, _, err = net.SplitHostPort(address); err != nil {
			return Config{}, fmt.Errorf("%s is %q: use host:port", addressVariable, address)
		}
		if cfg.gateway.token == "" {
			return Config{}, fmt.Errorf("set %s or %s, a token with the role admin or operator for %s", tokenVariable+idSuffix, tokenVariable, address)
		}
	}
	return cfg, nil
}

// parseTargets reads {"prefix": ["grpc://host:port", "https://host/path"]}.
func parseTargets(text string) ([]target, error) {
	var document map[string][]string
	if err := json.Unmarshal([]byte(text), &document); err != nil {
		return nil, fmt.Errorf("write {\"tenantconfig/\": [\"grpc://host:port\", \"https://host/path\"]}: %w", err)
	}
	var all []target
	for _, prefix := range slices.Sorted(maps.Keys(document)) {
		for _, address := range document[prefix] {
			u, err := url.Parse(address)
			if err == nil {
				err = checkTarget(u)
			}
			if err != nil {
				return nil, fmt.Errorf("target %q of %q: %w", address, prefix, err)
			}
			all = append(all, target{prefix, u})
		}
	}
	return all, nil
}

func checkTarget(u *url.URL) error {
	switch {
	case u.Hostname() == "":
		return errors.New("it names no host")
	case u.User != nil:
		return fmt.Errorf("leave the password out: the secret is in %s", secretVariable)
	case u.Scheme == "grpc" && u.Port() == "":
		return errors.New("it has no port: use grpc://host:port")
	case u.Scheme == "grpc" && u.Path != "":
		return errors.New("it has a path: use grpc://host:port")
	case u.Scheme == "http" && !netaddr.IsLoopback(u.Hostname()):
		return errors.New("use https: only this machine is spoken to without TLS")
	case u.Scheme == "grpc", u.Scheme == "https", u.Scheme == "http":
		return nil
	}
	return errors.New("use grpc://host:port or https://host/path")
}
