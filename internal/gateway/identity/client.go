package identity

import "net/http"

// Client makes requests to the issuer of tokens, and the URLs in its documents, as a
// Keyring with the same settings does: it follows no redirect, uses no proxy, and
// connects to no address that a host must not resolve to.
func Client(cfg KeyringConfig) (*http.Client, error) {
	cfg.Location = "" // where keys come from is another matter
	e, err := newEndpoint(cfg)
	if err != nil {
		return nil, err
	}
	return &e.client, nil
}
