package contexts

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stelehq/stele/cmd/stele/internal/certs"
)

func TestPut_KeepsOtherContexts(t *testing.T) {
	path := filepath.Join(t.TempDir(), "new", "config.yaml")
	local, edge := Context{Address: "127.0.0.1:7070", TokenFile: "/t"}, Context{Address: "edge:443", Tenant: "acme"}
	for _, step := range []struct {
		name string
		put  Context
		want File
	}{
		{"local", Context{Address: "127.0.0.1:1"}, File{"local", map[string]Context{"local": {Address: "127.0.0.1:1"}}}},
		{"edge", edge, File{"local", map[string]Context{"local": {Address: "127.0.0.1:1"}, "edge": edge}}},
		{"local", local, File{"local", map[string]Context{"local": local, "edge": edge}}},
	} {
		if err := Put(path, step.name, step.put); err != nil {
			t.Fatal(err)
		}
		got, err := Load(path)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(step.want, got); d != "" {
			t.Errorf("after %s (-want +got):\n%s", step.name, d)
		}
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o600 {
		t.Errorf("the file has mode %v", info.Mode())
	}
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(entries) != 1 {
		t.Errorf("the directory has more than the file: %v, %v", entries, err)
	}
}

func TestLoad_UnknownField(t *testing.T) {
	path := filepath.Join(t.TempDir(), "config.yaml")
	const text = "contexts:\n  local:\n    adress: x\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(path); err == nil || !strings.Contains(err.Error(), "line 3") {
		t.Errorf("load: %v", err)
	}
	if err := Put(path, "local", Context{}); err == nil {
		t.Error("a file that cannot be read was replaced")
	}
}

func TestChoose_FlagEnvironmentContext(t *testing.T) {
	path := filepath.Join(t.TempDir(), "config.yaml")
	for name, c := range map[string]Context{
		"a": {Address: "a:1", TokenFile: "/a", Tenant: "ta"},
		"b": {Address: "b:1", TokenFile: "/b", TLSCA: "/ca", TLSCert: "/cert", TLSKey: "/key"},
	} {
		if err := Put(path, name, c); err != nil {
			t.Fatal(err)
		}
	}
	file, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	current := file.Contexts[file.Current]
	for _, c := range []struct {
		name   string
		env    map[string]string
		choice Choice
		want   Settings
	}{
		{"nothing chosen", nil, Choice{},
			Settings{Context: file.Current, Address: current.Address, TokenFile: current.TokenFile, Tenant: current.Tenant,
				TLS: certs.Files{CA: current.TLSCA, Cert: current.TLSCert, Key: current.TLSKey}}},
		{"a context", nil, Choice{Context: "b"},
			Settings{Context: "b", Address: "b:1", TokenFile: "/b", TLS: certs.Files{CA: "/ca", Cert: "/cert", Key: "/key"}}},
		{"the environment", map[string]string{"STELE_CONTEXT": "a", "STELE_ADDRESS": "e:1", "STELE_TOKEN": "tok", "STELE_TENANT": "te"}, Choice{},
			Settings{Context: "a", Address: "e:1", Token: "tok", Tenant: "te", TenantChosen: true}},
		{"flags", map[string]string{"STELE_CONTEXT": "a", "STELE_ADDRESS": "e:1", "STELE_TOKEN": "tok", "STELE_TENANT": "te", "STELE_TLS_CA": "/eca", "STELE_TLS_CERT": "/ecert"},
			Choice{Context: "b", Address: "f:1", TokenFile: "/f", Tenant: "tf", TLSCA: "/fca"},
			Settings{Context: "b", Address: "f:1", TokenFile: "/f", Tenant: "tf", TenantChosen: true, TLS: certs.Files{CA: "/fca", Cert: "/ecert", Key: "/key"}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Setenv("STELE_CONFIG", path)
			for _, name := range []string{"STELE_CONTEXT", "STELE_ADDRESS", "STELE_TOKEN", "STELE_TOKEN_FILE", "STELE_TENANT", "STELE_TLS_CA", "STELE_TLS_CERT", "STELE_TLS_KEY"} {
				t.Setenv(name, c.env[name])
			}
			got, err := Resolve(c.choice)
			if err != nil {
				t.Fatal(err)
			}
			c.want.Path = path
			if d := cmp.Diff(c.want, got); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
		})
	}
	t.Setenv("STELE_CONFIG", path)
	if _, err := Resolve(Choice{Context: "c"}); err == nil {
		t.Error("a context that does not exist was chosen")
	}
}
