package trust

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"
	"github.com/stelehq/stele/internal/projector/fakeaws"
)

// jwks has one key that signs nothing.
const jwks = `{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"a","alg":"EdDSA","use":"sig","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}`

func open(t *testing.T, flags ...string) error {
	t.Helper()
	file := filepath.Join(t.TempDir(), "keys.json")
	if err := os.WriteFile(file, []byte(jwks), 0o600); err != nil {
		t.Fatal(err)
	}
	var o Options
	f := pflag.NewFlagSet("serve", pflag.ContinueOnError)
	o.AddFlags(f)
	if err := f.Parse(append([]string{"--issuer", "https://id.example.com", "--audience", "stele", "--jwks", file}, flags...)); err != nil {
		t.Fatal(err)
	}
	_, keys, err := o.Open(t.Context(), slog.New(slog.DiscardHandler))
	if err == nil {
		keys.Close()
	}
	return err
}

// Users who can write their tenant or roles can take any.
func TestCheckUserPool(t *testing.T) {
	server, err := fakeaws.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	for _, setting := range server.Environ() {
		name, value, _ := strings.Cut(setting, "=")
		t.Setenv(name, value)
	}
	server.UserPools.SetClient("eu-central-1_Pool", "safe", "email", "custom:theme")
	server.UserPools.SetClient("eu-central-1_Pool", "open", "email", "custom:role")
	server.UserPools.SetClient("eu-central-1_Pool", "default")
	file := filepath.Join(t.TempDir(), "keys.json")
	if err := os.WriteFile(file, []byte(jwks), 0o600); err != nil {
		t.Fatal(err)
	}
	const issuer = "https://cognito-idp.eu-central-1.amazonaws.com/eu-central-1_Pool"
	for name, tc := range map[string]struct {
		issuer, client, roles string
		faults                fakeaws.Faults
		want                  string
	}{
		"writable":        {issuer, "open", "custom:role", fakeaws.Faults{}, "attributes=[custom:role]"},
		"not used":        {issuer, "open", "cognito:groups", fakeaws.Faults{}, ""},
		"safe":            {issuer, "safe", "custom:role", fakeaws.Faults{}, ""},
		"without a list":  {issuer, "default", "cognito:groups", fakeaws.Faults{}, "attributes=\"[custom:tenantId"},
		"denied":          {issuer, "safe", "custom:role", fakeaws.Faults{Denied: []string{"DescribeUserPoolClient"}}, "could not check"},
		"unknown client":  {issuer, "other", "custom:role", fakeaws.Faults{}, "could not check"},
		"another issuer":  {"https://id.example.com", "open", "custom:role", fakeaws.Faults{}, ""},
		"a deceptive one": {"https://cognito-idp.eu-central-1.amazonaws.com.example.com/p", "open", "custom:role", fakeaws.Faults{}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			server.SetFaults(tc.faults)
			o := Options{JWKS: file, Issuer: tc.issuer, Audience: tc.client, Claims: "cognito", rolesClaim: tc.roles, maxLifetime: time.Hour}
			v, keys, err := o.Open(t.Context(), slog.New(slog.DiscardHandler))
			if err != nil {
				t.Fatal(err)
			}
			defer keys.Close()
			var text bytes.Buffer
			o.CheckUserPool(t.Context(), v, slog.New(slog.NewTextHandler(&text, nil)))
			if got := text.String(); tc.want == "" && got != "" || !strings.Contains(got, tc.want) {
				t.Errorf("it logs %q, want %q", got, tc.want)
			}
		})
	}
}

func TestOpen_RefusesBadRolesMaps(t *testing.T) {
	for _, bad := range []string{"Admins", "Admins=root"} {
		if err := open(t, "--roles-map="+bad); err == nil || !strings.Contains(err.Error(), "--roles-map") {
			t.Errorf("%s: %v", bad, err)
		}
	}
}
