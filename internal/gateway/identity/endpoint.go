package identity

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"syscall"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/stelehq/stele/internal/netaddr"
)

// fetchTimeout bounds a load, from the first name to the last byte: callers whose
// key is unknown wait for it.
const fetchTimeout = 5 * time.Second

// endpoint is where an identity provider publishes its keys. Neither it nor its
// name server is trusted with more than the keys: it may be slow, send without
// end, redirect, or point into the network that this process is in.
type endpoint struct {
	keys   string // URL; empty if the discovery document names it
	issuer string
	// named is the host in the operator's setting, if that is an address or localhost:
	// only this host may be on this machine or, without private, in a private network.
	named   string
	private bool
	dialer  net.Dialer
	client  http.Client
}

func newEndpoint(cfg KeyringConfig) (*endpoint, error) {
	e := &endpoint{keys: cfg.Location, issuer: cfg.Issuer, private: cfg.Private}
	written := cfg.Location
	if written == "" {
		written = cfg.Issuer
	}
	u, err := parseURL(written)
	if err != nil {
		return nil, fmt.Errorf("find the keys: %w", err)
	}
	if isAddress(u.Hostname()) {
		e.named = u.Hostname()
	}
	e.client = http.Client{
		// A redirect leads to a URL that the operator did not configure.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			// No proxy: it would resolve names without these checks.
			DialContext:            e.dial,
			TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12},
			DisableKeepAlives:      true,
			DisableCompression:     true,
			MaxResponseHeaderBytes: 64 << 10,
		},
	}
	return e, nil
}

// load fetches the keys, after discovery of their URL if it is not configured.
func (e *endpoint) load(ctx context.Context) (set KeySet, err error) {
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	from := e.keys
	if from == "" {
		if from, err = e.discover(ctx); err != nil {
			return set, err
		}
	}
	err = e.get(ctx, from, func(r io.Reader) error {
		set, err = ReadJWKS(r)
		return err
	})
	return set, err
}

// discover reads the issuer's configuration (OpenID Connect Discovery 1.0).
func (e *endpoint) discover(ctx context.Context) (string, error) {
	var doc struct {
		Issuer string `json:"issuer"`
		Keys   string `json:"jwks_uri"`
	}
	from := strings.TrimSuffix(e.issuer, "/") + "/.well-known/openid-configuration"
	err := e.get(ctx, from, func(r io.Reader) error {
		return json.UnmarshalRead(io.LimitReader(r, maxJWKS), &doc)
	})
	if err != nil {
		return "", err
	}
	if doc.Issuer != e.issuer {
		return "", fmt.Errorf("%s is of issuer %q, not %q: write the issuer exactly so", from, doc.Issuer, e.issuer)
	}
	u, err := parseURL(doc.Keys)
	if err != nil {
		return "", fmt.Errorf("%s: jwks_uri: %w", from, err)
	}
	if isAddress(u.Hostname()) && u.Hostname() != e.named {
		return "", fmt.Errorf("%s: jwks_uri is at %s, which is not the issuer's own address", from, u.Hostname())
	}
	return doc.Keys, nil
}

func (e *endpoint) get(ctx context.Context, from string, read func(io.Reader) error) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, from, nil)
	if err != nil {
		return fmt.Errorf("load the keys: %w", err)
	}
	req.Header.Set("Accept", "application/json")
	resp, err := e.client.Do(req)
	if err != nil {
		return fmt.Errorf("load the keys: %w", err)
	}
	defer resp.Body.Close()
	switch {
	case resp.StatusCode/100 == 3:
		return fmt.Errorf("load the keys: %s redirects elsewhere, which is not followed: name the place itself", from)
	case resp.StatusCode != http.StatusOK:
		return fmt.Errorf("load the keys: %s answers %.80q", from, resp.Status)
	}
	if err := read(resp.Body); err != nil {
		return fmt.Errorf("load the keys from %s: %w", from, err)
	}
	return nil
}

// parseURL reads a URL that keys may come from.
func parseURL(raw string) (*url.URL, error) {
	u, err := url.Parse(raw)
	if err != nil {
		return nil, err
	}
	here := netaddr.IsLoopback(u.Hostname())
	switch {
	case u.Scheme != "https" && (u.Scheme != "http" || !here):
		return nil, fmt.Errorf("%q: keys come by https, or by http from this machine", u.Redacted())
	case u.Hostname() == "" || u.User != nil || u.Fragment != "":
		return nil, fmt.Errorf("%q: write https://HOST/PATH and no more", u.Redacted())
	}
	return u, nil
}

func isAddress(host string) bool {
	_, err := netip.ParseAddr(host)
	return err == nil || host == "localhost"
}

// dial connects to a host only if the address that its name resolves to now is allowed.
func (e *endpoint) dial(ctx context.Context, network, address string) (net.Conn, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	dialer := e.dialer
	dialer.Control = func(_, resolved string, _ syscall.RawConn) error {
		ap, err := netip.ParseAddrPort(resolved)
		if err != nil {
			return err
		}
		return e.allow(host, ap.Addr())
	}
	return dialer.DialContext(ctx, network, address)
}

var (
	// embedsIPv4 is where DNS64 puts the addresses of hosts without IPv6 (RFC 6052).
	embedsIPv4 = netip.MustParsePrefix("64:ff9b::/96")
	shared     = netip.MustParsePrefix("100.64.0.0/10") // RFC 6598: private in effect
)

// allow reports whether a host may have the address.
func (e *endpoint) allow(host string, ip netip.Addr) error {
	ip = ip.Unmap().WithZone("")
	if embedsIPv4.Contains(ip) {
		b := ip.As16()
		ip, _ = netip.AddrFromSlice(b[12:])
	}
	switch {
	case host == "localhost" && !ip.IsLoopback():
		return fmt.Errorf("localhost stands for %s, which is not this machine", ip)
	case host == e.named && host != "":
		return nil
	case !ip.IsGlobalUnicast():
		return fmt.Errorf("%s stands for %s, which is not an address of the network: write an address of this machine or link as such", host, ip)
	case e.private:
		return nil
	case ip.IsPrivate() || shared.Contains(ip):
		return fmt.Errorf("%s stands for %s, in a private network, which has to be allowed (--jwks-private)", host, ip)
	}
	return nil
}
