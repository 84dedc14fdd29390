// Package systemtest tests the whole program from the outside: the commands and files
// that the documentation shows, kills, power cuts, floods, tampering, and projection.
// scripts/faults, scripts/history, scripts/timetravel, scripts/tamper and
// scripts/projection run the long ones.
package systemtest

import (
	"os"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/stelehq/stele/cmd/stele/internal/cli"
)

// TestMain puts a program "stele" into PATH: this test binary, which then runs cli.Run.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"stele": func() { os.Exit(cli.Run()) }})
}
