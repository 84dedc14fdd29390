package main

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/stelehq/stele/internal/porttest"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"stele": main})
}

// TestCommandLine runs the scripts, each against a server of its own that it starts
// and ends.
func TestCommandLine(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(env *testscript.Env) error {
			env.Setenv("STELE_CONFIG", env.WorkDir+"/config.yaml")
			env.Setenv("STELE_TENANT", "acme")
			env.Setenv("ADDRESS", porttest.Free(t, 1)[0]) // for a server that is started again
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"await": await},
	})
}

// await waits until a file exists and contains a text: await FILE [TEXT].
func await(ts *testscript.TestScript, _ bool, args []string) {
	text := strings.Join(args[1:], " ")
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if data, err := os.ReadFile(ts.MkAbs(args[0])); err == nil && strings.Contains(string(data), text) {
			return
		}
	}
	ts.Fatalf("%s does not hold %q", args[0], text)
}
