package bridge

import (
	"strings"
	"testing"

	"github.com/stelehq/stele/internal/projector/fakeaws"
)

// Secrets are read from where their IDs say.
func TestReadSecret(t *testing.T) {
	server, err := fakeaws.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	for _, setting := range append(server.Environ(), "AWS_MAX_ATTEMPTS=1") {
		name, value, _ := strings.Cut(setting, "=")
		t.Setenv(name, value)
	}
	err = server.Parameters.Edit("/stele/token", func(v *fakeaws.Version) { v.Type, v.Value = fakeaws.SecureString, "of a parameter" })
	if err != nil {
		t.Fatal(err)
	}
	server.Secrets.Set("stele/refresh", "of a secret")
	for id, want := range map[string]string{
		"/stele/token":  "of a parameter",
		"stele/refresh": "of a secret",
		"arn:aws:secretsmanager:us-east-1:123456789012:secret:stele/refresh-AbCdEf": "of a secret",
	} {
		if got, err := ReadSecret(t.Context(), id); err != nil || got != want {
			t.Errorf("%s is %q, want %q: %v", id, got, want, err)
		}
	}
	for id, want := range map[string]string{"/stele/none": "ParameterNotFound", "stele/none": "ResourceNotFoundException"} {
		if _, err := ReadSecret(t.Context(), id); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", id, err, want)
		}
	}
}
