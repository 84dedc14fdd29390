package main

import "runtime/debug"

// release is set when a release is built: -ldflags "-X main.release=1.2.3".
var release string

// version names the release, or the revision that this program was built from.
func version() string {
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
