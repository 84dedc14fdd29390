// Package consul reads the key/value store of Consul, from what "consul kv export"
// prints or from an agent. Consul keeps no history, so it is one state.
package consul

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/stelehq/stele/cmd/stele/internal/migrate"
	"github.com/stelehq/stele/cmd/stele/internal/migrate/text"
)

// Source is a state that was read whole.
type Source struct{ items []migrate.Item }

// maxExport bounds what is read, in bytes.
const maxExport = 1 << 30

// Read reads an export, or an agent's answer to /v1/kv/?recurse. Folders, which are
// keys that end in a slash and have no value, are left out.
func Read(r io.Reader) (*Source, error) {
	var pairs []struct {
		Key   string `json:"key"`
		Value []byte `json:"value"`
	}
	data, err := io.ReadAll(&io.LimitedReader{R: r, N: maxExport + 1})
	if err == nil && len(data) > maxExport {
		err = fmt.Errorf("it has more than %d bytes: import it prefix by prefix", maxExport)
	}
	if err == nil {
		data, err = text.UTF8(data)
	}
	if err == nil {
		err = json.Unmarshal(data, &pairs, json.MatchCaseInsensitiveNames(true))
	}
	if err != nil {
		return nil, fmt.Errorf("read what Consul has exported: %w", err)
	}
	s := new(Source)
	for _, p := range pairs {
		if strings.HasSuffix(p.Key, "/") && len(p.Value) == 0 {
			continue
		}
		s.items = append(s.items, migrate.Item{Name: p.Key, Value: string(p.Value)})
	}
	return s, nil
}

// askTimeout bounds an agent's whole answer.
const askTimeout = 5 * time.Minute

// Ask reads what an agent, http://HOST:PORT, has below a prefix. Token and
// certificates come from the environment, as for consul: CONSUL_HTTP_TOKEN,
// CONSUL_CACERT, CONSUL_CLIENT_CERT, CONSUL_CLIENT_KEY.
func Ask(ctx context.Context, agent, root string) (*Source, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	u, err := url.Parse(agent)
	if err != nil {
		return nil, fmt.Errorf("ask Consul: %w", err)
	}
	u = u.JoinPath("v1", "kv")
	u.Path += "/" + root
	u.RawPath, u.RawQuery = "", "recurse=true&consistent="
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, fmt.Errorf("ask Consul: %w", err)
	}
	if token := os.Getenv("CONSUL_HTTP_TOKEN"); token != "" {
		req.Header.Set("X-Consul-Token", token)
	}
	client, err := newClient()
	if err != nil {
		return nil, fmt.Errorf("ask Consul: %w", err)
	}
	defer client.CloseIdleConnections()
	resp, err := client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("ask Consul: %w", err)
	}
	defer resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusOK:
		return Read(resp.Body)
	case http.StatusNotFound: // it has no such key
		return new(Source), nil
	}
	text, _ := io.ReadAll(io.LimitReader(resp.Body, 200))
	return nil, fmt.Errorf("ask Consul at %s: it answers %s: %s", agent, resp.Status, text)
}

// newClient follows no redirect: the token is for the agent alone.
func newClient() (*http.Client, error) {
	cfg := &tls.Config{MinVersion: tls.VersionTLS12}
	if file := os.Getenv("CONSUL_CACERT"); file != "" {
		pem, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		if cfg.RootCAs = x509.NewCertPool(); !cfg.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%s has no certificate", file)
		}
	}
	if file := os.Getenv("CONSUL_CLIENT_CERT"); file != "" {
		pair, err := tls.LoadX509KeyPair(file, os.Getenv("CONSUL_CLIENT_KEY"))
		if err != nil {
			return nil, err
		}
		cfg.Certificates = []tls.Certificate{pair}
	}
	return &http.Client{
		Transport:     &http.Transport{TLSClientConfig: cfg, Proxy: http.ProxyFromEnvironment},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}, nil
}

// Name is the store's.
func (*Source) Name() string { return "consul" }

// Steps yields the state.
func (s *Source) Steps(context.Context) iter.Seq2[migrate.Step, error] {
	return func(yield func(migrate.Step, error) bool) {
		yield(migrate.Step{ID: "current state", State: true, Items: s.items}, nil)
	}
}
