package environ

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/pflag"
)

// The names of variables that change which code programs load or run, or where they send
// their data. Permission to write a setting must not become a way to run code.
var (
	loaderNames = []string{
		// shells and the commands that they find
		"PATH", "SHELL", "ENV", "BASH_ENV", "BASHOPTS", "SHELLOPTS", "IFS", "CDPATH", "PS4", "PROMPT_COMMAND", "GLOBIGNORE", "POSIXLY_CORRECT", "ZDOTDIR",
		"HOME", "TMPDIR", "EDITOR", "VISUAL", "PAGER", "BROWSER", "MANPAGER", "LESSOPEN", "LESSCLOSE", "TERMINFO", "TERMCAP",
		// interpreters
		"CLASSPATH", "JAVA_OPTS", "JAVA_TOOL_OPTIONS", "JDK_JAVA_OPTIONS", "_JAVA_OPTIONS", "JAVA_HOME", "MAVEN_OPTS", "GRADLE_OPTS",
		"AWKPATH", "AWKLIBPATH", "LUA_INIT", "LUA_PATH", "LUA_CPATH", "ERL_FLAGS", "ERL_LIBS", "ERL_ZFLAGS", "ERL_AFLAGS", "ELIXIR_ERL_OPTIONS", "GEM_HOME", "GEM_PATH",
		"R_PROFILE", "R_PROFILE_USER", "R_HOME", "R_LIBS", "JULIA_LOAD_PATH", "JULIA_DEPOT_PATH", "TCLLIBPATH", "GUILE_LOAD_PATH", "DENO_DIR", "BUN_OPTIONS",
		// libraries that load others
		"GCONV_PATH", "NLSPATH", "LOCPATH", "GETCONF_DIR", "HOSTALIASES", "LOCALDOMAIN", "RES_OPTIONS", "RESOLV_HOST_CONF", "TZDIR", "MALLOC_TRACE", "MALLOC_CONF",
		"OPENSSL_CONF", "OPENSSL_MODULES", "OPENSSL_ENGINES", "SSL_CERT_FILE", "SSL_CERT_DIR", "SSLKEYLOGFILE", "KRB5_CONFIG", "KRB5CCNAME", "ODBCINI", "ODBCSYSINI",
		"CURL_HOME", "CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "WGETRC", "GNUPGHOME", "SSH_ASKPASS", "SUDO_ASKPASS", "PKCS11_MODULE_PATH", "GTK_MODULES", "QT_PLUGIN_PATH", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_DATA_DIRS", "XDG_CONFIG_DIRS",
		// Go and .NET
		"GODEBUG", "GOTRACEBACK", "GOFLAGS", "GOROOT", "GOPATH", "GOENV", "GOTOOLCHAIN", "COMPlus_Profiler",
	}
	loaderPrefixes = []string{
		"LD_", "DYLD_", "GLIBC_", "BASH_FUNC_", "NODE_", "NPM_CONFIG_", "PYTHON", "PERL", "RUBY", "PHP", "GIT_", "CORECLR_", "COR_", "DOTNET_", "COMPLUS_", "STELE_",
		"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "FTP_PROXY", "NO_PROXY",
	}
	// harmless begin like those, are common, and change nothing.
	harmless = []string{"NODE_ENV", "NODE_NAME", "GIT_COMMIT", "GIT_BRANCH", "GIT_SHA"}
)

// changesLoading reports whether a variable changes how programs load or run code.
func changesLoading(name string) bool {
	if slices.Contains(harmless, name) {
		return false
	}
	return slices.Contains(loaderNames, name) || slices.ContainsFunc(loaderPrefixes, func(p string) bool { return strings.HasPrefix(name, p) })
}

// Names says how settings become names of variables.
type Names struct {
	// Prefix goes before every name.
	Prefix string
	// Allowed are the names that change how programs load or run code and are passed all
	// the same.
	Allowed []string
}

// Validate rejects a prefix that a variable's name cannot begin with.
func (n Names) Validate() error {
	for i, c := range n.Prefix {
		if c != '_' && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') && (i == 0 || c < '0' || c > '9') {
			return fmt.Errorf("prefix %q of the variables: use letters, digits and \"_\", and no digit first", n.Prefix)
		}
	}
	return nil
}

// check refuses a key whose variable is not allowed.
func (n Names) check(key, name string) error {
	if !changesLoading(name) || slices.Contains(n.Allowed, name) {
		return nil
	}
	return fmt.Errorf("%s would be %s, which changes how programs load or run: rename the key, give all names a prefix (--env-prefix APP_), or allow it (--allow-env %s)", key, name, name)
}

// AddFlags adds the flags that set the names.
func (n *Names) AddFlags(f *pflag.FlagSet) {
	f.StringVar(&n.Prefix, "env-prefix", "", "prefix of the variables' names, for example APP_")
	f.StringSliceVar(&n.Allowed, "allow-env", nil, "variables that are passed although they change how programs load or run, for example PATH")
}
