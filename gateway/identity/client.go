package identity

import "net/http"

// Client speaks with the issuer of tokens, and with what it points to, as a Keyring
// of the same settings does: it follows no redirect, uses no proxy, and goes to no
// address that a host of theirs must not stand for.
func Client(cfg KeyringConfig) (*http.Client, error) {
	cfg.Location = "" // where keys come from is another matter
	e, err := newEndpoint(cfg)
	if err != nil {
		return nil, err
	}
	return &e.client, nil
}
