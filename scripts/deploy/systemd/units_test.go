// Package systemd_test has systemd itself read the units, if it is installed.
package systemd_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// mostExposed is the highest level, of 100, that "systemd-analyze security" may find;
// a unit without any hardening has 96.
const mostExposed = "20"

func TestSystemd_UnitsAreValidAndConfined(t *testing.T) {
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("systemd-analyze is not installed")
	}
	units, err := filepath.Glob("*.service")
	if err != nil || len(units) != 2 {
		t.Fatalf("there are %q, %v", units, err)
	}
	// systemd looks for the program, which only has to be one.
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, unit := range units {
		text, err := os.ReadFile(unit)
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(t.TempDir(), unit)
		if err := os.WriteFile(file, []byte(strings.ReplaceAll(string(text), "/usr/local/bin/stele", self)), 0o600); err != nil {
			t.Fatal(err)
		}
		for _, args := range [][]string{{"verify", "--man=no"}, {"security", "--offline=true", "--no-pager", "--threshold=" + mostExposed}} {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			out, err := exec.CommandContext(ctx, analyze, append(args, file)...).CombinedOutput()
			cancel()
			if err != nil || args[0] == "verify" && len(out) > 0 {
				t.Errorf("%s of %s: %v\n%s", args[0], unit, err, out)
			}
		}
	}
}
