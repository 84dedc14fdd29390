package environ

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stelehq/stele/internal/ledger"
)

func TestVariables_OfSettings(t *testing.T) {
	got, err := Names{}.Variables("tenantconfig/checkout", map[ledger.Key]ledger.Value{
		"tenantconfig/checkout/timeout_ms":  "3000.0",
		"tenantconfig/checkout/db/host.eu":  `"a \"b\"\n\u00fc"`,
		"tenantconfig/checkout/2fa-enabled": "true",
		"tenantconfig/checkout/hosts":       `["a","b"]`,
		"tenantconfig/checkout/none":        "null",
	})
	want := []string{
		"_2FA_ENABLED=true",
		"DB_HOST_EU=a \"b\"\nü",
		`HOSTS=["a","b"]`,
		"NONE=null",
		"TIMEOUT_MS=3000.0",
	}
	if d := cmp.Diff(want, got); d != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, d)
	}
	if got, err := (Names{}).Variables("", map[ledger.Key]ledger.Value{"a/b": "1"}); err != nil || got[0] != "A_B=1" {
		t.Errorf("without a prefix: %q, %v", got, err)
	}
}

func TestVariables_TwoKeysOfOneName(t *testing.T) {
	_, err := Names{}.Variables("p", map[ledger.Key]ledger.Value{"p/a.b": "1", "p/a-b": "2"})
	if err == nil || !strings.Contains(err.Error(), "p/a-b and p/a.b would both be A_B") {
		t.Errorf("error is %v", err)
	}
	_, err = Names{}.Variables("p", map[ledger.Key]ledger.Value{"p/a": `"x\u0000"`})
	if err == nil || !strings.Contains(err.Error(), "p/a holds a zero byte") {
		t.Errorf("error is %v", err)
	}
}

// A setting does not become a variable that makes a program load or run something else,
// whatever the key looks like.
func TestVariables_NamesThatChangeHowProgramsRun(t *testing.T) {
	dangerous := []string{
		"BASH_ENV", "bash_env", "bash-env", "bash.env", "bash/env", "LD_PRELOAD", "ld/preload", "ld-library-path", "DYLD_INSERT_LIBRARIES", "PATH", "path", "IFS", "ENV", "PS4",
		"NODE_OPTIONS", "node/options", "NODE_PATH", "PYTHONPATH", "pythonstartup", "PERL5OPT", "RUBYOPT", "JAVA_TOOL_OPTIONS", "CLASSPATH", "GIT_SSH_COMMAND",
		"GCONV_PATH", "OPENSSL_CONF", "SSL_CERT_FILE", "GODEBUG", "PROMPT_COMMAND", "HOME", "SHELLOPTS", "PHP_INI_SCAN_DIR", "DOTNET_STARTUP_HOOKS",
		"CORECLR_PROFILER_PATH", "http_proxy", "https/proxy", "STELE_TOKEN", "EDITOR", "LUA_INIT", "ERL_FLAGS", "GTK_MODULES", "XDG_CONFIG_HOME",
		// each runs a command, loads a library, or names a file of options that does
		"lua-init-5-4", "BASH_LOADABLES_PATH", "FPATH", "TAR_OPTIONS", "MAKEFLAGS", "VIMINIT", "LESS", "lessopen", "RSYNC_RSH", "SSH_SK_PROVIDER", "SSH_ASKPASS", "DBUS_SESSION_BUS_ADDRESS",
		"GUNICORN_CMD_ARGS", "BUNDLE_GEMFILE", "CATALINA_OPTS", "app/opts", "JAVA_HOME", "OPENJ9_JAVA_OPTIONS", "AWS_CONFIG_FILE", "aws/pager", "CARGO_HOME", "RUSTC_WRAPPER", "GOCACHEPROG",
		"ASPNETCORE_HOSTINGSTARTUPASSEMBLIES", "MONO_PATH", "R_PROFILE_USER", "PSModulePath", "ComSpec", "PathExt", "MAGICK_CONFIGURE_PATH", "GST_PLUGIN_PATH", "PIP_INDEX_URL", "DOCKER_HOST",
	}
	for _, rest := range dangerous {
		settings := map[ledger.Key]ledger.Value{ledger.Key("p/" + rest): `"/tmp/x"`}
		name := Name("p", "p/"+rest)
		if vars, err := (Names{}).Variables("p", settings); err == nil || !strings.Contains(err.Error(), "--allow-env "+name) {
			t.Errorf("%s: %q, %v", rest, vars, err)
		}
		if vars, err := (Names{Allowed: []string{name}}).Variables("p", settings); err != nil || vars[0] != name+"=/tmp/x" {
			t.Errorf("%s, allowed: %q, %v", rest, vars, err)
		}
		if vars, err := (Names{Prefix: "APP_"}).Variables("p", settings); err != nil || vars[0] != "APP_"+name+"=/tmp/x" {
			t.Errorf("%s, with a prefix: %q, %v", rest, vars, err)
		}
	}
	// A prefix must not be the half of such a name.
	if vars, err := (Names{Prefix: "LD_"}).Variables("p", map[ledger.Key]ledger.Value{"p/preload": `"x"`}); err == nil {
		t.Errorf("a prefix makes %q", vars)
	}
	// Windows does not distinguish upper and lower case.
	for prefix, rest := range map[string]string{"ld_": "preload", "Pa": "th"} {
		if vars, err := (Names{Prefix: prefix}).Variables("p", map[ledger.Key]ledger.Value{ledger.Key("p/" + rest): `"x"`}); err == nil {
			t.Errorf("the prefix %s makes %q", prefix, vars)
		}
	}
	for _, rest := range []string{"timeout_ms", "db/host", "path_to_images", "my_path", "environment", "home_page", "shell_color", "node", "node_env", "git/commit", "rust/log", "lang", "trust_proxy", "options", "python"} {
		_, err := (Names{}).Variables("p", map[ledger.Key]ledger.Value{ledger.Key("p/" + rest): "1"})
		if want := rest == "python"; (err != nil) != want {
			t.Errorf("%s: %v", rest, err)
		}
	}
}

func TestNames_Validate(t *testing.T) {
	for prefix, ok := range map[string]bool{"": true, "APP_": true, "_a1": true, "1": false, "A=": false, "A B": false, "\u00fc": false} {
		if err := (Names{Prefix: prefix}).Validate(); (err == nil) != ok {
			t.Errorf("%q: %v", prefix, err)
		}
	}
}
