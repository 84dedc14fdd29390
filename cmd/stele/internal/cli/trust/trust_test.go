package trust

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/pflag"
)

// jwks has one key that signs nothing.
const jwks = `{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"a","alg":"EdDSA","use":"sig","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}`

func open(t *testing.T, flags ...string) (log string, err error) {
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
	var text bytes.Buffer
	_, keys, err := o.Open(t.Context(), slog.New(slog.NewTextHandler(&text, &slog.HandlerOptions{Level: slog.LevelWarn})))
	if err == nil {
		keys.Close()
	}
	return text.String(), err
}

// Users may write their own attributes unless the app client forbids it.
func TestOpen_WarnsOfRolesInAnAttribute(t *testing.T) {
	for flag, warns := range map[string]bool{"--roles-claim=custom:role": true, "--roles-claim=groups": false, "--claims=cognito": false} {
		log, err := open(t, flag, "--roles-map=Admins=admin,Users=writer")
		if err != nil || strings.Contains(log, "custom:role") != warns {
			t.Errorf("%s: %v, and it logs %q", flag, err, log)
		}
	}
}

func TestOpen_RefusesBadRolesMaps(t *testing.T) {
	for _, bad := range []string{"Admins", "Admins=root"} {
		if _, err := open(t, "--roles-map="+bad); err == nil || !strings.Contains(err.Error(), "--roles-map") {
			t.Errorf("%s: %v", bad, err)
		}
	}
}
