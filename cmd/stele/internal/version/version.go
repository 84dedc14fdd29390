// Package version names the version of this program.
package version

import (
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
)

// release is set when a release is built: -ldflags "-X github.com/stelehq/stele/cmd/stele/internal/version.release=1.2.3".
var release string

// String names the release, or the revision that this program was built from.
func String() string {
	if release != "" {
		return release
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" && len(s.Value) >= 12 {
				return "dev-" + s.Value[:12]
			}
		}
	}
	return "dev"
}

// Program is how this program was called: "go run" leaves nothing to call by name.
func Program() string {
	exe, err := os.Executable()
	if err == nil && strings.Contains(exe, string(filepath.Separator)+"go-build") {
		return "go run ./cmd/stele"
	}
	if filepath.Base(os.Args[0]) == os.Args[0] {
		return os.Args[0]
	}
	return "stele"
}
