package contexts

import (
	"cmp"
	"fmt"
	"os"
	"strings"

	"github.com/stelehq/stele/cmd/stele/internal/certs"
)

// Choice is what a caller chose for one command; a zero field is not chosen.
type Choice struct {
	Context, Address, TokenFile, Tenant, TLSCA string
}

// Settings is how to reach the gateway: each field from the choice, else from
// the environment, else from the context.
type Settings struct {
	// Path of the context file, and the name of the context in it; empty when
	// none is used.
	Path, Context string

	Address string
	// Token is set only from the environment; else it is in TokenFile.
	Token, TokenFile string
	Tenant           string
	// TLS is how to speak with the gateway.
	TLS certs.Files
	// TenantChosen is set if Tenant is more than the context's default.
	TenantChosen bool
}

// Resolve resolves the settings from the choice, STELE_CONTEXT, STELE_ADDRESS,
// STELE_TOKEN, STELE_TOKEN_FILE, STELE_TENANT, STELE_TLS_CA, STELE_TLS_CERT,
// STELE_TLS_KEY and the context file. A setting without a source stays empty.
func Resolve(choice Choice) (Settings, error) {
	var s Settings
	var err error
	if s.Path, err = Path(); err != nil {
		return s, err
	}
	file, err := Load(s.Path)
	if err != nil {
		return s, err
	}
	chosen := cmp.Or(choice.Context, os.Getenv("STELE_CONTEXT"))
	s.Context = cmp.Or(chosen, file.Current)
	c, found := file.Contexts[s.Context]
	if !found && s.Context != "" {
		return s, fmt.Errorf("context %q is not in %s", s.Context, s.Path)
	}
	s.Address = cmp.Or(choice.Address, os.Getenv("STELE_ADDRESS"), c.Address)
	s.Tenant = cmp.Or(choice.Tenant, os.Getenv("STELE_TENANT"))
	s.TenantChosen = s.Tenant != ""
	s.Tenant = cmp.Or(s.Tenant, c.Tenant)
	s.TLS = certs.Files{
		CA:   cmp.Or(choice.TLSCA, os.Getenv("STELE_TLS_CA"), c.TLSCA),
		Cert: cmp.Or(os.Getenv("STELE_TLS_CERT"), c.TLSCert),
		Key:  cmp.Or(os.Getenv("STELE_TLS_KEY"), c.TLSKey),
	}
	s.TokenFile = choice.TokenFile
	if s.TokenFile == "" {
		if s.Token = os.Getenv("STELE_TOKEN"); s.Token == "" {
			s.TokenFile = cmp.Or(os.Getenv("STELE_TOKEN_FILE"), c.TokenFile)
		}
	}
	return s, nil
}

// ReadToken returns the token, read from its file each time: a renewed token is used at
// once. Empty if there is none.
func (s Settings) ReadToken() (string, error) {
	if s.TokenFile == "" {
		return s.Token, nil
	}
	data, err := os.ReadFile(s.TokenFile)
	if err != nil {
		return "", fmt.Errorf("read the token: %w", err)
	}
	return strings.TrimSpace(string(data)), nil
}
