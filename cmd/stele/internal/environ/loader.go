package environ

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/pflag"
)

// The names of variables that change which code programs load or run, or where they send
// their data, in upper case. Permission to write a setting must not become a way to run code.
var (
	loaderNames = []string{
		// shells and the commands that they find
		"PATH", "PATHEXT", "COMSPEC", "SHELL", "ENV", "IFS", "CDPATH", "FPATH", "MAILPATH", "PS0", "PS1", "PS2", "PS3", "PS4", "PROMPT_COMMAND", "GLOBIGNORE", "EXECIGNORE",
		"POSIXLY_CORRECT", "BASHOPTS", "SHELLOPTS", "ZDOTDIR", "NULLCMD", "READNULLCMD", "INPUTRC", "HISTFILE",
		"HOME", "TMPDIR", "TMP", "TEMP", "EDITOR", "VISUAL", "FCEDIT", "PAGER", "BROWSER", "MANPAGER", "MANPATH", "MANOPT", "TERMINFO", "TERMINFO_DIRS", "TERMCAP", "VIM", "VIMINIT", "VIMRUNTIME", "EXINIT",
		"SYSTEMROOT", "WINDIR", "APPDATA", "LOCALAPPDATA", "PROGRAMDATA", "PROGRAMFILES", "USERPROFILE", "HOMEDRIVE", "HOMEPATH", "__COMPAT_LAYER", "PSMODULEPATH",
		// options of programs that run others
		"MAKEFLAGS", "MAKEFILES", "MFLAGS", "GNUMAKEFLAGS", "TAR_OPTIONS", "GREP_OPTIONS", "SVN_SSH", "KUBECONFIG", "GS_LIB", "GS_OPTIONS",
		"MAVEN_OPTS", "GRADLE_OPTS", "SBT_OPTS", "CATALINA_OPTS", "JVM_OPTS",
		"CC", "CXX", "LD", "RUSTFLAGS", "GUNICORN_CMD_ARGS", "BUNDLE_GEMFILE", "RAKEOPT", "IRBRC",
		// interpreters
		"CLASSPATH", "AWKPATH", "AWKLIBPATH", "GEM_HOME", "GEM_PATH", "TCLLIBPATH", "TCL_LIBRARY", "TK_LIBRARY", "OCAMLRUNPARAM", "GHCRTS", "SBCL_HOME", "EMACSLOADPATH",
		"ASPNETCORE_HOSTINGSTARTUPASSEMBLIES", "DJANGO_SETTINGS_MODULE", "FLASK_APP", "FLASK_DEBUG", "PIPENV_PIPFILE",
		// libraries that load others
		"GCONV_PATH", "NLSPATH", "LOCPATH", "GETCONF_DIR", "HOSTALIASES", "LOCALDOMAIN", "RES_OPTIONS", "NIS_PATH", "TZDIR", "GMON_OUT_PREFIX",
		"LIBPATH", "SHLIB_PATH", "_RLD_LIST", "LDR_PRELOAD64",
		"SSL_CERT_FILE", "SSL_CERT_DIR", "SSLKEYLOGFILE", "ODBCINI", "ODBCSYSINI", "ODBCINSTINI", "TNS_ADMIN", "ORACLE_HOME", "PGSYSCONFDIR", "PGSERVICEFILE", "PGPASSFILE", "MYSQL_HOME", "LDAPCONF", "LDAPRC",
		"REQUESTS_CA_BUNDLE", "NETRC", "WGETRC", "SYSTEM_WGETRC", "GNUPGHOME", "ALSA_CONFIG_PATH", "OCL_ICD_VENDORS", "VK_ICD_FILENAMES", "VK_DRIVER_FILES", "GDAL_DRIVER_PATH", "MAGIC", "NOTIFY_SOCKET",
		// clouds
		"AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE", "AWS_CA_BUNDLE", "GOOGLE_APPLICATION_CREDENTIALS", "BOTO_CONFIG", "AZURE_CONFIG_DIR",
		// Go
		"GODEBUG", "GOTRACEBACK", "GOFLAGS", "GOROOT", "GOPATH", "GOENV", "GOTOOLCHAIN", "GOPROXY", "GOSUMDB", "GONOSUMDB", "GONOSUMCHECK", "GOINSECURE", "GOCACHEPROG", "GOAUTH", "GOVCS",
		"GOMODCACHE", "GOCACHE", "GOBIN", "GOTMPDIR", "GOCOVERDIR",
	}
	loaderPrefixes = []string{
		"LD_", "DYLD_", "__XPC_", "GLIBC_", "MALLOC_", "RESOLV_", "BASH_", "SSH_", "SUDO_", "DBUS_", "XDG_", "SYSTEMD_", "LESS", "RSYNC_", "CURL_", "DOCKER_", "HELM_", "TF_", "ANSIBLE_", "CLOUDSDK_",
		"NODE_", "NPM_CONFIG_", "YARN_", "COREPACK_", "DENO_", "BUN_", "ELECTRON_", "PYTHON", "PIP_", "UV_", "CONDA_", "PERL", "RUBY", "PHP", "LUA_", "ERL_", "ELIXIR_", "R_", "JULIA_", "GUILE_", "MONO_",
		"JAVA_", "_JAVA_", "JDK_", "IBM_JAVA_", "OPENJ9_", "CARGO_", "RUSTC", "RUSTUP_", "RUSTDOC", "CGO_", "GIT_", "HGRC", "CORECLR_", "COR_", "DOTNET_", "COMPLUS_", "STELE_",
		"OPENSSL_", "KRB5", "SASL_", "GNUTLS_", "PKCS11_", "GTK_", "GDK_", "GIO_", "GST_", "QT_", "QML", "MAGICK_", "FONTCONFIG_", "LIBGL_", "LIBVA_", "LIBMYSQL_", "OMPI_", "PMIX_", "AWS_ENDPOINT_URL",
		"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "FTP_PROXY", "NO_PROXY", "SOCKS_PROXY", "GRPC_PROXY",
	}
	// loaderSuffixes are the ends of the names that many programs give to options of their
	// interpreters, to programs that they run, and to folders of code that they load.
	loaderSuffixes = []string{"_OPTS", "_PRELOAD", "_PAGER", "_EDITOR", "_ASKPASS", "_RSH", "_LIBRARY_PATH", "_PLUGIN_PATH", "_MODULE_PATH"}
	// harmless begin like those, are common, and change nothing.
	harmless = []string{"NODE_ENV", "NODE_NAME", "GIT_COMMIT", "GIT_BRANCH", "GIT_SHA"}
)

// changesLoading reports whether a variable changes how programs load or run code. Windows
// does not distinguish upper and lower case in names, and some programs do not either. The
// ends of names are not compared if the user has chosen how they begin.
func changesLoading(prefix, name string) bool {
	name = strings.ToUpper(name)
	if slices.Contains(harmless, name) {
		return false
	}
	return slices.Contains(loaderNames, name) ||
		slices.ContainsFunc(loaderPrefixes, func(p string) bool { return strings.HasPrefix(name, p) }) ||
		prefix == "" && slices.ContainsFunc(loaderSuffixes, func(s string) bool { return strings.HasSuffix(name, s) })
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
	if !changesLoading(n.Prefix, name) || slices.Contains(n.Allowed, name) {
		return nil
	}
	return fmt.Errorf("%s would be %s, which changes how programs load or run: rename the key, give all names a prefix (--env-prefix APP_), or allow it (--allow-env %s)", key, name, name)
}

// AddFlags adds the flags that set the names.
func (n *Names) AddFlags(f *pflag.FlagSet) {
	f.StringVar(&n.Prefix, "env-prefix", "", "prefix of the variables' names, for example APP_")
	f.StringSliceVar(&n.Allowed, "allow-env", nil, "variables that are passed although they change how programs load or run, for example PATH")
}
